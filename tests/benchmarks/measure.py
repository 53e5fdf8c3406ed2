"""Running one measurement in a process of its own: its result, and the peak memory of its process tree."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
SAMPLE_SECONDS = 0.2
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def _tree_rss(process: psutil.Process) -> int:
    total = 0
    for member in (process, *process.children(recursive=True)):
        try:
            total += member.memory_info().rss
        except psutil.Error:  # it ended meanwhile
            continue
    return total


def run_process(command: Sequence[str | Path], task: Mapping[str, Any], work: Path, timeout: float) -> dict[str, Any]:
    """Run ``command TASK.json RESULT.json`` and return what it wrote, with ``peak_tree_rss`` in bytes.

    The task gets an empty folder ``out``, removed afterwards. What earlier runs left unwritten is flushed
    first, so that nobody pays for another's output. A failure returns ``{"error": last lines of its
    output}``.
    """
    work.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=work, prefix="job-"))
    out = folder / "out"
    out.mkdir()
    task_path, result_path, log_path = folder / "task.json", folder / "result.json", folder / "log.txt"
    task_path.write_text(json.dumps({**task, "out": str(out)}))
    environment = {**os.environ, **dict.fromkeys(ONE_THREAD, "1"), "TMPDIR": str(folder)}
    os.sync()
    peak = 0
    try:
        with log_path.open("wb") as log:
            child = subprocess.Popen(
                [*map(str, command), str(task_path), str(result_path)],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            watched = psutil.Process(child.pid)
            deadline = time.monotonic() + timeout
            while child.poll() is None:
                try:
                    peak = max(peak, _tree_rss(watched))
                except psutil.NoSuchProcess:
                    break
                if time.monotonic() > deadline:
                    _end(watched)
                    return {"error": f"stopped after {timeout:.0f} s"}
                time.sleep(SAMPLE_SECONDS)
            code = child.wait()
        if code or not result_path.exists():
            tail = log_path.read_text(errors="replace").strip().splitlines()[-8:]
            return {"error": f"exit code {code}: " + " | ".join(tail)}
        result: dict[str, Any] = json.loads(result_path.read_text())
        return {**result, "peak_tree_rss": peak}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _end(process: psutil.Process) -> None:
    family = [*process.children(recursive=True), process]
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=10)
