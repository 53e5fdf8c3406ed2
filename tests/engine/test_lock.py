"""The lock: one driver at a time, whatever the one before left behind."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from bigseg.engine import lock as module
from bigseg.engine.lock import Lock, holder, machine
from bigseg.errors import LockedError, StorageError

LONG_AGO = 100.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the lock of a run lies."""
    return tmp_path / "run" / "journal" / "lock"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives as long as it is let."""
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def left_behind(path: Path, age: float = 0.0, **changes: Any) -> dict[str, Any]:
    """A lock as some driver made it."""
    owner = {**Lock(path).identity, "token": "other", **changes}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(owner))
    made_older(path, age)
    return owner


def made_older(path: Path, age: float) -> None:
    """Set back the last sign of life."""
    os.utime(path, (time.time() - age, time.time() - age))


def of(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What a lock says of a process."""
    return {"pid": process.pid, "started": psutil.Process(process.pid).create_time()}


def test_a_second_driver_is_refused_at_once(path: Path) -> None:
    """The message names the host and the process that holds the folder, and the first goes on."""
    with Lock(path) as first:
        began = time.perf_counter()
        with pytest.raises(LockedError, match=f"in use by process {os.getpid()} on {socket.gethostname()}"):
            Lock(path).__enter__()
        assert time.perf_counter() - began < 2
        first.check()
        found = holder(path)
        assert found is not None
        assert found["pid"] == os.getpid()
    assert not path.exists()
    assert holder(path) is None
    with Lock(path):
        pass


def test_a_living_process_is_refused_however_silent(path: Path, child: subprocess.Popen[bytes]) -> None:
    """A machine that slept an hour has no heartbeat, but its driver lives."""
    left_behind(path, 3600, **of(child))
    with pytest.raises(LockedError, match=f"process {child.pid}"):
        Lock(path).__enter__()
    assert holder(path) is not None


def test_the_lock_of_a_dead_process_is_taken_over(path: Path, child: subprocess.Popen[bytes]) -> None:
    """A driver that was killed on this machine is replaced at once."""
    left_behind(path, **of(child))
    child.kill()
    child.wait()
    assert holder(path) is None
    began = time.perf_counter()
    with Lock(path) as lock:
        assert time.perf_counter() - began < 2
        lock.check()


def test_a_process_number_used_again_is_another_process(path: Path, child: subprocess.Popen[bytes]) -> None:
    """The start time tells the driver from a later process with its number."""
    left_behind(path, pid=child.pid, started=psutil.Process(child.pid).create_time() - 1000)
    with Lock(path) as lock:
        lock.check()


def test_a_zombie_of_the_system_is_dead(path: Path) -> None:
    """A killed driver that its parent has not reaped does not hold the folder."""
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    left_behind(path, **of(process))
    process.kill()
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    with Lock(path) as lock:
        lock.check()
    process.communicate()


