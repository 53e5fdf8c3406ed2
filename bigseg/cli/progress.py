"""Progress of a run: a live line on a terminal, plain log lines elsewhere, JSON lines for machines."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from typing import TextIO

from bigseg.engine.run import Summary

LOG_SECONDS = 10.0
"""Between two plain log lines of one stage."""


class Progress:
    """Called by the run after every block.

    Parameters
    ----------
    total : units of all stages, weighed by the voxels they cover.
    machine : print JSON lines.
    """

    def __init__(self, stages: int, machine: bool = False, stream: TextIO = sys.stderr) -> None:
        self.stages = stages
        self.machine = machine
        self.stream = stream
        self.live = stream.isatty() and not machine
        self.stage = ""
        self.number = 0
        self.last = 0.0
        self.marks: deque[tuple[float, int]] = deque(maxlen=200)

    def __call__(self, summary: Summary, done: int, units: int) -> None:
        """Show how far a stage is."""
        now = time.monotonic()
        if summary.name != self.stage:
            self.stage, self.number, self.last = summary.name, self.number + 1, 0.0
            self.marks.clear()
        self.marks.append((now, done))
        if self.machine:
            if done == units or now - self.last > 1:
                self.last = now
                line = {"stage": summary.name, "done": done, "units": units, "seconds": round(summary.seconds, 2)}
                print(json.dumps(line), file=self.stream, flush=True)
            return
        if self.live:
            if done == units or now - self.last > 0.1:
                self.last = now
                end = "\n" if done == units else ""
                print(f"\r\x1b[2K{self._line(summary, done, units)}", end=end, file=self.stream, flush=True)
        elif done == units or now - self.last > LOG_SECONDS:
            self.last = now
            print(f"{time.strftime('%H:%M:%S')} {self._line(summary, done, units)}", file=self.stream, flush=True)

    def _line(self, summary: Summary, done: int, units: int) -> str:
        share = done / units if units else 1.0
        voxels = summary.voxels * share
        text = f"[{self.number}/{self.stages}] {summary.name:24.24s} {done}/{units}"
        if summary.computed == 0 and done == units:
            return f"{text}  finished before"
        if summary.seconds > 0 and voxels:
            text += f"  {summary.seconds:6.1f} s  {summary.voxels * summary.computed / units / summary.seconds / 1e6:7.1f} Mvox/s"
        left = self._left(units - done)
        return f"{text}  {left} left" if left and done < units else text

    def _left(self, units: int) -> str:
        """Time left in this stage, from the last blocks."""
        (then, before), (now, done) = self.marks[0], self.marks[-1]
        if done <= before or now <= then:
            return ""
        seconds = units * (now - then) / (done - before)
        return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
