"""The serial executor: the oracle that every other executor must equal."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence

from bigseg.engine.work import Done, Work, attempt


class SerialExecutor:
    """Runs every unit in this process, in order."""

    workers = 1
    where = "this process"

    def run(self, work: Work, bricks: Iterable[Sequence[int]]) -> Generator[Done]:
        """Yield each unit as it is done.

        Raises
        ------
        BigsegError
            The first error a unit met.
        """
        for brick in bricks:
            for unit in brick:
                yield attempt(work, unit)

    def close(self) -> None:
        """Nothing to close."""
