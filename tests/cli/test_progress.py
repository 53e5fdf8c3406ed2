"""Progress: rate and time left on a terminal, plain lines elsewhere, JSON for machines."""

from __future__ import annotations

import io
import json
import signal
from types import SimpleNamespace
from typing import Any

import pytest

from bigseg.cli import progress, stopping
from bigseg.cli.progress import Progress
from bigseg.engine.run import Summary


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Time that passes when told."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now.seconds)
    return now


def _plan() -> Any:
    stages = [SimpleNamespace(name=name, reads=0, writes=0, voxels=500_000_000) for name in ("pass-1", "pass-2")]
    return SimpleNamespace(stages=stages)


def _tell(shown: Progress, clock: Any, name: str, blocks: range, seconds: float, units: int = 10) -> None:
    for done in blocks:
        clock.seconds += seconds if done else 0.0
        summary = Summary(name, "pass", "", units, computed=done, seconds=seconds * done, voxels=500_000_000)
        shown(summary, done, units)


def test_a_terminal_shows_rate_and_time_left(clock: Any) -> None:
    """Half of the first of two equal stages in 10 s at 25 Mvox/s leaves about 30 s."""
    stream = Terminal()
    with Progress(_plan(), stream=stream) as shown:
        _tell(shown, clock, "pass-1", range(6), 2.0)
    last = stream.getvalue().split("\r")[-1]
    assert "[1/2] pass-1" in last
    assert "5/10" in last
    assert "25 Mvox/s" in last
    assert "about 30 s left" in last
    assert stream.getvalue().endswith("\n")  # an interrupted line does not swallow the message after it


@pytest.mark.parametrize("machine", [False, True])
@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), OSError(28, "No space left"), ValueError])
def test_what_cannot_be_printed_ends_no_run(clock: Any, machine: bool, error: Any) -> None:
    """The first line that fails is the last that is tried."""
    stream, tried = Terminal(), []

    def write(text: str) -> int:
        tried.append(text)
        raise error

    stream.write = write  # type: ignore[method-assign, assignment]
    with Progress(_plan(), machine, stream) as shown:
        _tell(shown, clock, "pass-1", range(6), 2.0)
    assert len(tried) == 1


def test_lines_elsewhere_are_plain_and_few(clock: Any) -> None:
    """In a log a stage of 100 s takes a line every 10 s, without escape codes."""
    stream = io.StringIO()
    with Progress(_plan(), stream=stream) as shown:
        _tell(shown, clock, "pass-1", range(1, 1001), 0.1, units=1000)
    lines = stream.getvalue().splitlines()
    assert "\x1b" not in stream.getvalue()
    assert 9 <= len(lines) <= 11
    assert "1000/1000" in lines[-1]


def test_machines_get_json_lines(clock: Any) -> None:
    """Each line is a document of its own with the seconds left."""
    stream = io.StringIO()
    with Progress(_plan(), machine=True, stream=stream) as shown:
        _tell(shown, clock, "pass-1", range(11), 2.0)
        _tell(shown, clock, "pass-2", range(11), 2.0)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert lines[-1]["seconds_left"] == 0
    assert [line["done"] for line in lines if line["number"] == 2][-1] == 10
    assert next(line for line in lines if line["done"] == 5)["seconds_left"] == pytest.approx(30)


def test_what_was_finished_before_does_not_count_as_speed(clock: Any) -> None:
    """After a resume the time left comes from the blocks of this start alone."""
    stream = Terminal()
    with Progress(_plan(), stream=stream) as shown:
        shown(Summary("pass-1", "pass", "", 10, voxels=500_000_000), 10, 10)
        shown(Summary("pass-2", "pass", "", 10, voxels=500_000_000), 5, 10)
        clock.seconds += 10
        shown(Summary("pass-2", "pass", "", 10, computed=1, seconds=10, voxels=500_000_000), 6, 10)
    assert "finished before" in stream.getvalue()
    assert "about 40 s left" in stream.getvalue().split("\r")[-1]


class Loses:
    """Gets a signal while it is being deleted: Python prints what the handler raises, and drops it."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_whose_exception_was_lost_still_stops(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that comes within a __del__ stops the run with the next block."""
    lost: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", lost.append)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    shown = Progress(_plan(), stream=io.StringIO())
    stopping.listen()
    try:
        shown(Summary("pass-1", "pass", "", 10), 0, 10)
        Loses()
        assert len(lost) == 1
        with pytest.raises(stopping.Stopped) as stop:
            shown(Summary("pass-1", "pass", "", 10), 1, 10)
        assert stop.value.exit_code == 143
    finally:
        stopping.listen()
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_transient_line_leaves_nothing(clock: Any) -> None:
    """The demo's line goes when a step is done; in a log it is not printed at all."""
    stream, log = Terminal(), io.StringIO()
    for target in (stream, log):
        with Progress(_plan(), stream=target, transient=True) as shown:
            _tell(shown, clock, "pass-1", range(1, 4), 2.0)
    assert stream.getvalue().endswith("\r\x1b[2K")
    assert "\n" not in stream.getvalue()
    assert log.getvalue() == ""
