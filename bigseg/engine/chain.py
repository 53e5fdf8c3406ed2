"""Small reductions that follow each other, as one task: each alone costs a cluster 20 ms, whatever it does.

Only those that say so (``light``), in at most `MOST_UNITS` tasks each, and of which nothing is done yet: so little is
lost by a kill, or by workers that could have shared it. Results are journalled stage by stage, as if each had been run
by itself; and by itself each is run when a chain fails, so that only the unit that cannot be done is left out.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from bigseg.engine.field import Values
from bigseg.engine.work import Done, ReduceWork, Work, attempt
from bigseg.errors import BlockError

if TYPE_CHECKING:
    from bigseg.engine.journal import Journal
    from bigseg.engine.stage import Stage
    from bigseg.storage.scratch import Scratch

MOST_UNITS = 2


class Link(NamedTuple):
    """A stage of a chain: its work, to which no values are bound yet, and how many units it has."""

    work: ReduceWork
    units: int


@dataclass(frozen=True)
class ChainWork:
    """Several reductions in one unit; each is bound to what those before it found."""

    links: tuple[Link, ...]
    values: Values

    @property
    def stage(self) -> str:
        """The first stage, and how many follow.

        >>> from bigseg.engine.work import ReduceWork
        >>> ChainWork((Link(ReduceWork("labels.join", None, None, None), 1),) * 4, {}).stage
        'labels.join+3'
        """
        return f"{self.links[0].work.stage}+{len(self.links) - 1}"

    @property
    def scratch(self) -> Scratch:
        """Of the run."""
        return self.links[0].work.space.scratch

    def run(self, unit: int) -> Done:
        """Run all of them; what their units gave stands in the result's ``parts``."""
        values = dict(self.values)
        parts: list[tuple[str, Done]] = []
        for link in self.links:
            work, told = link.work.bind(values), dict[str, Any]()
            for number in range(link.units):
                done = _attempt(work, number)
                parts.append((work.stage, done))
                told.update(done.values)
            values[work.stage] = told
        seconds = sum(done.seconds for _, done in parts)
        peak = max(done.peak for _, done in parts)
        return Done(unit, (), "", seconds, 0, 0, peak, {}, tuple(parts))


def _attempt(work: Work, unit: int) -> Done:
    """As `attempt`; the error names stage and unit already, so that the chain has nothing to add."""
    try:
        return attempt(work, unit)
    except BlockError as error:
        raise error from None


def chain_of(stages: Iterable[Stage], journal: Journal, missing: Collection[str] = ()) -> list[Stage]:
    """The stages at the beginning of some that can be one task; none that reads one that is missing."""
    found: list[Stage] = []
    for stage in stages:
        begun = stage.name in journal.stages or journal.count(stage.name)
        if stage.light is None or stage.units > MOST_UNITS or begun or not set(missing).isdisjoint(stage.needs):
            break
        found.append(stage)
    return found


@dataclass(frozen=True)
class Computed:
    """What the units of a stage gave when the chain was run, as an executor of that stage; seconds that it took."""

    done: Sequence[Done]
    seconds: float

    def run(self, work: Work, bricks: Iterable[Sequence[int]]) -> Generator[Done]:
        """Yield what is there."""
        yield from self.done


Run = Callable[[Work, Iterator[Sequence[int]]], Generator[Done]]


def run_chain(stages: Sequence[Stage], run: Run, values: Values) -> dict[str, Computed]:
    """Run some stages as one task of an executor, if there are several; what each of them gave.

    Raises
    ------
    BigsegError
        As the executor raises it; none of the stages is done then.
    """
    if len(stages) < 2:
        return {}
    links = tuple(Link(stage.light, stage.units) for stage in stages if stage.light is not None)
    found: dict[str, list[Done]] = defaultdict(list)
    began = time.perf_counter()
    with closing(run(ChainWork(links, values), iter([(0,)]))) as results:
        for done in results:
            for name, part in done.parts:
                found[name].append(part)
    left = time.perf_counter() - began
    computed: dict[str, Computed] = {}
    for stage in reversed(stages):  # what the task took beside its units is the first stage's
        seconds = left if stage is stages[0] else sum(done.seconds for done in found[stage.name])
        computed[stage.name] = Computed(found[stage.name], seconds)
        left = max(0.0, left - seconds)
    return computed
