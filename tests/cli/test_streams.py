"""Whatever becomes of standard output and error, the work is done and its exit code counts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MAIN = f'{sys.executable} -c "from bigseg.cli.main import main; main()"'


def shell(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """A line of bash, whose exit code is that of bigseg."""
    text = f"set -o pipefail; {line.replace('bigseg', MAIN)}"
    return subprocess.run(["bash", "-c", text], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "streams",
    [
        ">&-",
        "2>&-",
        ">&- 2>&-",
        "<&- >&- 2>&-",
        "--json | true",
        "| true",
        "2>&1 >/dev/null | true",
        "2>/dev/full",
    ],
)
def test_a_run_ends_well_without_its_streams(tmp_path: Path, volume: Path, pipeline: Path, streams: str) -> None:
    """Closed from the start, closed by the reader, a log on a full disk: complete, exit code 0, nothing else said."""
    done = shell(tmp_path, f"bigseg run {pipeline} -i {volume} --workers 0 -o out {streams}")
    assert done.returncode == 0
    assert '"status": "complete"' in (tmp_path / "out" / "run.json").read_text()
    assert "Error" not in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("bigseg --help | true", 0),
        ("bigseg ops | true", 0),
        ("bigseg ops --json | true", 0),
        ("bigseg info none.zarr 2>&- | true", 3),
        ("bigseg verify damaged | true", 8),
        ("bigseg ops --json >/dev/full", 6),
    ],
)
def test_the_exit_code_is_that_of_the_work(tmp_path: Path, line: str, code: int) -> None:
    """Of a reader that leaves nothing is heard; output that somebody wants and that cannot be written is an error."""
    from bigseg.storage.volume import Volume
    from tests.volumes import store

    if "damaged" in line:
        import numpy as np

        volume = Volume.open(store(tmp_path / "damaged", np.ones((8, 8, 8), np.uint8)))
        next(path for path in volume.folder.rglob("*") if path.is_file() and "json" not in path.name).write_bytes(b"")
    done = shell(tmp_path, line)
    assert done.returncode == code, done.stderr
    assert ("No space left on device" in done.stderr) == (code == 6)
    assert "Traceback" not in done.stderr


def test_descriptors_that_were_closed_are_nobody_elses(tmp_path: Path) -> None:
    """A file that is opened later does not get the number of standard output, and what libraries print."""
    code = (
        "import os, sys; from bigseg.cli import streams; streams.own(); "
        "assert open('log', 'w').fileno() > 2; os.write(1, b'x'); print('y'); print('z', file=sys.stderr)"
    )
    done = subprocess.run(["bash", "-c", f'{sys.executable} -c "{code}" <&- >&- 2>&-'], cwd=tmp_path, check=False)
    assert done.returncode == 0
    assert os.path.getsize(tmp_path / "log") == 0
