"""R9 on a real Slurm: walltime, preemption, scancel of workers and of the driver, requeues.

A Slurm of one node with munge, two partitions (the second preempts the first) and all its files in one folder is
started on this machine, without systemd and as root; it is ended by process number. Needs Debian's ``slurm-wlm`` and
``munge``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bigseg.pipeline.pipeline import Pipeline
from tests.faults import chain
from tests.faults.driver import ROOT, environment
from tests.faults.run import Row

TESTS = ("R9",)
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "scancel")
DEPLOY = ROOT / "deploy" / "slurm"
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=5,bf_interval=5,batch_sched_delay=0,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
KillWait=15
MinJobAge=300
ReturnToService=2
JobCompType=jobcomp/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=8000 State=UNKNOWN
PartitionName=low Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
PartitionName=high Nodes={host} Default=NO MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""


def missing() -> str:
    """Why a Slurm cannot be started here; empty where it can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if absent:
        return f"no {', '.join(absent)} on this machine (apt install slurm-wlm munge)"
    return "" if os.getuid() == 0 else "a Slurm of one's own is started as root"


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/bin"])


@dataclass
class Slurm:
    """A running Slurm."""

    folder: Path
    daemons: list[subprocess.Popen[bytes]]

    @property
    def environment(self) -> dict[str, str]:
        """For its commands and its jobs."""
        return {
            **{name: value for name, value in environment().items() if not name.startswith(("SLURM_", "PYTEST_"))},
            "PATH": _path(),
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "BIGSEG": f"{sys.executable} -m bigseg.cli.main",
            "DASK": f"{sys.executable} -m dask",
        }

    def call(self, *command: str, check: bool = True) -> str:
        """One of its commands; gives back what it says."""
        answer = subprocess.run(
            command, env=self.environment, cwd=self.folder, text=True, capture_output=True, timeout=60
        )
        if check and answer.returncode:
            raise RuntimeError(f"{' '.join(command)}: {answer.stderr}")
        return answer.stdout.strip()

    def submit(self, script: Path, arguments: Sequence[str], *options: str) -> str:
        """The number of a new job."""
        answer = self.call("sbatch", "--mem=100M", "--cpus-per-task=1", *options, str(script), *arguments)
        return answer.split()[-1]

    def wrap(self, command: str, *options: str) -> str:
        """The number of a new job of one command."""
        return self.call("sbatch", "--output=/dev/null", *options, f"--wrap={command}").split()[-1]

    def job(self, number: str) -> dict[str, str]:
        """What Slurm knows of a job."""
        text = self.call("scontrol", "show", "job", number, check=False)
        return dict(re.findall(r"(\S+?)=(\S*)", text))

    def wait(self, what: str, until: Callable[[], bool], seconds: float = 240.0) -> None:
        """Until something holds.

        Raises
        ------
        AssertionError
            When it does not in time, with the logs of the jobs.
        """
        deadline = time.monotonic() + seconds
        while not until():
            if time.monotonic() > deadline:
                logs = "\n".join(f"{path.name}: {path.read_text()[-1500:]}" for path in self.folder.glob("*.log"))
                raise AssertionError(f"{what}: not within {seconds:.0f} s\n{logs}")
            time.sleep(0.1)

    def ended(self, number: str, seconds: float = 240.0) -> dict[str, str]:
        """A job that has ended for good."""
        ends = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
        self.wait(f"job {number} ends", lambda: self.job(number).get("JobState") in ends, seconds)
        return self.job(number)


