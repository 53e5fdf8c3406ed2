"""A Slurm for R9, whose jobs are in `tests.faults.slurm_runs`.

A Slurm of one node with munge, two partitions (the second preempts the first) and all its files in one folder is
started on this machine, without systemd and as root; it is ended by process number. Needs Debian's ``slurm-wlm`` and
``munge``.
"""

from __future__ import annotations

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
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.driver import environment

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "scancel")
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
    keys: dict[str, str] = field(default_factory=dict)
    """What is set besides, so that clusters are encrypted."""

    @property
    def environment(self) -> dict[str, str]:
        """For its commands and its jobs."""
        return {
            **{name: value for name, value in environment().items() if not name.startswith(("SLURM_", "PYTEST_"))},
            "PATH": _path(),
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "BIGSEG": f"{sys.executable} -m bigseg.cli.main",
            "DASK": f"{sys.executable} -m dask",
            **self.keys,
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
