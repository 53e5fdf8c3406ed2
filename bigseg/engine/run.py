"""The driver's loop: run each stage of a plan, journal what is done, never do it twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from bigseg.engine.chain import Computed, chain_of, run_chain
from bigseg.engine.field import Values
from bigseg.engine.folder import FINGERPRINT
from bigseg.engine.journal import Journal
from bigseg.engine.lock import Lock
from bigseg.engine.stage import Plan, Stage
from bigseg.engine.work import Done, Work, peak_memory
from bigseg.errors import BlockError, ComputeError, MemoryPlanError
from bigseg.storage.durable import Mark, on_behalf_of
from bigseg.storage.faultpoints import point


class Executor(Protocol):
    """What runs a stage's units: this process, or the workers of a cluster."""

    @property
    def workers(self) -> int:
        """Threads of all workers."""

    @property
    def distant(self) -> bool:
        """Whether a task costs a way there and back, so that small stages had better be one."""

    @property
    def where(self) -> str:
        """The place for people."""

    def run(self, work: Work, bricks: Iterable[Sequence[int]]) -> Generator[Done]:
        """Yield each unit as it is done, in any order."""

    def close(self) -> None:
        """Release what the executor holds."""


@dataclass
class Summary:
    """What a stage did: a line of run.json."""

    name: str
    kind: str
    what: str
    blocks: int
    computed: int = 0
    """Blocks computed by this driver; the others were found finished."""
    seconds: float = 0.0
    busy: float = 0.0
    """Seconds of all workers together."""
    bytes_read: int = 0
    bytes_written: int = 0
    voxels: int = 0
    memory_planned: int = 0
    memory_peak: int = 0


Observer = Callable[[Summary, int, int], None]
"""Called with a stage's summary so far, its finished units and all its units."""


def execute(
    plan: Plan,
    executor: Executor,
    journal: Journal,
    lock: Lock | None = None,
    observe: Observer = lambda summary, done, units: None,
    known: Values | None = None,
) -> tuple[list[Summary], Values]:
    """Run a plan to its end, beginning where the journal ends; ``known`` are values that another run has found.

    Returns
    -------
    The summary of every stage, and the values that reductions found.

    Raises
    ------
    BigsegError
        The first error; everything finished before it is journalled. A `BlockError`, of blocks that were left out,
        only when every stage that does not need theirs is done.
    """
    with on_behalf_of(Mark.of(journal.path.with_name(FINGERPRINT))):
        return _execute(plan, executor, journal, lock, observe, known)


def _execute(
    plan: Plan, executor: Executor, journal: Journal, lock: Lock | None, observe: Observer, known: Values | None
) -> tuple[list[Summary], Values]:
    summaries: list[Summary] = []
    errors: list[BlockError] = []
    missing: set[str] = set()  # stages that are not finished, and so cannot be read
    found = {**(known or {}), **journal.values}
    values: dict[str, dict[str, Any]] = {name: dict(item) for name, item in found.items()}
    chaining, ready = executor.distant, dict[str, Computed]()
    for number, stage in enumerate(plan.stages):
        ended = journal.stages.get(stage.name)
        if ended is not None:
            summaries.append(Summary(**ended))
            observe(summaries[-1], stage.units, stage.units)
            continue
        if missing and not missing.isdisjoint((*stage.needs, *stage.after)):
            missing.add(stage.name)
            continue
        if lock is not None:
            lock.check()
        try:
            if chaining and stage.name not in ready:
                ready = run_chain(chain_of(plan.stages[number:], journal, missing), executor.run, values)
        except BlockError:
            chaining = False  # alone, each stage does the units that can be done, and names the one that cannot
        try:
            summary = _run_stage(stage, ready.get(stage.name, executor), journal, lock, values, observe)
        except BlockError as error:
            errors.append(error)
            missing.add(stage.name)
            continue
        summaries.append(summary)
        values[stage.name] = dict(journal.values.get(stage.name, {}))
        point("stage.computed")
        journal.end(stage.name, asdict(summary))
        point("stage.ended")
    if errors:
        raise _of_all(errors)
    return summaries, values


def _of_all(errors: Sequence[BlockError]) -> BlockError:
    """One error of several stages."""
    if len(errors) == 1:
        return errors[0]
    found = BlockError("\n".join(map(str, errors)))
    for note in (note for error in errors for note in getattr(error, "__notes__", ())):
        found.add_note(note)
    return found


def to_write(plan: Plan, journal: Journal) -> int:
    """Bytes of voxels that are still to be written, before compression."""
    left = (stage.units - journal.count(stage.name) for stage in plan.stages)
    return sum(stage.writes * count // stage.units for stage, count in zip(plan.stages, left, strict=True))


def _run_stage(
    stage: Stage, executor: Executor | Computed, journal: Journal, lock: Lock | None, values: Values, observe: Observer
) -> Summary:
    point("stage.begin")
    began = time.perf_counter() - (executor.seconds if isinstance(executor, Computed) else 0.0)
    summary = Summary(stage.name, stage.kind, stage.what, stage.units, voxels=stage.voxels, memory_planned=stage.memory)
    finished = journal.count(stage.name)
    observe(summary, finished, stage.units)
    if finished < stage.units:
        work = stage.start(values)
        left = ([unit for unit in brick if not journal.has(stage.name, unit)] for brick in stage.order)
        with closing(executor.run(work, (brick for brick in left if brick))) as results:
            for done in results:
                if lock is not None:
                    lock.check_often()
                point("unit.acknowledged")
                journal.add(stage.name, done)
                point("unit.journalled")
                summary.computed += 1
                summary.busy += done.seconds
                summary.bytes_read += done.read
                summary.bytes_written += done.written
                summary.memory_peak = max(summary.memory_peak, done.peak)
                summary.seconds = time.perf_counter() - began
                finished += 1
                observe(summary, finished, stage.units)
        if journal.count(stage.name) != stage.units:
            raise ComputeError(
                f"stage {stage.name} gave back {journal.count(stage.name)} of {stage.units} units: this is a defect of "
                "the executor; run the same command again, and report it"
            )
    summary.seconds = round(time.perf_counter() - began, 3)
    summary.busy = round(summary.busy, 3)
    return summary


def check_memory(plan: Plan, memory: int, alternative: Callable[[int], str]) -> None:
    """Refuse a plan that needs more than a worker has, naming the stage and proposing a block that fits.

    Raises
    ------
    MemoryPlanError
    """
    worst = plan.worst
    if worst.memory > memory:
        raise MemoryPlanError(
            f"stage {worst.name} ({worst.what}) needs {worst.memory / 2**20:.0f} MiB a worker with blocks of "
            f"{'x'.join(map(str, plan.grid.block))}, a worker has {memory / 2**20:.0f} MiB: {alternative(memory)}"
        )


def driver_memory() -> int:
    """Peak resident bytes of the driver."""
    return peak_memory()
