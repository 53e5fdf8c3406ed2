"""What this process may use of its machine: a job's or a container's share, where it has one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

import psutil

CGROUPS = Path("/sys/fs/cgroup")
GROUP_FILES = {
    "v2": ("memory.max", "memory.current", "inactive_file"),
    "v1": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""Of a control group: its limit, what it holds, and which entry of memory.stat is cache that the system gives up."""


def cores() -> int:
    """Cores that this process may run on: by its affinity and by its group's quota."""
    from dask.system import cpu_count  # `bigseg tune` answers in half a second, without Dask

    count: int = cpu_count()
    return count


def free_memory() -> int:
    """Bytes that this process and those it starts may still take.

    The least of what the machine has left, what every control group around this process has left (Slurm's jobs,
    containers), and what Slurm was asked for, which it may enforce by looking now and then.
    """
    available: int = psutil.virtual_memory().available
    return min((available, *_left_in_groups(), *_of_slurm(os.environ)))


def _left_in_groups(cgroups: Path = CGROUPS, mine: Path = Path("/proc/self/cgroup")) -> Iterator[int]:
    """Of each group that this process lies in and that has a limit."""
    lines: list[str] = []
    with suppress(OSError):
        lines = mine.read_text().splitlines()
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0" or "memory" in controllers.split(","):
            version = "v2" if number == "0" else "v1"
            root = cgroups if version == "v2" else cgroups / "memory"
            inside = PurePosixPath(path.lstrip("/"))  # in a container the root itself is the group
            for group in (inside, *inside.parents):
                with suppress(OSError, ValueError, StopIteration):
                    yield _left(root / group, *GROUP_FILES[version])


def _left(group: Path, limit: str, held: str, cache: str) -> int:
    """Bytes until a group's limit."""
    most = int((group / limit).read_text())  # "max", where there is none, is no number
    lines = (line.split() for line in (group / "memory.stat").read_text().splitlines())
    given_up = next(int(value) for name, value in lines if name == cache)
    return max(0, most - int((group / held).read_text()) + given_up)


def _of_slurm(environ: Mapping[str, str]) -> Iterator[int]:
    """What Slurm was asked for, in MiB; 0 is all of the node."""
    with suppress(KeyError, ValueError):
        if asked := int(environ["SLURM_MEM_PER_NODE"]):
            yield asked << 20
    with suppress(KeyError, ValueError):
        yield int(environ["SLURM_MEM_PER_CPU"]) * int(environ["SLURM_CPUS_ON_NODE"]) << 20
