"""Work of units that sleep, fail or end their process, for tests of the executors."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

from bigseg import errors
from bigseg.engine.work import Done
from bigseg.errors import StorageError, ValuesError


class Awkward(Exception):
    """An exception that cannot be pickled back: its arguments are not those of its constructor."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


FAULTS: dict[str, BaseException] = {
    "values": ValuesError("the input holds 3 NaN near (1, 2, 3)"),
    "storage": StorageError("cannot write 5 bytes to x: No space left on device"),
    "zero": ZeroDivisionError("division by zero"),
    "memory": MemoryError(),
    "awkward": Awkward(1, 2),
    "system": OSError(5, "Input/output error"),
}


@dataclass(frozen=True)
class Toy:
    """Work of units that sleep, fail or end their process."""

    stage: str = "toy"
    seconds: float = 0.0
    failing: int = -1
    fault: str = ""
    deadly: str = ""
    """A file: the first unit that finds it removes it and ends its process; a folder: each unit does."""

    def run(self, unit: int) -> Done:
        time.sleep(self.seconds)
        if unit == self.failing:
            raise FAULTS.get(self.fault) or getattr(errors, self.fault)("what was expected, and found")
        if self.deadly and os.path.exists(self.deadly):
            if os.path.isfile(self.deadly):
                os.unlink(self.deadly)
            os.kill(os.getpid(), signal.SIGKILL)
        return Done(unit, ((f"file-{unit}", unit, 7),), f"{unit:016x}", self.seconds, 1, 2, 3, {"twice": 2 * unit})


def bricks(count: int, size: int = 1) -> list[list[int]]:
    """The numbers below ``count`` in lists of ``size``."""
    return [list(range(start, min(start + size, count))) for start in range(0, count, size)]
