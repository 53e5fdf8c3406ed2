"""The jobs of the benchmark: what each reads and writes, who competes, and the goal against each.

A ratio is the peer's seconds over bigseg's: 3 means three times as fast. Input and output alone (``io``) has
the goal 0.5: a run may take twice what reading and writing its bytes takes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from .volume import TestVolume

GAUSSIAN_SIGMA = 2.0
GAUSSIAN_DEPTH = 8  # truncate 4: what a block reads beyond its sides


@dataclass(frozen=True)
class Pass:
    """What the blocks of one pass read and write, for the I/O-only time."""

    read: str  # "volume" or "mask"
    depth: int = 0  # halo in voxels
    write: str | None = None  # "smooth" (float32), "mask" (uint8), "labels" (uint32) or nothing


@dataclass(frozen=True)
class Peer:
    """One competitor in one job."""

    name: str  # as in the table, and the key of its function in peers.py
    goal: float | None = None  # the ratio to reach; None: shown for comparison
    in_memory: bool = False  # the whole array in memory; reading and writing not charged
    size: int | None = None  # measure at most at this size (its rate is then compared); None: the run's
    only_full: bool = False  # too slow for a quick run
    note: str = ""


@dataclass(frozen=True)
class Job:
    """One line of work, and who does it."""

    name: str
    title: str
    passes: tuple[Pass, ...]
    peers: tuple[Peer, ...]
    connectivity: int = 1
    io_goal: float = field(default=0.5)


@dataclass(frozen=True)
class Task:
    """Everything a competitor is told; goes to its process as JSON."""

    job: str
    volume: str  # path of the uint16 Zarr
    mask: str  # path of the uint8 weak mask
    size: int
    low: int
    high: int
    out: str  # a folder of its own, empty
    connectivity: int
    workers: int = 2
    memory: str = "4GiB"  # each of our workers
    block: int | None = 256

    @classmethod
    def of(cls, job: Job, volume: TestVolume, out: str, **settings: Any) -> Task:
        """The task of ``job`` on a prepared volume."""
        return cls(
            job=job.name,
            volume=volume.path,
            mask=volume.mask,
            size=volume.size,
            low=volume.low,
            high=volume.high,
            out=out,
            connectivity=job.connectivity,
            **settings,
        )

    def json(self) -> dict[str, Any]:
        """As a dictionary of plain values."""
        return asdict(self)


def _label_peers(connectivity: int) -> tuple[Peer, ...]:
    slow = "7 minutes at 512^3" if connectivity == 3 else "measured in a full run only"
    return (
        Peer("dask-image, chunks 128", goal=100.0, only_full=connectivity != 3, note=slow),
        Peer("dask-image, chunks 256", goal=10.0),
        Peer("cellmap-analyze", goal=5.0, note="its cluster starts and stops are not charged"),
        Peer("cc3d", goal=0.2, in_memory=True, note="1 thread"),
    )


_LABEL_PASSES = (Pass("mask"), Pass("mask", write="labels"))

JOBS: dict[str, Job] = {
    job.name: job
    for job in (
        Job(
            "gaussian",
            "Gaussian, sigma 2, uint16 to float32",
            (Pass("volume", GAUSSIAN_DEPTH, "smooth"),),
            (
                Peer("dask-image", goal=2.0),
                Peer("scipy", in_memory=True, note="1 thread; its goal (4 x) is for the block function a core"),
            ),
        ),
        Job(
            "hysteresis",
            "Hysteresis, weak 40 %, strong 20 %, mask written",
            (Pass("volume"), Pass("volume", write="mask")),
            (Peer("scikit-image", goal=3.5, in_memory=True),),
        ),
        Job("label26", "Labels, 26 neighbours", _LABEL_PASSES, _label_peers(3), connectivity=3),
        Job("label6", "Labels, 6 neighbours", _LABEL_PASSES, _label_peers(1), connectivity=1),
        Job(
            "chain",
            "Gaussian, hysteresis, label 26, table of objects",
            (
                Pass("volume", GAUSSIAN_DEPTH),
                Pass("volume", GAUSSIAN_DEPTH, "mask"),
                Pass("mask"),
                Pass("volume"),  # the table's intensity, read beside the mask in the pass above
                Pass("mask", write="labels"),
            ),
            (
                Peer("dask-image + scikit-image", goal=10.0, note="stores between; labelled at chunks 256"),
                Peer("scipy + scikit-image", in_memory=True, note="1 thread, label by scipy"),
            ),
            connectivity=3,
        ),
    )
}
