"""One driver at a time in a run's folder."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from bigseg.errors import LockedError, StorageError

HEARTBEAT, STALE = 5.0, 60.0
"""Seconds between two signs of life, and how long without one means dead where the process cannot be seen."""
TORN = 2.0
"""Seconds after which a lock without a readable owner is what a kill left of one."""
CHECK = 1.0
"""Seconds between two looks whether the lock is still ours."""
_held: set[str] = set()
"""Tokens of the locks that this process holds: another of its own is one that could not be removed."""


class Lock:
    """A lock file made with O_EXCL: host, process, its start time, job id; touched by a heartbeat.

    Who finds a lock decides by what it can see:

    - its process is on this machine and gone, or is this one, which no longer holds it: taken over at once;
    - its process is on this machine and runs: refused, whatever its heartbeat (a machine that slept has none);
    - its process is stopped (SIGSTOP), or on another machine, and gave no sign of life for a minute: taken over,
      another machine's after a second look;
    - the file is empty or torn: taken over when two seconds old.

    Looking and taking over happen under an advisory lock of the folder, so of two drivers that find the same
    dead lock one wins. A driver that was stopped and revived finds by ``check`` that its lock is lost.

    Raises
    ------
    LockedError
        When another live driver holds the folder.
    StorageError
        When the lock cannot be made or read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stop = threading.Event()
        self._checked = 0.0
        self.identity = {
            "host": socket.gethostname(),
            "machine": machine(),
            "pid": os.getpid(),
            "started": psutil.Process().create_time(),
            "job": os.environ.get("SLURM_JOB_ID") or os.environ.get("PBS_JOBID") or os.environ.get("LSB_JOBID"),
            "token": uuid.uuid4().hex,
        }

    def __enter__(self) -> Lock:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with _alone(self.path.parent):
                while not self._make():
                    self._refuse_living()
                    self.path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make the lock {self.path}: {error.strerror}") from error
        _held.add(self.identity["token"])
        threading.Thread(target=self._beat, name="bigseg lock", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        _held.discard(self.identity["token"])
        with suppress(OSError):
            if self._owner() == self.identity:
                self.path.unlink(missing_ok=True)

    def check(self) -> None:
        """Raise LockedError when the lock is no longer ours."""
        self._checked = time.monotonic()
        try:
            owner = self._owner()
        except OSError as error:
            raise StorageError(f"cannot read the lock {self.path}: {error.strerror}") from error
        if owner != self.identity:
            how = f"was taken over by {_name(owner)} while this run was stopped" if owner else "has lost its lock"
            raise LockedError(
                f"{self.path.parent.parent} {how}: this run writes nothing more; let the other finish, or run the same "
                "command again"
            )

    def check_often(self) -> None:
        """``check``, but no more than once a second: cheap enough for every block."""
        if time.monotonic() - self._checked > CHECK:
            self.check()

    def _make(self) -> bool:
        """Make the file, whole; False where there is one."""
        try:
            handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        try:
            try:
                os.write(handle, json.dumps(self.identity).encode())
            finally:
                os.close(handle)
        except OSError:
            self.path.unlink(missing_ok=True)
            raise
        return True

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT):
            with suppress(OSError):  # a file system that fails for a moment must not end the heartbeat
                if self._owner() != self.identity:
                    return
                os.utime(self.path)

    def _owner(self) -> dict[str, Any] | None:
        return _read(self.path)

    def _silence(self) -> float:
        """Seconds since the last sign of life, by the clock of the file system; minus one where the lock is gone."""
        probe = self.path.with_name(f".{self.identity['token']}.clock")
        try:
            probe.touch()
            return probe.stat().st_mtime - self.path.stat().st_mtime
        except FileNotFoundError:
            return -1.0
        finally:
            probe.unlink(missing_ok=True)

    def _refuse_living(self) -> None:
        """Return when the lock's driver is dead.

        Raises
        ------
        LockedError
        """
        owner, silence = self._owner(), self._silence()
        while owner is None and 0 <= silence <= TORN:  # made a moment ago, or torn by a kill
            time.sleep(0.05)
            owner, silence = self._owner(), self._silence()
        if owner is None or _left_behind(owner):
            return
        here = owner["machine"] == self.identity["machine"]
        state = _state(owner["pid"], owner["started"]) if here else None
        if here and state is None:
            return
        if silence > STALE and (not here or state == psutil.STATUS_STOPPED) and self._still_silent(owner):
            return
        raise LockedError(
            f"{self.path.parent.parent} is in use by {_name(owner)} (last sign of life {max(0.0, silence):.0f} s ago): "
            "wait for it, stop it, or give another folder"
        )

    def _still_silent(self, owner: dict[str, Any]) -> bool:
        """A second look after two heartbeats: whoever is alive has touched the lock by then."""
        deadline = time.monotonic() + 2 * HEARTBEAT
        try:
            seen = self.path.stat().st_mtime_ns
            while time.monotonic() < deadline:
                time.sleep(HEARTBEAT / 20)
                if self.path.stat().st_mtime_ns != seen or self._owner() != owner:
                    return False
        except FileNotFoundError:
            pass  # given back meanwhile
        return True


def holder(path: Path) -> dict[str, Any] | None:
    """Who holds a lock, for those who only look: host, pid, started and job of a driver that seems alive, or None."""
    try:
        owner = _read(path)
        silence = time.time() - path.stat().st_mtime
    except OSError:
        return None
    if owner is None or _left_behind(owner):
        return None
    alive = _state(owner["pid"], owner["started"]) if owner["machine"] == machine() else silence < STALE
    return owner if alive else None


def refuse_held(path: Path) -> None:
    """Refuse a folder that a living driver is changing, for those who look at all of it.

    Raises
    ------
    LockedError
        Naming the driver's process and its host.
    """
    if owner := holder(path):
        raise LockedError(
            f"{path.parent.parent} is in use by {_name(owner)}: wait until it is done, or stop it; bigseg status says "
            "where it is"
        )


def _left_behind(owner: dict[str, Any]) -> bool:
    """Whether a lock is of this process, which no longer holds it: the file could not be removed."""
    mine = (machine(), os.getpid(), psutil.Process().create_time())
    return (owner["machine"], owner["pid"], owner["started"]) == mine and owner.get("token") not in _held


def _read(path: Path) -> dict[str, Any] | None:
    """What a lock file says; None where there is none, or it is torn."""
    try:
        owner = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return owner if isinstance(owner, dict) and {"host", "machine", "pid", "started"} <= owner.keys() else None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Alone among the drivers of this machine while a lock is looked at; given back by the system at a kill.

    Raises
    ------
    LockedError
        When another driver is looking.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        deadline = time.monotonic() + TORN + 1
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LockedError(
                        f"{folder.parent}: another run is starting in this folder; wait for it, or give another folder"
                    ) from None
                time.sleep(0.05)
            except OSError:
                break  # a network file system without locks of folders: O_EXCL alone decides
            else:
                break
        yield
    finally:
        os.close(handle)


def machine() -> str:
    """What tells apart machines and containers: only within one can a process be looked up by its number."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _state(pid: int, started: float) -> str | None:
    """What a process of this machine does; None when it is gone, or its number belongs to another."""
    try:
        process = psutil.Process(pid)
        state = str(process.status())
        same = abs(process.create_time() - started) < 2
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:
        return "hidden"
    return state if same and state not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD) else None


def _name(owner: dict[str, Any]) -> str:
    job = f", job {owner['job']}" if owner.get("job") else ""
    return f"process {owner['pid']} on {owner['host']}{job}"
