"""R9 on a real Slurm: walltime, preemption, scancel of workers and of the driver, requeues."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigseg.engine.certificates import make_certificates
from bigseg.pipeline.pipeline import Pipeline
from tests.faults import chain
from tests.faults.driver import ROOT
from tests.faults.run import Row
from tests.faults.slurm import Slurm, missing, started

TESTS = ("R9",)
DEPLOY = ROOT / "deploy" / "slurm"


@dataclass
class Case:
    """A volume, a pipeline that takes some seconds, and what it gives."""

    folder: Path
    volume: Path
    golden: dict[str, str]
    units: int

    @property
    def pipeline(self) -> Path:
        """The file."""
        return self.folder / "chain.yaml"

    def arguments(self, out: Path) -> list[str]:
        """Of ``bigseg run``."""
        found = [str(self.pipeline), "-i", str(self.volume), "-o", str(out), "--block", "16", "--memory", "2GiB"]
        return [*found, "--json"]

    def check(self, out: Path) -> None:
        """Golden, each block journalled once, nothing left over."""
        assert chain.status(out) == "complete"
        assert chain.golden(out) == self.golden
        assert set(chain.recorded(out).values()) == {1}
        assert chain.leftovers(out) == []


def case(folder: Path, size: int) -> Case:
    """Made in this process."""
    folder.mkdir(parents=True, exist_ok=True)
    volume = chain.make_volume(folder / "volume.zarr", (size, size, size), 16)
    (folder / "chain.yaml").write_text(json.dumps(chain.PIPELINE))  # JSON is YAML
    Pipeline.from_dict(chain.PIPELINE).run(volume, folder / "golden", workers=0, block=(16,), report=False)
    return Case(folder, volume, chain.golden(folder / "golden"), len(chain.recorded(folder / "golden")))


def _lines(out: Path) -> int:
    """Of the journal."""
    with suppress(OSError):
        return (out / "journal" / "journal.jsonl").read_bytes().count(b"\n")
    return 0


def requeued(slurm: Slurm, case: Case, times: int = 3) -> int:
    """A job that is warned before the walltime leaves in order and requeues itself; gives back the starts."""
    out = case.folder / "requeued"
    number = slurm.submit(DEPLOY / "bigseg.sbatch", case.arguments(out))
    before = 0
    for start in range(times):
        wanted = before + case.units // (times + 2)
        slurm.wait(f"start {start} journals blocks", lambda wanted=wanted: _lines(out) > wanted)
        slurm.call("scancel", "--batch", "--signal=USR1", number)
        restarts = str(start + 1)
        slurm.wait("the job is put back", lambda restarts=restarts: slurm.job(number).get("Restarts") == restarts)
        assert chain.status(out) == "incomplete"
        before = _lines(out)
    found = slurm.ended(number)
    assert found["JobState"] == "COMPLETED", found
    assert found["Restarts"] == str(times), found
    case.check(out)
    return times + 1


def preempted(slurm: Slurm, case: Case) -> int:
    """A job of a better partition takes the node; the run leaves within the grace, comes back and ends golden."""
    out = case.folder / "preempted"
    number = slurm.submit(DEPLOY / "bigseg.sbatch", case.arguments(out), "--partition=low", "--exclusive")
    slurm.wait("blocks are journalled", lambda: _lines(out) > case.units // 20)
    better = slurm.wrap("sleep 3", "--partition=high", "--exclusive")
    slurm.ended(better, 120)
    found = slurm.ended(number)
    assert found["JobState"] == "COMPLETED", found
    assert int(found["Restarts"]) >= 1, found
    said = (slurm.folder / f"bigseg-{number}.log").read_text()
    assert "bigseg left with 143" in said, said[-2000:]
    case.check(out)
    return int(found["Restarts"])


def cancelled(slurm: Slurm, case: Case) -> None:
    """scancel of the driver: it is not put back; the same command, submitted again, continues."""
    out = case.folder / "cancelled"
    number = slurm.submit(DEPLOY / "bigseg.sbatch", case.arguments(out))
    slurm.wait("blocks are journalled", lambda: _lines(out) > case.units // 4)
    slurm.call("scancel", number)
    found = slurm.ended(number, 60)
    assert found["JobState"] == "CANCELLED", found
    assert chain.status(out) == "incomplete"
    again = slurm.submit(DEPLOY / "bigseg.sbatch", case.arguments(out))
    assert slurm.ended(again)["JobState"] == "COMPLETED"
    case.check(out)


def walltime(slurm: Slurm, case: Case, left: int = 5, times: int = 2) -> int:
    """A walltime that is shorter than the run, some times: each start leaves before it is over, the last one ends it.

    Gives back the starts. ``left`` seconds are enough to find out how much time is left, and for no run.
    """
    out, log = case.folder / "walltime", case.folder / "walltime.log"
    shorten = (
        f'if [ "${{SLURM_RESTART_COUNT:-0}}" -lt {times} ]; then\n'
        f"    export SLURM_JOB_END_TIME=$(( $(date +%s) + 45 + {left} ))\nfi\n. {DEPLOY / 'bigseg.sbatch'}"
    )
    script = case.folder / "short.sbatch"
    script.write_text(f"#!/bin/bash\n#SBATCH --requeue\n#SBATCH --open-mode=append\n{shorten}\n")
    number = slurm.submit(script, case.arguments(out), f"--output={log}")
    found = slurm.ended(number)
    assert found["JobState"] == "COMPLETED", (found, log.read_text()[-2000:])
    assert found["Restarts"] == str(times), (found, log.read_text()[-2000:])
    assert log.read_text().count("bigseg left with 143") == times
    case.check(out)
    return times + 1


def workers(slurm: Slurm, case: Case, kills: int = 3) -> int:
    """The driver here, its workers jobs that are cancelled one after the other while it runs."""
    out, script = case.folder / "workers", DEPLOY / "workers.sbatch"
    with _driven(slurm, case, out, [script, script]) as (driver, jobs, options):
        before = 0
        for _ in range(kills):
            wanted = before + case.units // (kills + 2)
            slurm.wait("blocks are journalled", lambda wanted=wanted: _lines(out) > wanted)
            slurm.call("scancel", "--signal=KILL", "--full", jobs.pop(0))
            jobs.append(slurm.submit(script, options))
            before = _lines(out)
        errors = driver.communicate(timeout=240)[1]
        assert driver.returncode == 0, errors
        case.check(out)
        return kills


@contextmanager
def _driven(
    slurm: Slurm, case: Case, out: Path, scripts: Sequence[Path]
) -> Iterator[tuple[subprocess.Popen[str], list[str], list[str]]]:
    """A scheduler and a driver here, workers as jobs of these scripts; gives driver, jobs and a script's arguments."""
    file = case.folder / "scheduler.json"
    file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    processes: list[subprocess.Popen[Any]] = [
        subprocess.Popen(
            [*command, "--scheduler-file", str(file)], env=slurm.environment, cwd=case.folder, stderr=subprocess.DEVNULL
        )
    ]
    jobs: list[str] = []
    try:
        slurm.wait("the scheduler answers", file.exists, 60)
        options = [str(file), "--host", "127.0.0.1"]
        jobs += [slurm.submit(script, options) for script in scripts]
        run = [sys.executable, "-m", "bigseg.cli.main", "run", *case.arguments(out), "--scheduler-file", str(file)]
        driver = subprocess.Popen(
            run, env=slurm.environment, cwd=case.folder, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        processes.append(driver)
        yield driver, jobs, options
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()
        for job in jobs:
            slurm.call("scancel", job, check=False)


def short_worker(slurm: Slurm, case: Case, left: int = 14) -> None:
    """A worker's job that is to end amid the run: it leaves by itself before, as a job that is done; one is left."""
    out, script = case.folder / "short", case.folder / "worker.sbatch"
    end = f"export SLURM_JOB_END_TIME=$(( $(date +%s) + {left} ))"
    script.write_text(f"#!/bin/bash\n{end}\n. {DEPLOY / 'workers.sbatch'}\n")
    with _driven(slurm, case, out, [script, DEPLOY / "workers.sbatch"]) as (driver, jobs, _):
        found = slurm.ended(jobs[0], 60)
        assert driver.poll() is None, "the run had ended before"
        assert "the end of its job is near" in (slurm.folder / f"slurm-{jobs[0]}.out").read_text()
        errors = driver.communicate(timeout=240)[1]
    assert driver.returncode == 0, errors
    assert found["JobState"] == "COMPLETED", found
    case.check(out)


def encrypted_workers(slurm: Slurm, case: Case) -> int:
    """The same with the keys of ``bigseg cluster cert``, which jobs find by the variable that sbatch hands on."""
    slurm.keys["DASK_CONFIG"] = str(make_certificates(case.folder / "keys"))
    try:
        shutil.rmtree(case.folder / "workers", ignore_errors=True)
        return workers(slurm, case)
    finally:
        slurm.keys.clear()


def full() -> Iterator[Row]:
    """All seven on one Slurm."""
    if reason := missing():
        yield Row("R9", "a real Slurm", 0, 0, f"not run: {reason}")
        return
    with started() as slurm:
        made = case(slurm.folder / "data", 96)
        for check, what in (
            (requeued, "Slurm: three warnings before the walltime, requeued each time"),
            (preempted, "Slurm: preempted by a better partition, 20 s of grace"),
            (cancelled, "Slurm: scancel of the driver, submitted again"),
            (walltime, "Slurm: walltime shorter than the run"),
            (workers, "Slurm: scancel of workers"),
            (short_worker, "Slurm: a worker's job that ends amid the run"),
            (encrypted_workers, "Slurm: scancel of workers of a TLS cluster"),
        ):
            try:
                found = check(slurm, made)
                yield Row("R9", what, 1, 1, f"{found} starts or kills" if found else "")
            except Exception as error:
                yield Row("R9", what, 1, 0, f"{type(error).__name__}: {error}"[:300])