@contextmanager
def started() -> Iterator[Slurm]:
    """A Slurm whose node is idle; ended afterwards, with all its jobs."""
    folder = Path(tempfile.mkdtemp(prefix="bigseg-slurm-", dir="/tmp"))
    slurm = Slurm(folder, [])
    try:
        _begin(slurm)
        yield slurm
    finally:
        with suppress(Exception):
            slurm.call("scancel", "--user=root", "--signal=KILL", "--full", check=False)
            slurm.call("scancel", "--user=root", check=False)
            slurm.wait("no job is left", lambda: not slurm.call("squeue", "--noheader"), 30)
        for daemon in reversed(slurm.daemons):
            daemon.terminate()
            with suppress(subprocess.TimeoutExpired):
                daemon.wait(10)
            daemon.kill()
            daemon.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _begin(slurm: Slurm) -> None:
    folder = slurm.folder
    folder.chmod(0o755)
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1], two.getsockname()[1]]
    host = socket.gethostname().split(".")[0]
    (folder / "slurm.conf").write_text(CONF.format(host=host, folder=folder, ports=ports))
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    munged = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket"]
    munged += [f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/seed"]
    for command in (munged, ["slurmctld", "-D", "-c"], ["slurmd", "-D", "-N", host]):
        slurm.daemons.append(
            subprocess.Popen(
                command,
                env=slurm.environment,
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=(folder / f"{command[0]}.err.log").open("wb"),
            )
        )
        if command is munged:
            slurm.wait("munge listens", (folder / "munge.socket").exists, 20)
    slurm.wait("the node is idle", lambda: "idle" in slurm.call("sinfo", "-h", "-o", "%T", check=False), 60)


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


def walltime(slurm: Slurm, case: Case, left: int = 20) -> int:
    """A walltime shorter than the run: each start leaves before it is over, until it is done; gives back the starts."""
    out = case.folder / "walltime"
    shorten = f"export SLURM_JOB_END_TIME=$(( $(date +%s) + 45 + {left} )); . {DEPLOY / 'bigseg.sbatch'}"
    script = case.folder / "short.sbatch"
    script.write_text(f"#!/bin/bash\n#SBATCH --requeue\n#SBATCH --open-mode=append\n{shorten}\n")
    number = slurm.submit(script, case.arguments(out), f"--output={case.folder}/walltime.log")
    found = slurm.ended(number)
    assert found["JobState"] == "COMPLETED", (found, (case.folder / "walltime.log").read_text()[-2000:])
    case.check(out)
    return int(found["Restarts"]) + 1


def workers(slurm: Slurm, case: Case, kills: int = 3) -> int:
    """The driver here, its workers jobs that are cancelled one after the other while it runs."""
    out, file = case.folder / "workers", case.folder / "scheduler.json"
    command = [sys.executable, "-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    scheduler = subprocess.Popen(
        [*command, "--scheduler-file", str(file)], env=slurm.environment, cwd=case.folder, stderr=subprocess.DEVNULL
    )
    driver = None
    try:
        slurm.wait("the scheduler answers", file.exists, 60)
        script, options = DEPLOY / "workers.sbatch", [str(file), "--host", "127.0.0.1"]
        jobs = [slurm.submit(script, options) for _ in range(2)]
        run = [sys.executable, "-m", "bigseg.cli.main", "run", *case.arguments(out), "--scheduler-file", str(file)]
        driver = subprocess.Popen(
            run, env=slurm.environment, cwd=case.folder, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
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
    finally:
        for process in (driver, scheduler):
            if process is not None:
                process.terminate()
                process.wait()
        for job in jobs:
            slurm.call("scancel", job, check=False)


def full() -> list[Row]:
    """All five on one Slurm."""
    if reason := missing():
        return [Row("R9", "a real Slurm", 0, 0, f"not run: {reason}")]
    rows = []
    with started() as slurm:
        made = case(slurm.folder / "data", 96)
        for check, what in (
            (requeued, "Slurm: three warnings before the walltime, requeued each time"),
            (preempted, "Slurm: preempted by a better partition, 20 s of grace"),
            (cancelled, "Slurm: scancel of the driver, submitted again"),
            (walltime, "Slurm: walltime shorter than the run"),
            (workers, "Slurm: scancel of workers"),
        ):
            try:
                found = check(slurm, made)
                rows.append(Row("R9", what, 1, 1, f"{found} starts or kills" if found else ""))
            except Exception as error:
                rows.append(Row("R9", what, 1, 0, f"{type(error).__name__}: {error}"[:300]))
    return rows
