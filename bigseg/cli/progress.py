"""Progress of a run: a live line on a terminal, plain log lines elsewhere, JSON lines for machines.

Time left is an estimate from the bytes and voxels of the plan: what is left of them, at the speed so far.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from types import TracebackType
from typing import TextIO

from bigseg.cli.stopping import check
from bigseg.engine.run import Summary
from bigseg.engine.stage import Plan, Stage
from bigseg.report.wording import rate, seconds

LOG_SECONDS = 10.0
"""Between two plain log lines of one stage."""
LIVE_SECONDS = 0.1
MACHINE_SECONDS = 1.0
BAR = 12
NAME = 24


class Progress:
    """Called by the run after every block; a context manager that ends an unfinished line.

    Parameters
    ----------
    plan : what will run.
    machine : print JSON lines.
    stream : where to; standard error, so that results on standard output stay apart.
    transient : a line on a terminal that goes when all is done, and nothing in a log.
    """

    def __init__(
        self, plan: Plan, machine: bool = False, stream: TextIO | None = None, transient: bool = False
    ) -> None:
        self.stages = {stage.name: stage for stage in plan.stages}
        self.numbers = {name: number for number, name in enumerate(self.stages, start=1)}
        self.stream = stream or sys.stderr
        self.machine = machine
        self.live = not machine and self.stream.isatty()
        self.transient = transient
        self._width = min(NAME, max(map(len, self.stages), default=0))
        self._total = sum(map(_work, self.stages.values()))
        self._ended = 0.0
        """Work of the stages before this one."""
        self._skipped = 0.0
        """Work found finished: it says nothing about the speed."""
        self._began = time.monotonic()
        self._stage = ""
        self._printed = 0.0
        self._open = False
        self._silent = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            self._print("", "\r\x1b[2K" if self.transient else "\n")

    def __call__(self, summary: Summary, done: int, units: int) -> None:
        """Show how far a stage is.

        Raises
        ------
        Stopped
            When a signal asked to leave, and its exception was lost.
        """
        check()
        if self.transient and not (self.live or self.machine):
            return
        now = time.monotonic()
        stage = self.stages[summary.name]
        if summary.name != self._stage:
            self._stage, self._printed = summary.name, now if not self.live else 0.0
            self._skipped += _work(stage) * done / units
        over = done == units
        wait = MACHINE_SECONDS if self.machine else LIVE_SECONDS if self.live else LOG_SECONDS
        if not over and now - self._printed < wait:
            return
        self._printed = now
        work = self._ended + _work(stage) * done / units
        if self.machine:
            self._machine(summary, done, units, work)
        elif self.live:
            self._line(self._text(summary, done, units, work), over and not self.transient)
        else:
            self._line(f"{time.strftime('%H:%M:%S')} {self._text(summary, done, units, work)}", True)
        if over:
            self._ended += _work(stage)

    def _line(self, text: str, over: bool) -> None:
        if self.live:
            text = "\r\x1b[2K" + text[: shutil.get_terminal_size().columns - 1]
        self._print(text, "\n" if over else "")
        self._open = not over

    def _machine(self, summary: Summary, done: int, units: int, work: float) -> None:
        line = {
            "stage": summary.name,
            "number": self.numbers[summary.name],
            "stages": len(self.stages),
            "done": done,
            "blocks": units,
            "seconds": round(summary.seconds, 2),
            "seconds_left": None if (left := self._left(work)) is None else round(left, 1),
        }
        self._print(json.dumps(line))

    def _print(self, text: str, end: str = "\n") -> None:
        """What cannot be printed must not end a run: from then on it goes without."""
        if not self._silent:
            try:
                print(text, end=end, file=self.stream, flush=True)
            except (OSError, ValueError):  # a closed pipe, a full disk; a closed file
                self._silent = True

    def _text(self, summary: Summary, done: int, units: int, work: float) -> str:
        """``[3/9] pass-2 ━━━━━━━━──── 412/800  182 Mvox/s  about 2 min left``."""
        total = len(self.stages)
        text = f"[{self.numbers[summary.name]:>{len(str(total))}}/{total}] {summary.name:{self._width}.{self._width}s}"
        if self.live and done < units:
            filled = BAR * done // units
            text += f" {'━' * filled}{'─' * (BAR - filled)}"
        text += f" {done}/{units}"
        if done == units and not summary.computed:
            return f"{text}  finished before"
        if done == units:
            text += f"  {seconds(summary.seconds)}"
        if summary.seconds > 0 and summary.voxels and summary.computed:
            speed = summary.voxels * summary.computed / units / summary.seconds
            text += f"  {rate(speed / 1e6)} Mvox/s"
        left = self._left(work)
        if left is None or work >= self._total or (self.live and done == units):
            return text
        return f"{text}  about {seconds(left)} left"

    def _left(self, work: float) -> float | None:
        """Seconds to the end of the run, once there is a speed to judge by."""
        done, passed = work - self._skipped, time.monotonic() - self._began
        if done <= 0 or passed < 1:
            return None
        return passed * max(0.0, self._total - work) / done


def _work(stage: Stage) -> float:
    """What a stage costs, roughly, in bytes moved and voxels visited."""
    return stage.reads + 2.0 * stage.writes + 2.0 * stage.voxels + 1.0
