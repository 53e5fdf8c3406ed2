"""The summary of the full fault tests: what takes part, what counts as failed."""

from __future__ import annotations

import types
from pathlib import Path

import pytest

from tests.faults import run
from tests.faults.run import Row


def module(name: str, *rows: Row, fails: bool = False) -> types.ModuleType:
    """A module that takes part."""
    found = types.ModuleType(name)
    found.TESTS = ("R99",)  # type: ignore[attr-defined]

    def full() -> object:
        yield from rows
        if fails:
            raise RuntimeError("no longer")

    found.full = full  # type: ignore[attr-defined]
    return found


def test_every_line_of_the_bar_has_a_module() -> None:
    """The modules of this folder say what they cover, in order."""
    found = run.modules()
    assert {f"R{number}" for number in range(1, 16)} == {test for item in found for test in item.TESTS}


def test_a_module_that_crashes_or_hangs_is_one_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs in a process of its own, which is ended after a while."""
    row = run.rows_apart(module("tests.faults.that_is_not_there"))[0]
    assert (row.injections, row.passed) == (1, 0)
    assert "ended with 1" in row.what
    monkeypatch.setattr(run, "LIMIT", 0.1)
    assert "took longer" in run.rows_apart(module("tests.faults.twice"))[0].what


def test_a_failed_injection_fails_the_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of a thousand, or a module that breaks down, gives an exit status of 1 and is marked in the table."""
    good, bad = Row("R99", "faults", 1000, 1000), Row("R99", "faults", 1000, 999)
    for items, status in (
        ([module("a", good)], 0),
        ([module("a", good, bad)], 1),
        ([module("a", good, fails=True)], 1),
    ):
        monkeypatch.setattr(run, "modules", lambda items=items: items)
        monkeypatch.setattr(run, "rows_apart", run.rows_of)
        assert run.main(["--out", str(tmp_path / "page.md")]) == status
        page = (tmp_path / "page.md").read_text()
        assert ("**!**" in page) == (status == 1)
        assert "| 1000 |" in page
    assert "RuntimeError" in capsys.readouterr().err
