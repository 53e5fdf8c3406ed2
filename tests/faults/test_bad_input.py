"""Bad input and security (R14): refused within two seconds, with nothing made, no traceback and no code run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bigseg.cli.main import app, run
from tests.faults.bad_input import CASES, GIVEN
from tests.faults.fuzz import fuzz
from tests.faults.refusals import check, copy_given, make_given, refused, tree

PROCESSES = ("alias bomb", "python object", "pickle in a model", "finished, says a record alone")
"""Cases that are also run as a user runs them; the others share this process, for speed."""


DEBUGGED = {
    "demo": "demo onto a file",
    "ingest": "ingest onto the input",
    "run": "no volume",
    "preview": "preview that cannot be written",
    "report": "report on nothing",
    "phantom": "phantom of NaN",
    "threshold": "threshold by a path",
    "train": "train with NaN",
    "evaluate": "evaluate at NaN",
    "tune": "tune nothing",
    "info": "info of nothing",
    "plan": "plan of nothing",
    "status": "status of a file",
    "ops": "an operation by a path",
    "verify": "verify nothing",
    "cluster": "keys in a folder that is there",
}
"""A case of each command that the command itself refuses, not the parser of its options."""


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stands in every case's folder; everything that commands import is imported."""
    folder = tmp_path_factory.mktemp("given")
    make_given(folder)
    return folder


@pytest.fixture
def folder(given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a volume and a pipeline."""
    copy_given(given, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


@pytest.mark.parametrize("name", CASES)
def test_refused(folder: Path, name: str) -> None:
    """Bad input is refused within two seconds with the documented code, in one message, and leaves nothing."""
    refused(CASES[name], folder)


@pytest.mark.parametrize("name", PROCESSES)
def test_refused_as_a_process(folder: Path, name: str) -> None:
    """The same holds for a process of its own: its exit status is the code, its stderr the message."""
    case = CASES[name]
    command = [sys.executable, "-m", "bigseg.cli.main", *map(str, case.make())]
    before = tree(folder)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    check(done.returncode, done.stderr, case.code, case.says)
    assert tree(folder) == before


def commands() -> set[str]:
    """Every command of the program."""
    found = {command.callback.__name__ for command in app.registered_commands if command.callback}
    return found | {str(group.name) for group in app.registered_groups}


def test_every_command_is_tried(folder: Path) -> None:
    """No command is without a case, and there are more than fifty."""
    first = set()
    for case in CASES.values():
        first.add(str(case.make()[0]))
        for name in set(os.listdir(folder)) - set(GIVEN):
            shutil.rmtree(name) if os.path.isdir(name) and not os.path.islink(name) else os.unlink(name)
    assert commands() <= first
    assert len(CASES) > 50


@pytest.mark.parametrize("command", DEBUGGED)
def test_debug_shows_where(folder: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    """--debug shows the traceback of a refusal, on every command; without it there is none."""
    case = CASES[DEBUGGED[command]]
    arguments = [str(item) for item in case.make()]
    assert arguments[0] == command
    for debug in (["--debug"], []):
        assert run([*debug, *arguments]) == case.code
        assert ("Traceback" in capsys.readouterr().err) == bool(debug)


def test_debug_is_tried_on_every_command() -> None:
    """The list of the test above is whole."""
    assert set(DEBUGGED) == commands()


def test_spoilt_pipelines() -> None:
    """Of pipeline files with mistakes drawn at random each is planned, or refused in one message."""
    assert fuzz(int(os.environ.get("BIGSEG_FUZZ", "200")), seed=14) == []


def test_the_fuzzer_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that breaks down on such files is found out."""
    monkeypatch.setattr("bigseg.pipeline.pipeline.parse_file", lambda *given: 1 / 0)
    assert len(fuzz(5, seed=14)) == 5
