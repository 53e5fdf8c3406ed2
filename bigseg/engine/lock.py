"""One driver at a time in a run's folder."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from bigseg.errors import LockedError, StorageError

HEARTBEAT, STALE = 5.0, 60.0
"""Seconds between two signs of life, and after how long without one a lock on another machine is dead."""


class Lock:
    """A lock file made with O_EXCL: host, process, its start time, job id; touched by a heartbeat.

    A lock whose process is gone (same machine), or whose heartbeat stopped for a minute (another machine),
    is taken over. ``check`` tells a driver that was stopped and revived that its lock is lost.

    Raises
    ------
    LockedError
        When another live driver holds the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stop = threading.Event()
        self.identity = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": psutil.Process().create_time(),
            "job": os.environ.get("SLURM_JOB_ID") or os.environ.get("PBS_JOBID") or os.environ.get("LSB_JOBID"),
        }

    def __enter__(self) -> Lock:
        for _ in range(3):
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            except FileExistsError:
                self._remove_if_dead()
                continue
            except OSError as error:
                raise StorageError(f"cannot make the lock {self.path}: {error.strerror}") from error
            with os.fdopen(handle, "w") as file:
                json.dump(self.identity, file)
            threading.Thread(target=self._beat, daemon=True).start()
            return self
        raise LockedError(f"{self.path} is contended: another run starts in this folder; try again")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._owner() == self.identity:
            self.path.unlink(missing_ok=True)

    def check(self) -> None:
        """Raise LockedError when the lock is no longer ours."""
        if self._owner() != self.identity:
            raise LockedError(f"another run took over {self.path.parent} while this one was stopped: leaving it alone")

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT):
            try:
                os.utime(self.path)
            except OSError:
                return

    def _owner(self) -> Any:
        try:
            return json.loads(self.path.read_text())
        except (OSError, ValueError):
            return None

    def _remove_if_dead(self) -> None:
        owner = self._owner()
        try:
            age = time.time() - self.path.stat().st_mtime
        except FileNotFoundError:
            return
        if owner is None:
            dead = age > 2  # made a moment ago and still empty, or torn by a kill
        elif owner["host"] == self.identity["host"]:
            dead = not _runs(owner["pid"], owner["started"])
        else:
            dead = age > STALE
        if not dead:
            who = f"process {owner['pid']} on {owner['host']}" if owner else "a run that just began"
            raise LockedError(
                f"{self.path.parent} is in use by {who} (last sign of life {age:.0f} s ago): wait for it, "
                f"stop it, or give another folder"
            )
        self.path.unlink(missing_ok=True)


def _runs(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
