"""The serial executor: the oracle that every other executor must equal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from bigseg.engine.work import Done, Work


class SerialExecutor:
    """Runs every unit in this process, in order."""

    workers = 1
    where = "this process"

    def run(self, work: Work, bricks: Iterable[Sequence[int]]) -> Iterator[Done]:
        """Yield each unit as it is done."""
        for brick in bricks:
            for unit in brick:
                yield work.run(unit)

    def close(self) -> None:
        """Nothing to close."""
