"""What a worker was doing when it died: a small file a thread, which outlives the process.

Before each unit a worker writes into its file which one it begins, and every 50 ms how much memory it holds; where a
nanny watches it, Python's fault handler writes there too. A few bytes into the page cache of an open file: 3 us. The
driver finds the files of workers that are gone and tells why:

- crashed: the fault handler has written (segmentation fault, abort, bus error);
- memory: when last seen it held most of its limit, or the machine had nothing left;
- lost: anything else: preempted, killed, switched off. Nothing is held against the unit.

The folder must be seen by the workers and the driver, as a run's folder is.
"""

from __future__ import annotations

import faulthandler
import json
import os
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import psutil

UNIT, FAULT = ".unit", ".fault"
HEAD = 64
"""Bytes at the beginning of a fault file that hold the memory; what the fault handler says follows."""
SAMPLE_SECONDS = 0.05
NEAR = 0.8
"""Of its memory a worker holds this much, when last seen, if it died of memory."""
NOTHING = 0.03
"""Of the machine's memory was left, if the system killed a worker for it."""
Cause = Literal["crashed", "memory", "lost"]


class _Fault:
    """What a process writes into one folder about itself, for all of its threads that work there."""

    def __init__(self, path: str, limit: int, nanny: bool) -> None:
        self.path, self.limit = path, limit
        self.users = 0
        self.handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_TRUNC, 0o644)
        os.lseek(self.handle, HEAD, os.SEEK_SET)
        if nanny:
            faulthandler.enable(self.handle)  # of a process that is ours alone
            _Process.told_faults = self

    def write(self, held: int, system: Any) -> None:
        """How much memory is held, of how much, and the share of the machine's that is left."""
        text = f"{held} {self.limit or system.total} {system.available / system.total:.4f}"
        os.pwrite(self.handle, text.ljust(HEAD - 1).encode() + b"\n", 0)

    def close(self) -> None:
        """Nobody works there any more."""
        if _Process.told_faults is self:
            faulthandler.disable()
            _Process.told_faults = None
        os.close(self.handle)


class _Process:
    """Of this process: its files by folder, and the one thread that samples memory while there is work."""

    lock = threading.RLock()
    faults: dict[str, _Fault] = {}  # noqa: RUF012
    told_faults: _Fault | None = None
    at_work: set[Box] = set()  # noqa: RUF012
    working = threading.Event()
    sampler: threading.Thread | None = None


class Box:
    """The record of one thread of a worker.

    Parameters
    ----------
    folder : where the files lie.
    worker : the worker's address.
    limit : bytes it may hold, 0 where nobody said.
    nanny : whether this process is a worker's own, watched by a nanny.
    """

    def __init__(self, folder: str, worker: str, limit: int, nanny: bool) -> None:
        thread = threading.get_ident()
        self.folder, self.worker, self.thread = folder, worker, thread
        name = f"{_named(worker)}-{os.getpid()}"
        self.path = f"{folder}/{name}-{thread}{UNIT}"
        os.makedirs(folder, exist_ok=True)
        self.handle = os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
        with _Process.lock:
            fault = _Process.faults.get(folder)
            if fault is None or not os.path.exists(fault.path):
                fault = _Process.faults[folder] = _Fault(f"{folder}/{name}{FAULT}", limit, nanny)
            fault.users += 1
            self.fault = fault
            if _Process.sampler is None:
                _Process.sampler = threading.Thread(target=_sample, name="bigseg memory", daemon=True)
                _Process.sampler.start()

    def begin(self, stage: str, unit: int) -> None:
        """A unit begins; -1: none is at work."""
        record = {"worker": self.worker, "pid": os.getpid(), "thread": self.thread, "stage": stage, "unit": unit}
        os.pwrite(self.handle, json.dumps({**record, "began": time.time()}).ljust(240).encode() + b"\n", 0)
        with _Process.lock:
            if unit >= 0:
                _Process.at_work.add(self)
                _Process.working.set()
            else:
                _Process.at_work.discard(self)
                if not _Process.at_work:
                    _Process.working.clear()

    def stale(self, folder: str) -> bool:
        """Whether another folder is to be written to, or this one was removed: a stage's end does that."""
        return folder != self.folder or not os.path.exists(self.path)

    def close(self) -> None:
        """Nothing is written here any more; the process's file goes with the last of its threads."""
        os.close(self.handle)
        with _Process.lock:
            _Process.at_work.discard(self)
            self.fault.users -= 1
            if not self.fault.users:
                self.fault.close()
                if _Process.faults.get(self.folder) is self.fault:
                    del _Process.faults[self.folder]


