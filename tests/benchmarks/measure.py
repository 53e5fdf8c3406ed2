"""Measuring: sides of a comparison turn by turn, or one measurement in a process of its own with its peak memory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
SAMPLE_SECONDS = 0.2
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def with_one_thread(module: str) -> None:
    """Start this command anew with the libraries' own threads off, unless they are: they look when they are loaded."""
    off = dict.fromkeys(ONE_THREAD, "1")
    if not off.items() <= os.environ.items():
        command = [sys.executable, "-m", f"tests.benchmarks.{module}", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **off})


def turns(sides: Mapping[str, Callable[[], Any]], repeats: int) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Processor seconds of each side turn by turn, and what each gave.

    Seconds of all threads of this process, as others may use the machine. Of no side the first turn counts: it
    compiles, loads and touches memory for the first time.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    given: dict[str, Any] = {}
    for turn in range(repeats + 1):
        for name, side in sides.items():
            given.pop(name, None)  # both sides begin without their last result
            begin = time.process_time()
            given[name] = side()
            if turn:
                seconds[name].append(time.process_time() - begin)
    return seconds, given


def serve(measure: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """The end of a module that `run_process` starts: the task's file in, the result's file out."""
    task_path, result_path = map(Path, sys.argv[-2:])
    result_path.write_text(json.dumps(measure(json.loads(task_path.read_text()))))


def tree_rss(process: psutil.Process) -> int:
    """Resident bytes of a process and all that it has started."""
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
                    peak = max(peak, tree_rss(watched))
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
