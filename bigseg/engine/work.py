"""What a task does for one unit: a block of a pass, a task of a reduction, a block of a pyramid level.

Work objects are small, picklable and idempotent: running a unit twice, even at the same time, leaves the
same files. They give back a ``Done`` of about 200 bytes, which is all that the driver ever holds of a block.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from bigseg.engine import allocator
from bigseg.engine.field import Collector, Field, Reducer, Values, Visit, Workspace
from bigseg.engine.visit import evaluate
from bigseg.errors import BigsegError, BlockError
from bigseg.grid import Box, Grid
from bigseg.local.digest import digest
from bigseg.local.downsample import mean2, mode2
from bigseg.storage import blocks
from bigseg.storage.durable import files_written
from bigseg.storage.faultpoints import point
from bigseg.storage.scratch import Scratch
from bigseg.storage.volume import Volume

MOST_NAMES = 16
"""Files that one line of the journal names; more become a list in scratch, which the line names instead."""


class Done(NamedTuple):
    """What the driver learns of a finished unit; the journal keeps it."""

    unit: int
    files: tuple[tuple[str, int, int], ...]
    """Each file written: path (of scratch relative to the run's folder), length, crc32."""
    digest: str
    """Of what was computed, so that a second run of the block can be compared: one of all partial results, then one of
    each volume's decoded voxels."""
    seconds: float
    read: int
    written: int
    peak: int
    """Peak resident bytes of the process since its stage began."""
    values: dict[str, Any]
    parts: tuple[tuple[str, Done], ...] = ()
    """Of several small stages that were run as one task: stage, and what each of its units gave."""


class Work(Protocol):
    """A stage's function over its units."""

    @property
    def stage(self) -> str:
        """Name of the stage."""

    def run(self, unit: int) -> Done:
        """Compute and store one unit."""


def attempt(work: Work, unit: int) -> Done:
    """Run one unit; what nobody foresaw becomes an error for the user.

    Raises
    ------
    BigsegError
        As the unit raised it.
    BlockError
        For everything else, with the place where it happened as a note, which ``--debug`` shows, and for what a
        function of the user's raised.
    """
    try:
        point("unit.begin")
        done = work.run(unit)
        point("unit.computed")
        return done
    except BlockError as error:
        if error.__cause__ is None:
            raise
        failed = BlockError(f"stage {work.stage}, unit {unit}: {error}")  # of a user's function, which knows no unit
        for note in getattr(error, "__notes__", ()):
            failed.add_note(note)
        raise failed from error
    except BigsegError:
        raise
    except Exception as error:
        found = "there was no memory left" if isinstance(error, MemoryError) else f"{type(error).__name__}: {error}"
        failed = BlockError(
            f"stage {work.stage}, unit {unit} failed unexpectedly ({found}): what was finished is kept; run the same "
            "command again, and if it fails again report what --debug shows"
        )
        failed.add_note("".join(traceback.format_exception(error)))  # a cause would not travel with the result
        raise failed from error


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
        visit = Visit(self.grid, self.grid[unit], self.scratch)
        arrays = evaluate(self.fields, visit)
        files: list[tuple[str, int, int]] = []
        taken = []
        for take in self.takes:
            partial = take.kernel.collect([arrays[i] for i in take.fields], visit)
            length, crc = self.scratch.write(take.name, unit, partial)
            files.append((self.scratch.name(take.name, unit), length, crc))
            taken += [digest(array) for _, array in sorted(partial.items())]
        checks = [_together(taken)] if taken else []
        for index, volume in self.writes:
            shards = blocks.write(volume, visit.block.inner, arrays[index])
            files += [(f"{volume.path}/{shard.key}", shard.length, shard.crc) for shard in shards]
            checks.append(digest(arrays[index]))
        return meter.done(unit, files, "-".join(checks))


def _together(checks: Sequence[str]) -> str:
    """One digest of several."""
    return checks[0] if len(checks) == 1 else blake2b("".join(checks).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class ReduceWork:
    """Run one task of a reduction."""

    stage: str
    kernel: Reducer
    space: Workspace
    limits: Limits
    first: int = 0
    """The kernel's number of the stage's first unit, where a reduction has rounds."""

    def bind(self, values: Values) -> ReduceWork:
        """With what earlier stages found."""
        return replace(self, kernel=self.kernel.bind(values))

    def run(self, unit: int) -> Done:
        """Reduce one unit."""
        meter = Meter(self.stage, self.limits)
        with files_written() as written:
            values = self.kernel.reduce(self.first + unit, self.space)
        return meter.done(unit, self._files(unit, written), "", values)

    def _files(self, unit: int, written: Mapping[Path, tuple[int, int]]) -> list[tuple[str, int, int]]:
        """What was written; many partial results (the maps of all blocks) as one list in scratch."""
        scratch, folder = self.space.scratch, self.space.folder
        names = [(os.path.relpath(path, folder), *found) for path, found in written.items()]
        parts = [item for item in names if item[0].startswith(f"{Path(scratch.root).name}/")]
        if len(parts) <= MOST_NAMES:
            return names
        length, crc = scratch.write_list(self.stage, unit, parts)
        return [item for item in names if item not in set(parts)] + [(scratch.list_name(self.stage, unit), length, crc)]


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
            tuple(min(b * f, n) for b, f, n in zip(inner.stop, self.factors, self.source.spec.shape, strict=True)),
        )
        axes = tuple(axis for axis, factor in enumerate(self.factors) if factor == 2)
        reduce = mean2 if self.method == "mean" else mode2
        array = reduce(blocks.read(self.source, below), axes)
        point("pyramid.begin")
        shards = blocks.write(self.target, inner, array)
        files = [(f"{self.target.path}/{shard.key}", shard.length, shard.crc) for shard in shards]
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
        allocator.stage_begins()
        with suppress(OSError):  # elsewhere the peak is that of the process so far: still an upper bound
            Path("/proc/self/clear_refs").write_text("5")


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