@pytest.mark.parametrize("content", ["", "{", "null", "[]", '"text"', '{"pid": 1}', "\0" * 200])
def test_a_torn_lock_is_taken_over_when_it_is_old(path: Path, content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kill left of a lock file holds nobody up; a moment old, it may be one that is being made."""
    monkeypatch.setattr(module, "TORN", 0.4)
    path.parent.mkdir(parents=True)
    path.write_text(content)
    began = time.perf_counter()
    with Lock(path) as lock:
        assert 0.2 < time.perf_counter() - began < 3
        lock.check()


def test_a_lock_that_is_just_being_written_is_respected(path: Path, child: subprocess.Popen[bytes]) -> None:
    """An empty lock that gets its owner a moment later is a living driver's."""
    path.parent.mkdir(parents=True)
    path.touch()
    late = threading.Timer(0.3, lambda: left_behind(path, **of(child)))
    late.start()
    with pytest.raises(LockedError, match=f"process {child.pid}"):
        Lock(path).__enter__()
    late.join()


def test_another_machine_counts_by_its_heartbeat(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock of another machine is respected for a minute, then taken over after a second look."""
    monkeypatch.setattr(module, "HEARTBEAT", 0.2)
    left_behind(path, 50, machine="another", host="node7", pid=1)
    with pytest.raises(LockedError, match="process 1 on node7"):
        Lock(path).__enter__()
    made_older(path, LONG_AGO)
    began = time.perf_counter()
    with Lock(path) as lock:
        assert 0.3 < time.perf_counter() - began < 5
        lock.check()


def test_another_machine_that_gives_a_sign_of_life_is_respected(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks may differ between machines: a heartbeat during the second look saves the lock."""
    monkeypatch.setattr(module, "HEARTBEAT", 0.4)
    left_behind(path, LONG_AGO, machine="another", host="node7")
    alive = threading.Timer(0.2, os.utime, [path])
    alive.start()
    with pytest.raises(LockedError, match="node7"):
        Lock(path).__enter__()
    alive.join()


def test_a_stopped_process_is_replaced_after_a_minute(
    path: Path, child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGSTOP holds the folder for a minute, not for ever."""
    monkeypatch.setattr(module, "HEARTBEAT", 0.1)
    os.kill(child.pid, signal.SIGSTOP)
    for _ in range(200):  # the signal may arrive late on a busy machine
        if psutil.Process(child.pid).status() == psutil.STATUS_STOPPED:
            break
        time.sleep(0.05)
    left_behind(path, 10, **of(child))
    with pytest.raises(LockedError):
        Lock(path).__enter__()
    made_older(path, LONG_AGO)
    with Lock(path) as lock:
        lock.check()


def test_a_revived_driver_notices_and_leaves_the_lock_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver whose lock was taken over finds out by `check`, and neither touches nor removes the new one."""
    monkeypatch.setattr(module, "HEARTBEAT", 0.05)
    zombie = Lock(path).__enter__()
    zombie.check()
    owner = left_behind(path, LONG_AGO, host="node7", pid=77)
    with pytest.raises(LockedError, match="taken over by process 77 on node7"):
        zombie.check()
    monkeypatch.setattr(module, "CHECK", 0.0)
    with pytest.raises(LockedError):
        zombie.check_often()
    time.sleep(0.3)
    assert time.time() - path.stat().st_mtime > LONG_AGO - 10, "the zombie kept another's lock alive"
    zombie.__exit__(None, None, None)
    assert json.loads(path.read_text()) == owner


def test_a_lock_that_was_removed_is_lost(path: Path) -> None:
    """A lock removed by hand no longer protects its driver, which stops."""
    with Lock(path) as lock:
        path.unlink()
        with pytest.raises(LockedError, match="has lost its lock"):
            lock.check()


def test_looking_often_costs_little(path: Path) -> None:
    """`check_often` reads the file once a second, so it may stand in the loop over blocks."""
    with Lock(path) as lock:
        lock.check()
        began = time.perf_counter()
        for _ in range(20_000):
            lock.check_often()
        assert time.perf_counter() - began < 1


def test_the_heartbeat_goes_on_after_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is touched every few seconds, also after the file system failed for a moment."""
    monkeypatch.setattr(module, "HEARTBEAT", 0.05)
    utime, fails = os.utime, iter([True, True])

    def flaky(target: Path) -> None:
        if next(fails, False):
            raise OSError(5, "Input/output error")
        utime(target)

    monkeypatch.setattr(module.os, "utime", flaky)
    with Lock(path):
        utime(path, (1, 1))
        for _ in range(100):
            time.sleep(0.05)
            if path.stat().st_mtime > 1:
                break
        assert path.stat().st_mtime > 1


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """Where no lock can be made, the message says where and why."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot make the lock"):
        Lock(tmp_path / "file" / "journal" / "lock").__enter__()


def race(path: Path, barrier: Any, held: Any, most: Any, won: Any) -> None:
    """Try to hold the lock; count those who do at the same time."""
    barrier.wait()
    try:
        with Lock(path) as lock:
            with held.get_lock():
                held.value += 1
                most.value = max(most.value, held.value)
            time.sleep(0.3)
            lock.check()
            with held.get_lock():
                held.value -= 1
            with won.get_lock():
                won.value += 1
    except LockedError:
        pass


def test_of_many_drivers_that_find_a_dead_lock_one_wins(path: Path) -> None:
    """Looking at a dead lock and replacing it is one step: never do two drivers hold it."""
    context = multiprocessing.get_context("fork")
    held, most, won = (context.Value("i", 0) for _ in range(3))
    left_behind(path, LONG_AGO, pid=2**22 + 1, started=1.0)
    barrier = context.Barrier(8)
    drivers = [context.Process(target=race, args=(path, barrier, held, most, won)) for _ in range(8)]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    assert most.value == 1
    assert won.value >= 1
    assert {driver.exitcode for driver in drivers} == {0}
    assert not path.exists()


def test_machines_are_told_apart_by_more_than_their_name() -> None:
    """Two containers of one name do not see each other's processes."""
    assert machine() == machine()
    if sys.platform == "linux" and Path("/proc/sys/kernel/random/boot_id").exists():
        assert machine() != socket.gethostname()
