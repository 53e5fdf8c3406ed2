"""What a task does for one unit: a block of a pass, a task of a reduction, a block of a pyramid level.

Work objects are small, picklable and idempotent: running a unit twice, even at the same time, leaves the
same files. They give back a ``Done`` of about 200 bytes, which is all that the driver ever holds of a block.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from bigseg.engine.field import Collector, Field, Reducer, Visit, Workspace
from bigseg.engine.visit import evaluate
from bigseg.grid import Box, Grid
from bigseg.local.digest import digest
from bigseg.local.downsample import mean2, mode2
from bigseg.storage import blocks
from bigseg.storage.scratch import Scratch
from bigseg.storage.volume import Volume


class Done(NamedTuple):
    """What the driver learns of a finished unit; the journal keeps it."""

    unit: int
    files: tuple[tuple[str, int, int], ...]
    """Each file written: name, length, crc32."""
    digest: str
    """Of the decoded voxels written, so that a second run of the block can be compared."""
    seconds: float
    read: int
    written: int
    peak: int
    """Peak resident bytes of the process since its stage began."""
    values: dict[str, Any]


class Work(Protocol):
    """A stage's function over its units."""

    stage: str

    def run(self, unit: int) -> Done:
        """Compute and store one unit."""


@dataclass(frozen=True)
class Limits:
    """What a worker process may use: cache of decoded chunks in bytes, threads of its own for I/O."""

    cache: int = 64 << 20
    threads: int = 1


@dataclass(frozen=True)
class Take:
    """One partial result of a pass: its name, its collector, and which of the pass's fields it takes."""

    name: str
    kernel: Collector
    fields: tuple[int, ...]


@dataclass(frozen=True)
class PassWork:
    """Visit a block once: compute every field that this pass needs, store partial results and volumes."""

    stage: str
    grid: Grid
    fields: tuple[Field, ...]
    takes: tuple[Take, ...]
    writes: tuple[tuple[int, Volume], ...]
    scratch: Scratch
    limits: Limits

    def run(self, unit: int) -> Done:
        """Compute one block."""
        meter = Meter(self.stage, self.limits)
        visit = Visit(self.grid[unit], self.scratch)
        arrays = evaluate(self.fields, visit)
        files: list[tuple[str, int, int]] = []
        checks = []
        for take in self.takes:
            partial = take.kernel.collect([arrays[i] for i in take.fields], visit)
            length, crc = self.scratch.write(take.name, unit, partial)
            files.append((self.scratch.name(take.name, unit), length, crc))
            checks.append(f"{crc:08x}")
        for index, volume in self.writes:
            shards = blocks.write(volume, visit.block.inner, arrays[index])
            files += [(f"{volume.name}/{shard.key}", shard.length, shard.crc) for shard in shards]
            checks.append(digest(arrays[index]))
        return meter.done(unit, files, "".join(checks))


@dataclass(frozen=True)
class ReduceWork:
    """Run one task of a reduction."""

    stage: str
    kernel: Reducer
    space: Workspace
    limits: Limits

    def run(self, unit: int) -> Done:
        """Reduce one unit."""
        meter = Meter(self.stage, self.limits)
        values = self.kernel.reduce(unit, self.space)
        return meter.done(unit, [], "", values)


@dataclass(frozen=True)
class PyramidWork:
    """Compute one shard of a pyramid level from the level below."""

    stage: str
    grid: Grid
    source: Volume
    target: Volume
    method: Literal["mean", "mode"]
    factors: tuple[int, ...]
    limits: Limits

    def run(self, unit: int) -> Done:
        """Reduce the voxels below one shard by two."""
        meter = Meter(self.stage, self.limits)
        inner = self.grid[unit].inner
        below = Box(
            tuple(a * f for a, f in zip(inner.start, self.factors, strict=True)),
            tuple(
                min(b * f, n)
                for b, f, n in zip(inner.stop, self.factors, self.source.spec.shape, strict=True)
            ),
        )
        axes = tuple(axis for axis, factor in enumerate(self.factors) if factor == 2)
        reduce = mean2 if self.method == "mean" else mode2
        array = reduce(blocks.read(self.source, below), axes)
        shards = blocks.write(self.target, inner, array)
        files = [(f"{self.target.name}/{shard.key}", shard.length, shard.crc) for shard in shards]
        return meter.done(unit, files, digest(array))


@dataclass
class Meter:
    """Seconds, bytes and peak memory of one unit."""

    stage: str
    limits: Limits
    began: float = field(default_factory=time.perf_counter)
    read: int = 0

    def __post_init__(self) -> None:
        blocks.configure(self.limits.cache, self.limits.threads)
        _new_stage(self.stage)
        self.read = blocks.bytes_read()

    def done(
        self,
        unit: int,
        files: Sequence[tuple[str, int, int]],
        check: str,
        values: Mapping[str, Any] | None = None,
    ) -> Done:
        """Close the books on one unit."""
        return Done(
            unit,
            tuple(files),
            check,
            round(time.perf_counter() - self.began, 4),
            blocks.bytes_read() - self.read,
            sum(length for _, length, _ in files),
            peak_memory(),
            plain(values or {}),
        )


_stage = ""


def _new_stage(stage: str) -> None:
    """Start a new peak when this process meets a new stage (Linux keeps the peak and lets it be reset)."""
    global _stage
    if stage != _stage:
        _stage = stage
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            pass  # elsewhere the peak is that of the process so far: still an upper bound


def peak_memory() -> int:
    """Peak resident bytes of this process since its stage began."""
    try:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):
        import resource

        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def plain(value: Any) -> Any:
    """NumPy scalars and tuples as plain Python, so that values can travel and be journalled."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
