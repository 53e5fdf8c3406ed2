"""The jobs of the benchmark: what each reads and writes, who competes, and the goal against each.

A ratio is bigseg's rate over the peer's: 3 means three times as fast. A whole run may take at most IO_GOAL
times what reading and writing its bytes takes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .volume import TestVolume

IO_GOAL = 2.0
GUARD, GUARD_REACH = 3000.0, 4
AGREED = 128
"""Voxels a side in which guarded classes are compared with the peer's: exactly, but not in its time."""
GAUSSIAN_SIGMA = 2.0
GAUSSIAN_DEPTH = 8  # truncate 4: what a block reads beyond its sides


@dataclass(frozen=True)
class Pass:
    """What the blocks of one pass read and write, for the I/O-only time."""

    read: str  # "volume" or "mask"
    depth: int = 0  # halo in voxels
    write: tuple[str, ...] = ()  # of "smooth" (float32), "mask" (uint8), "labels" (uint32)


@dataclass(frozen=True)
class Peer:
    """One competitor in one job."""

    name: str  # as in the table, and the key of its function in peers.py
    goal: float | None = None  # the ratio to reach; None: shown for comparison
    in_memory: bool = False  # the whole array in memory; reading and writing not charged
    only_full: bool = False  # too slow: at 256^3 in the same chunks unless the run is --full
    note: str = ""


@dataclass(frozen=True)
class Job:
    """One line of work, and who does it."""

    name: str
    title: str
    passes: tuple[Pass, ...]
    peers: tuple[Peer, ...]
    connectivity: int = 1
    io_goal: float = IO_GOAL


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
    memory: int = 2 << 30  # bytes for each of our workers
    block: int | None = None  # of ours and of I/O alone; None: our plan's choice
    again: bool = True  # ours: time a second run on the same cluster

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
    return (
        Peer("dask-image, chunks 128", goal=100.0, only_full=connectivity != 3),
        Peer("dask-image, chunks 256", goal=10.0),
        Peer("cellmap-analyze", goal=5.0, note="one cluster up before, as ours; by its own command see below"),
        Peer("cc3d", goal=0.2, in_memory=True, note="1 thread"),
    )


_LABEL_PASSES = (Pass("mask"), Pass("mask", write=("labels",)))

JOBS: dict[str, Job] = {
    job.name: job
    for job in (
        Job(
            "gaussian",
            "Gaussian, sigma 2, uint16 to float32",
            (Pass("volume", GAUSSIAN_DEPTH, ("smooth",)),),
            (
                Peer("dask-image", goal=2.0),
                Peer("scipy", in_memory=True, note="1 thread; its goal (4 x) is for the block function a core"),
            ),
        ),
        Job(
            "hysteresis",
            "Hysteresis, weak 40 %, strong 20 %, mask written",
            (Pass("volume"), Pass("volume", write=("mask",))),
            (Peer("scikit-image", goal=3.5, in_memory=True),),
        ),
        Job("label26", "Labels, 26 neighbours", _LABEL_PASSES, _label_peers(3), connectivity=3),
        Job("label6", "Labels, 6 neighbours", _LABEL_PASSES, _label_peers(1), connectivity=1),
        Job(
            "chain",
            "Gaussian, hysteresis, labels, table of objects (all with their defaults: 6 neighbours)",
            # The components found for the hysteresis serve labels and table too.
            (Pass("volume", GAUSSIAN_DEPTH), Pass("volume", GAUSSIAN_DEPTH, ("mask", "labels"))),
            (
                Peer("dask-image + scikit-image", goal=10.0, note="stores between; labelled at chunks 256"),
                Peer("scipy + scikit-image", in_memory=True, note="1 thread, label by scipy"),
            ),
        ),
        Job("otsu", "Otsu's threshold, nothing written", (Pass("volume"),), (), io_goal=1.5),
        Job(
            "fill_holes",
            "Holes of a mask filled, mask written",
            (Pass("mask"), Pass("mask", write=("mask",))),
            (Peer("scipy", in_memory=True, note="binary_fill_holes, 1 thread"),),
        ),
        Job(
            "guarded",
            "Three phases by guarded thresholds, classes written",
            (Pass("volume", GUARD_REACH + 2, ("mask",)),),
            (Peer("scipy + numpy", in_memory=True, note="laplace, digitize, nearest by EDT, 1 thread"),),
        ),
    )
}
