"""Which units fail again and again, and what is said of them: three tries, then the rest goes on without."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from bigseg.errors import BlockError

TRIES = 3
"""After so many failures that are its own a unit is left out."""
LOST_TRIES = 10
"""After so many workers that went with it without a cause that could be seen. Preemption and kills hit any unit; one
that is hit ten times takes its machine along."""
HOPELESS = 8
"""When so many units were left out, and more than were done, the stage is given up: its function is wrong."""
NAMED = 20
"""Units that a message names."""
CAUSES = {
    "crashed": "crashed its worker",
    "memory": "ran out of memory",
    "lost": "lost its worker",
    "hung": "did not end",
    "error": "raised an error",
}


@dataclass
class Blame:
    """Failures of the units of one stage, by cause.

    >>> blame = Blame("pass-1")
    >>> [blame.count(7, "memory", "990 of 1024 MiB held when last seen") for _ in range(3)]
    [False, False, True]
    >>> print(blame.error())
    stage pass-1, unit 7 ran out of memory 3 times (990 of 1024 MiB held when last seen) and was left out: give ...
    """

    stage: str
    counts: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    details: dict[int, str] = field(default_factory=dict)
    errors: dict[int, BlockError] = field(default_factory=dict)
    left_out: dict[int, str] = field(default_factory=dict)
    """Units that are given up, with the cause of their last failure."""

    def count(self, unit: int, cause: str, detail: str = "", error: BlockError | None = None) -> bool:
        """One more failure; gives back whether the unit is left out from now on."""
        if unit in self.left_out:
            return True  # of a scheduler of somebody else's, which tries again by itself before it is told
        counts = self.counts[unit]
        counts[cause] += 1
        if detail or cause != "lost":
            self.details[unit] = detail
        if error is not None:
            self.errors[unit] = error
        own = sum(counts.values()) - counts["lost"]
        if own >= TRIES or counts["lost"] >= LOST_TRIES:
            self.left_out[unit] = cause
        return unit in self.left_out

    def units(self, units: Sequence[int]) -> list[int]:
        """Those that are not left out."""
        return [unit for unit in units if unit not in self.left_out]

    def hopeless(self, done: int) -> bool:
        """Whether so many units failed, and so few did not, that the rest would too."""
        return len(self.left_out) >= HOPELESS and len(self.left_out) > done

    def error(self) -> BlockError | None:
        """What to say at the end of the stage: one message, with every unit that was left out."""
        if not self.left_out:
            return None
        units = sorted(self.left_out)
        if len(units) == 1 and units[0] in self.errors:
            return self.errors[units[0]]  # which names stage and unit itself
        first = units[0]
        times = self.counts[first][self.left_out[first]]
        what = f"stage {self.stage}, unit {first} {CAUSES[self.left_out[first]]} {times} times"
        if self.details.get(first):
            what += f" ({self.details[first]})"
        if len(units) > 1:
            others = ", ".join(map(str, units[1:NAMED])) + (" …" if len(units) > NAMED else "")
            what += f" and was left out, as were {len(units) - 1} more units: {others}"
        else:
            what += " and was left out"
        if first in self.errors:
            what += f"; the first: {self.errors[first]}"
        failed = BlockError(f"{what}: {_remedy(set(self.left_out.values()))}")
        for unit in units:
            for note in getattr(self.errors.get(unit), "__notes__", ()):
                failed.add_note(note)
        return failed


def _remedy(causes: set[str]) -> str:
    """What to do."""
    if "memory" in causes:
        advice = "give smaller blocks (--block) with --restart, or workers more memory (--memory) and fewer of them"
    elif "hung" in causes:
        advice = "find why it does not end, or allow it more time (bigseg.unit-seconds in Dask's configuration)"
    elif "lost" in causes:
        advice = "look at the workers' logs; likely it needs more memory than their machine has: give smaller blocks"
    else:
        advice = "look at the input there; bigseg --debug shows where it happened"
    return f"{advice}. The other units of the stage are done and kept: the same command tries what was left out again"
