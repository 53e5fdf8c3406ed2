"""A job on a shared node takes its share, not the node."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bigseg.pipeline import machine
from bigseg.pipeline.planning import local_resources

GIB = 1 << 30
STAT = {"v1": "inactive_file 1\ntotal_inactive_file {}\n", "v2": "active_file 1\ninactive_file {}\n"}


def group(folder: Path, version: str, limit: str, held: int, cache: int) -> None:
    """A control group's files."""
    folder.mkdir(parents=True, exist_ok=True)
    names = machine.GROUP_FILES[version]
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{held}\n")
    (folder / "memory.stat").write_text(STAT[version].format(cache))


def test_workers_are_as_many_as_cores_of_this_process() -> None:
    """`taskset -c 0`, or a job of one core on a node of 128: one worker."""
    core = min(os.sched_getaffinity(0))
    code = "from bigseg.pipeline.planning import local_resources; print(local_resources(None, None).workers)"
    command = ["taskset", "-c", str(core), sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) == 1


@pytest.mark.parametrize(
    ("line", "version", "root"), [("0::/job/step", "v2", ""), ("4:cpu,memory:/job/step", "v1", "memory")]
)
def test_memory_of_a_control_group(tmp_path: Path, line: str, version: str, root: str) -> None:
    """Limit less what is held; cache of files is given up. The tightest group around it counts."""
    mine = tmp_path / "cgroup"
    mine.write_text(f"7:cpuset:/other\n{line}\n")
    job = tmp_path / root / "job"
    group(job, version, str(8 * GIB), 3 * GIB, GIB)
    group(job / "step", version, "max", GIB, 0)
    assert list(machine._left_in_groups(tmp_path, mine)) == [6 * GIB]
    group(job / "step", version, str(2 * GIB), 3 * GIB, 0)
    assert min(machine._left_in_groups(tmp_path, mine)) == 0


def test_a_container_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    """The path is the host's, or nothing: the root's files are the container's."""
    group(tmp_path, "v2", str(4 * GIB), GIB, 0)
    for path in ("/", "/docker/0123/not/seen/here"):
        (tmp_path / "cgroup").write_text(f"0::{path}\n")
        assert list(machine._left_in_groups(tmp_path, tmp_path / "cgroup")) == [3 * GIB]
    assert list(machine._left_in_groups(tmp_path, tmp_path / "missing")) == []


def test_memory_that_slurm_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--mem` and `--mem-per-cpu`, in MiB; 0 is all of the node. The plan of a local run keeps to it."""
    assert list(machine._of_slurm({})) == []
    assert list(machine._of_slurm({"SLURM_MEM_PER_NODE": "0"})) == []
    assert list(machine._of_slurm({"SLURM_MEM_PER_CPU": "1024", "SLURM_CPUS_ON_NODE": "3"})) == [3 * GIB]
    assert machine.free_memory() <= psutil.virtual_memory().total
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "1000")
    assert local_resources(2, None).memory == int(0.8 * 1000 * 2**20) // 2
