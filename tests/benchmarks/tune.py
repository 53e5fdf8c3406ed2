"""Late binding at size: `bigseg tune` on a finished run of a 1024^3 phantom.

    python -m tests.benchmarks.tune [--side 1024] [--work DIR]

The run (hysteresis and labels of a phantom of voids, components kept), then the command five times, each a process of
its own as a user starts it, its median; then the new volume with two workers, its passes, and the whole run again for
comparison. Writes its part of TABLES.md and TABLES.json.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks.page import begun, command_line
from tests.benchmarks.tables_page import keep

PIPELINE = """
version: 1
keep_components: true
steps:
  - {id: voids,   op: hysteresis, polarity: below, low: 60, high: 90, min_size: 27}
  - {id: objects, op: label}
save: [objects]
"""
BIGSEG = [sys.executable, "-c", "from bigseg.cli.main import main; main()"]


def timed(*arguments: str) -> tuple[float, str]:
    """Seconds of a command, and what it printed."""
    began = time.perf_counter()
    done = subprocess.run([*BIGSEG, *arguments], check=True, capture_output=True, text=True)
    return time.perf_counter() - began, done.stdout


def main() -> None:
    parser = command_line("tune", __doc__)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--work", type=Path, default=Path("/tmp/bench"))
    arguments = parser.parse_args()
    work: Path = arguments.work / "tune"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    (work / "pipe.yaml").write_text(PIPELINE)
    page = {**begun("tune", None), "side": arguments.side}
    volume = f"phantom:voids,shape={arguments.side},seed=7,noise=8"
    run = ["-i", volume, "--workers", "2", "--memory", "2GiB"]
    seconds, _ = timed("run", str(work / "pipe.yaml"), *run, "-o", str(work / "run"))
    record = json.loads((work / "run/run.json").read_text())
    size = sum(path.stat().st_size for path in (work / "run/components").rglob("*") if path.is_file())
    page |= {"run": seconds, "objects": record["values"]["objects"]["objects"], "kept_mib": size / 2**20}
    change = ["tune", str(work / "run"), "--set", "voids.low=55", "--set", "voids.min_size=60"]
    timed(*change)
    answers = [timed(*change, "--json") for _ in range(5)]
    found = json.loads(answers[0][1])["steps"]["objects"]["objects"]
    page |= {"change": "bigseg " + " ".join([change[0], "RUN", *change[2:]]), "left": found}
    page["tune"] = statistics.median(seconds for seconds, _ in answers)
    seconds, _ = timed(*change, "--workers", "2", "--memory", "2GiB", "-o", str(work / "new"))
    stages = json.loads((work / "new/run.json").read_text())["stages"]
    passes = [stage["name"] for stage in stages if stage["kind"] == "pass"]
    page |= {"new": seconds, "passes": passes}
    keep(arguments.out, "tune", page)
    print((arguments.out / "TABLES.md").read_text())
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
