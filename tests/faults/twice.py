"""R6: every block computed twice, at the same time, and its second result acknowledged late."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bigseg.engine.serial import SerialExecutor
from bigseg.engine.work import Done, Work, attempt
from bigseg.errors import ExactnessError
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.prepared import Settings
from bigseg.pipeline.running import run_prepared
from tests.faults import chain
from tests.faults.driver import fast_folder
from tests.faults.io_errors import BLOCK, Bench
from tests.faults.run import Row

TESTS = ("R6",)
BESIDE = True
LATE = 5
"""Units between the two results of one."""


class Twice(SerialExecutor):
    """Runs every unit in two threads at once; gives back the second result some units later.

    Parameters
    ----------
    lying : which second result, counted over all stages, says that something else was computed; 0: none.
    """

    def __init__(self, lying: int = 0) -> None:
        self.lying = lying
        self.count = 0

    def run(self, work: Work, bricks: Iterable[Sequence[int]]) -> Generator[Done]:
        late: deque[Done] = deque()
        with ThreadPoolExecutor(2) as pool:
            for brick in bricks:
                for unit in brick:
                    first, second = pool.map(lambda _, unit=unit: attempt(work, unit), range(2))
                    yield first
                    late.append(self._second(second))
                    if len(late) > LATE:
                        yield late.popleft()
        yield from late

    def _second(self, done: Done) -> Done:
        self.count += 1
        if self.count == self.lying:
            return done._replace(digest=f"{'0' * 15}1", values={**done.values, "lie": 1})
        return done


def run(volume: Path, out: Path, executor: Twice) -> None:
    """Run the chain on an executor."""
    pipeline = Pipeline.from_dict(chain.PIPELINE)
    prepared, _ = pipeline.check(str(volume), out, Settings((BLOCK,), 0, 2 << 30, report=False))
    run_prepared(pipeline.as_dict(), prepared, lambda: executor, lambda summary, done, units: None)


def honest(bench: Bench) -> int:
    """Golden, each block recorded once; gives back how many were computed twice."""
    out, executor = bench.folder / "twice", Twice()
    run(bench.volume, out, executor)
    assert chain.golden(out) == bench.golden
    assert set(chain.recorded(out).values()) == {1}
    assert chain.leftovers(out) == []
    shutil.rmtree(out)
    return executor.count


def lying(bench: Bench, count: int) -> None:
    """A second result that differs ends the run, which does not look complete."""
    out = bench.folder / f"lying-{count}"
    try:
        run(bench.volume, out, Twice(count))
    except ExactnessError as error:
        said = str(error)
    else:
        raise AssertionError("a differing result was taken")
    assert "computed twice and gave different results" in said
    assert chain.status(out) == "failed"
    shutil.rmtree(out)


def full() -> Iterator[Row]:
    """All of it."""
    folder = fast_folder()
    try:
        bench = Bench(folder)
        count = sum(honest(bench) for _ in range(5))
        yield Row("R6", "blocks computed twice, at the same time", count, count)
        liars = range(1, 80, 4)
        for number in liars:
            lying(bench, number)
        yield Row("R6", "second results that differ: a hard error", len(liars), len(liars))
    finally:
        shutil.rmtree(folder)
