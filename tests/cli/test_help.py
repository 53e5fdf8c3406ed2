"""Help: quick, complete, with examples that are commands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bigseg import errors
from bigseg.cli.evaluating import COMMANDS as EVALUATING
from bigseg.cli.inspecting import COMMANDS as INSPECTING
from bigseg.cli.main import EXIT_CODES
from bigseg.cli.making import COMMANDS as MAKING
from bigseg.cli.thresholding import COMMANDS as THRESHOLDING
from bigseg.cli.training import COMMANDS as TRAINING
from bigseg.cli.tuning import COMMANDS as TUNING
from bigseg.cli.verifying import COMMANDS as VERIFYING
from bigseg.cli.verifying import DAMAGED
from tests.cli.conftest import Bigseg

ALL = (*MAKING, *TUNING, *TRAINING, *EVALUATING, *THRESHOLDING, *INSPECTING, *VERIFYING)
COMMANDS = {command.function.__name__: command for command in ALL}
HEAVY = (
    "numpy",
    "numba",
    "zarr",
    "tensorstore",
    "dask",
    "distributed",
    "xarray",
    "pandas",
    "scipy",
    "pydantic",
    "yaml",
)


def test_help_imports_nothing_heavy() -> None:
    """The program's help is there before NumPy would be: it imports none of the heavy libraries."""
    code = (
        "import sys; from bigseg.cli.main import run; code = run(['--help']); "
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "Exit codes" in done.stdout


def test_every_command_is_listed(bigseg: Bigseg) -> None:
    """`bigseg --help` names every command and all exit codes."""
    answer = bigseg("--help")
    assert answer.code == 0
    assert len(COMMANDS) > 14
    for name in (*COMMANDS, "cluster"):
        assert f" {name} " in answer.out
    for code, text in EXIT_CODES.items():
        assert f"{code}  {text}" in answer.out


def test_the_group_of_commands_has_an_example(bigseg: Bigseg) -> None:
    """The help of `bigseg cluster`, and that of its command, end in an example."""
    for command in (("cluster",), ("cluster", "cert")):
        assert "Example: bigseg cluster cert " in bigseg(*command, "--help").out


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_but_the_demo_answers_in_json(bigseg: Bigseg, name: str) -> None:
    """--json is where README says that it is."""
    assert ("--json" in bigseg(name, "--help").out) == (name != "demo")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_an_example(bigseg: Bigseg, name: str) -> None:
    """Each command's help ends in an example that begins with the command."""
    answer = bigseg(name, "--help")
    assert answer.code == 0
    assert f"Example: bigseg {name}" in answer.out
    assert shlex.split(COMMANDS[name].example)[:2] == ["bigseg", name]


def test_exit_codes_are_those_of_the_errors() -> None:
    """Every class of error leaves with a code that the help explains."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.BigsegError)]
    assert len(kinds) > 10
    assert {kind.exit_code for kind in kinds} == set(EXIT_CODES) - {0, DAMAGED, 130, 143}  # verify's is no error


def test_no_arguments_show_the_help(bigseg: Bigseg) -> None:
    """`bigseg` alone shows the help and leaves as a wrong usage."""
    answer = bigseg()
    assert answer.code == 2
    assert "Usage: bigseg" in answer.out + answer.err


def test_version(bigseg: Bigseg) -> None:
    """`bigseg --version` prints the version alone."""
    from importlib.metadata import version

    assert bigseg("--version").out.strip() == version("bigseg")


def test_ops_lists_and_explains(bigseg: Bigseg) -> None:
    """`bigseg ops` lists every operation; `bigseg ops NAME` shows its parameters, oracle and examples."""
    from bigseg.ops.registry import OPS

    listed = bigseg("ops").out
    assert all(f"{name} " in listed for name in OPS)
    for name, kind in OPS.items():
        page = " ".join(bigseg("ops", name).out.split())  # long lines are wrapped
        assert " ".join(kind.oracle.split()) in page
        assert " ".join(kind.example.split()) in page
        assert ">>> " in page
        assert all(f"{parameter} " in page for parameter in kind.model_fields)


def test_the_reference_page_is_what_the_operations_say(bigseg: Bigseg) -> None:
    """docs/operations.md is the output of `bigseg ops --markdown`: write it anew after a change of an operation."""
    page = Path(__file__).parents[2] / "docs" / "operations.md"
    assert bigseg("ops", "--markdown").out == page.read_text(), "bigseg ops --markdown > docs/operations.md"


def test_one_operation_of_the_reference_page(bigseg: Bigseg) -> None:
    """`bigseg ops NAME --markdown` prints that operation's part of the page; two forms at once are refused."""
    part = bigseg("ops", "hysteresis", "--markdown").out
    assert part.startswith("### hysteresis\n")
    assert part.count("\n### ") == 0
    assert part in bigseg("ops", "--markdown").out
    both = bigseg("ops", "--markdown", "--json")
    assert both.code == 2
    assert "give one of them" in both.err


def test_every_operation_states_its_cost_and_depth() -> None:
    """What a user asks first stands in every operation's documentation: what it costs, and how far it reaches."""
    from bigseg.ops.base import LocalOp
    from bigseg.ops.registry import OPS

    for name, kind in OPS.items():
        assert "Cost" in (kind.__doc__ or ""), name
        assert "Depth" in (kind.__doc__ or "") or not issubclass(kind, LocalOp), name


def test_ops_shows_types_and_defaults(bigseg: Bigseg) -> None:
    """The page of hysteresis says what low may be, what polarity may be, and what connectivity is by default."""
    page = bigseg("ops", "hysteresis").out
    assert "number or ${step.value}" in page
    assert "above | below" in page
    assert "integer 1 to 3" in page
    assert "required" in page


def test_ops_json(bigseg: Bigseg) -> None:
    """`bigseg ops --json` is one document that a form could be built from."""
    found = {item["op"]: item for item in bigseg("ops", "--json").json}
    assert found["gaussian"]["schema"]["properties"]["sigma"]["description"]
    assert bigseg("ops", "label", "--json").json["schema"]["properties"]["connectivity"]["default"] == 1


README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_readme_lists_the_same_exit_codes() -> None:
    """The README's table of exit codes is that of the help."""
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", README.read_text(), re.MULTILINE)
    assert {int(code): text for code, text in rows} == EXIT_CODES


def test_the_readme_shows_a_pipeline_that_is_valid(tmp_path: Path) -> None:
    """The pipeline in the README loads, and its commands exist."""
    from bigseg.pipeline.pipeline import Pipeline

    text = README.read_text()
    (tmp_path / "a.yaml").write_text(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0])
    assert [step.id for step in Pipeline.load(tmp_path / "a.yaml").steps] == [
        "smooth",
        "levels",
        "voids",
        "objects",
        "regions",
    ]
    blocks = "\n".join(re.findall(r"```\n(.*?)```", text, re.DOTALL))
    named = set(re.findall(r"^bigseg (\w+)", blocks, re.MULTILINE))
    assert named <= set(COMMANDS)
    assert {"ingest", "run", "plan", "status", "preview"} <= named
