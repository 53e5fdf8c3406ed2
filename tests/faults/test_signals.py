"""Ctrl-C, SIGTERM and closed pipes: the process leaves in order, and the same command continues."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

BIGSEG = (sys.executable, "-m", "bigseg.cli.main")
SLOW = """
version: 1
steps:
  - {id: wide, op: gaussian, sigma: 6.0}
  - {id: dark, op: threshold, below: 128}
save: [wide, dark]
"""


def _start(tmp_path: Path, workers: int) -> subprocess.Popen[str]:
    np.save(tmp_path / "scan.npy", np.random.default_rng(1).integers(0, 255, (96, 96, 96), np.uint8))
    (tmp_path / "slow.yaml").write_text(SLOW)
    command = [*BIGSEG, "run", "slow.yaml", "-i", "scan.npy", "-o", "out", "--block", "6", "--workers", str(workers)]
    return subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def _wait_for_blocks(tmp_path: Path, process: subprocess.Popen[str]) -> None:
    journal = tmp_path / "out" / "journal" / "journal.jsonl"
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 20):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _gone(group: int) -> bool:
    """Whether every process of a group has ended, or ends within seconds."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize(("number", "workers", "code"), [(signal.SIGTERM, 0, 143), (signal.SIGINT, 1, 130)])
def test_a_signal_leaves_in_order(tmp_path: Path, number: signal.Signals, workers: int, code: int) -> None:
    """Stopped in the middle, the lock is given back, one line says what to do, and no worker is left."""
    process = _start(tmp_path, workers)
    _wait_for_blocks(tmp_path, process)
    began = time.monotonic()
    os.killpg(process.pid, number)  # as a terminal does: the workers get it too
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert time.monotonic() - began < 25
    assert "Traceback" not in err, err
    assert err.splitlines()[-1].endswith("run the same command again to continue")
    assert not (tmp_path / "out" / "journal" / "lock").exists()
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "incomplete"
    assert _gone(process.pid)


def test_a_closed_pipe_is_no_error() -> None:
    """`bigseg ops | head -1` ends quietly."""
    process = subprocess.Popen([*BIGSEG, "ops"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 0
    assert err == ""
