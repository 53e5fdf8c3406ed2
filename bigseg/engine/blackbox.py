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


class _Process:
    """This worker process's fault file, opened once."""

    fault: dict[str, int] = {}  # noqa: RUF012 - of the process, by folder
    stop = threading.Event()


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
        os.makedirs(folder, exist_ok=True)
        if folder not in _Process.fault:
            _Process.fault[folder] = _watched(f"{folder}/{name}{FAULT}", limit, nanny)
        self.handle = os.open(f"{folder}/{name}-{thread}{UNIT}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)

    def begin(self, stage: str, unit: int) -> None:
        """A unit begins; -1: none is at work."""
        record = {"worker": self.worker, "pid": os.getpid(), "thread": self.thread, "stage": stage, "unit": unit}
        os.pwrite(self.handle, json.dumps({**record, "began": time.time()}).ljust(240).encode() + b"\n", 0)

    def close(self) -> None:
        """Another folder is written to from now on."""
        os.close(self.handle)


def _named(worker: str) -> str:
    """A worker's address as the beginning of a file name."""
    return worker.replace("/", "").replace(":", "_").replace("-", "_")


def _watched(path: str, limit: int, nanny: bool) -> int:
    """A fault file; memory is written to it as long as the process lives."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_TRUNC, 0o644)
    os.lseek(handle, HEAD, os.SEEK_SET)
    if nanny:
        faulthandler.enable(handle)  # of a process that is ours alone
    threading.Thread(target=_sample, args=(handle, limit), name="bigseg memory", daemon=True).start()
    return handle


def _sample(handle: int, limit: int) -> None:
    """Write how much memory is held, of how much, and the share of the machine's that is left."""
    process, page = Path("/proc/self/statm"), os.sysconf("SC_PAGE_SIZE")
    while not _Process.stop.wait(SAMPLE_SECONDS):
        with suppress(OSError, IndexError, ValueError):
            held = page * int(process.read_text().split()[1])
            system = psutil.virtual_memory()
            text = f"{held} {limit or system.total} {system.available / system.total:.4f}"
            os.pwrite(handle, text.ljust(HEAD - 1).encode() + b"\n", 0)


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
