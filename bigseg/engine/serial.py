"""The serial executor: the oracle that every other executor must equal."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence

from bigseg.engine import leaving
from bigseg.engine.blame import TRIES, Blame
from bigseg.engine.work import Done, Work, attempt
from bigseg.errors import BlockError


class SerialExecutor:
    """Runs every unit in this process, in order."""

    workers = 1
    distant = False
    where = "this process"

    def run(self, work: Work, bricks: Iterable[Sequence[int]]) -> Generator[Done]:
        """Yield each unit as it is done.

        Raises
        ------
        BigsegError
            The first error a unit met; a `BlockError` only when all other units are done.
        Stopped
            When this process was asked to leave, or what is left of its time is less than the longest unit took.
        """
        blame, done, longest = Blame(work.stage), 0, 0.0
        with leaving.in_order():
            for brick in bricks:
                for unit in brick:
                    if code := leaving.asked() or leaving.too_late(longest):
                        raise leaving.Stopped(code)
                    if (found := self._tried(work, unit, blame)) is not None:
                        done, longest = done + 1, max(longest, found.seconds)
                        yield found
                if blame.hopeless(done):
                    break
        if (error := blame.error()) is not None:
            raise error

    def _tried(self, work: Work, unit: int, blame: Blame) -> Done | None:
        """A unit's result, or None when it failed each time."""
        for _ in range(TRIES):
            try:
                return attempt(work, unit)
            except BlockError as error:
                blame.count(unit, "error", error=error)
        return None

    def close(self) -> None:
        """Nothing to close."""