def _named(worker: str) -> str:
    """A worker's address as the beginning of a file name."""
    return worker.replace("/", "").replace(":", "_").replace("-", "_")


def _sample() -> None:
    """Write the memory that is held into every file, as long as the process lives."""
    process, page = Path("/proc/self/statm"), os.sysconf("SC_PAGE_SIZE")
    while _Process.working.wait():
        with suppress(OSError, IndexError, ValueError), _Process.lock:
            held, system = page * int(process.read_text().split()[1]), psutil.virtual_memory()
            for fault in _Process.faults.values():
                fault.write(held, system)
        time.sleep(SAMPLE_SECONDS)


class Death(NamedTuple):
    """A worker that died while it computed a unit."""

    stage: str
    unit: int
    cause: Cause
    detail: str


class Running(NamedTuple):
    """A unit that a living worker is at."""

    worker: str
    pid: int
    stage: str
    unit: int
    seconds: float


@dataclass
class Boxes:
    """The driver's look at the workers' files."""

    folder: Path
    _dead: set[str] = field(default_factory=set)
    _seen: dict[str, tuple[str, float]] = field(default_factory=dict)

    def read(self, living: Collection[str] = ()) -> dict[str, dict[str, Any]]:
        """What stands in each file that has not been told as dead, but for those of some workers: they are many."""
        known = {_named(worker) for worker in living}
        found = {}
        with suppress(OSError):
            for name in os.listdir(self.folder):
                if name.endswith(UNIT) and name not in self._dead and name.rsplit("-", 2)[0] not in known:
                    with suppress(OSError, ValueError):  # one that is being written
                        found[name] = json.loads((self.folder / name).read_text())
        return found

    def knows(self, worker: str) -> bool:
        """Whether a worker writes here."""
        return any(self.folder.glob(f"{_named(worker)}-*"))

    def deaths(self, living: Collection[str]) -> Iterator[Death]:
        """The units that workers died at, each told once."""
        for name, record in self.read(living).items():
            if record["worker"] not in living:
                self._dead.add(name)
                if record["unit"] >= 0:
                    yield Death(record["stage"], record["unit"], *self._cause(name, record["thread"]))

    def dead(self, worker: str) -> None:
        """A worker that the driver ended itself: nothing more is told of it."""
        self._dead |= {name for name, record in self.read().items() if record["worker"] == worker}

    def running(self, living: Collection[str]) -> Iterator[Running]:
        """What living workers are at, and for how long by this process's clock; reads a file a worker."""
        now = time.monotonic()
        for name, record in self.read().items():
            if record["worker"] in living and record["unit"] >= 0:
                token = f"{record['stage']} {record['unit']} {record['began']}"
                if self._seen.get(name, ("", 0.0))[0] != token:
                    self._seen[name] = token, now
                seconds = now - self._seen[name][1]
                yield Running(record["worker"], record["pid"], record["stage"], record["unit"], seconds)

    def _cause(self, name: str, thread: int) -> tuple[Cause, str]:
        """Why the worker of a file died, and what was seen of it."""
        try:
            text = (self.folder / (name.rpartition("-")[0] + FAULT)).read_text(errors="replace")
        except OSError:
            return "lost", ""
        said = text[HEAD:]
        if said.startswith("Fatal") and (f"Current thread 0x{thread:016x}" in said or "Current thread" not in said):
            return "crashed", said.splitlines()[0].removeprefix("Fatal Python error: ")
        try:
            held, limit, left = text[: HEAD - 1].split()
        except ValueError:
            return "lost", ""
        detail = f"{int(held) / 2**20:.0f} of {int(limit) / 2**20:.0f} MiB held when last seen"
        if int(held) > NEAR * int(limit) or float(left) < NOTHING:
            return "memory", detail
        return "lost", detail
