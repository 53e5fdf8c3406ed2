"""What a worker writes about itself, over many runs of one process."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

from bigseg.engine import blackbox
from bigseg.engine.blackbox import FAULT, Box, Boxes


def open_handles() -> int:
    """Files that this process holds open."""
    return len(os.listdir("/proc/self/fd"))


def test_a_worker_that_serves_many_runs_keeps_nothing_of_them(tmp_path: Path) -> None:
    """A cluster that gets a scan every few minutes: one thread and two handles a worker, whatever came before."""
    Box(str(tmp_path / "first"), "tcp://1", 0, False).close()
    handles, threads = open_handles(), threading.active_count()
    for number in range(20):
        box = Box(str(tmp_path / str(number)), "tcp://1", 0, False)
        box.begin("pass-1", 3)
        box.begin("pass-1", -1)
        box.close()
    assert (open_handles(), threading.active_count()) == (handles, threads)
    assert not blackbox._Process.faults
    assert not blackbox._Process.at_work


def test_a_folder_that_was_removed_is_written_again(tmp_path: Path) -> None:
    """The end of a stage removes the folder: the cause of a death in the next one is still told."""
    folder = str(tmp_path / "workers")
    first, other = (Box(folder, "tcp://1", 1 << 40, False) for _ in range(2))
    assert not first.stale(folder)
    assert first.stale(folder + "2")
    shutil.rmtree(folder)
    os.mkdir(folder)  # another worker was quicker
    assert first.stale(folder)
    first.close()
    box = Box(folder, "tcp://1", 1 << 40, False)
    box.begin("pass-2", 5)
    (file,) = Path(folder).glob(f"*{FAULT}")
    latest = time.monotonic() + 10
    while not file.read_text() and time.monotonic() < latest:
        time.sleep(0.01)
    held, limit, _ = file.read_text().split()
    assert (int(held) > 1 << 20, int(limit)) == (True, 1 << 40)
    (death,) = Boxes(Path(folder)).deaths(())
    assert (death.stage, death.unit, death.cause) == ("pass-2", 5, "lost")
    assert "MiB held" in death.detail
    box.begin("pass-2", -1)
    box.close()
    other.close()


def test_memory_is_sampled_while_there_is_work_alone(tmp_path: Path) -> None:
    """An idle worker writes nothing: it may be one of a facility's cluster, for days."""
    box = Box(str(tmp_path), "tcp://1", 0, False)
    box.begin("pass-1", 0)
    box.begin("pass-1", -1)
    time.sleep(3 * blackbox.SAMPLE_SECONDS)
    (file,) = tmp_path.glob(f"*{FAULT}")
    before = file.stat().st_mtime_ns
    time.sleep(3 * blackbox.SAMPLE_SECONDS)
    assert file.stat().st_mtime_ns == before
    box.close()
