"""Starts, kills and continues runs of the chain from outside, and checks what must hold in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.faults import chain

ROOT = Path(__file__).resolve().parents[2]
KILLED = -signal.SIGKILL
LIMIT = 240.0


def fast_folder() -> Path:
    """A folder in memory where there is one: SIGKILL loses nothing there either, and fsync costs nothing."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="bigseg-", dir=memory if os.access(memory, os.W_OK) else None))


def environment() -> dict[str, str]:
    """For children: this checkout, one thread each."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


@dataclass
class Child:
    """A running chain in a process group of its own."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, arguments: Sequence[str]) -> Child:
        """Start a new interpreter."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.chain", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment(),
            start_new_session=True,
        )
        return cls(process)

    def wait_ready(self) -> None:
        """Until the first stage begins.

        Raises
        ------
        AssertionError
            When it ended before, with what it said.
        """
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip() == chain.READY:
                return
        _, errors = self.process.communicate(timeout=LIMIT)
        raise AssertionError(f"ended with {self.process.returncode} before the run was on: {errors[-4000:]}")

    def kill(self, after: float) -> int:
        """SIGKILL the whole group after some seconds; gives back the exit status."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(after)
        with suppress(ProcessLookupError):
            chain.forget_semaphores(self.process.pid)
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.wait()

    def wait(self) -> int:
        """Until it has ended; the error output of one that failed is shown."""
        _, errors = self.process.communicate(timeout=LIMIT)
        if self.process.returncode not in (0, KILLED):
            print(errors, file=sys.stderr)
        return self.process.returncode

    def living(self, seconds: float = 2.0) -> list[int]:
        """Processes of the group, workers too, that still run some seconds after it was killed."""
        for _ in range(int(20 * seconds)):
            found = [item.pid for item in psutil.process_iter(["status"]) if self._is_ours(item)]
            if not found:
                break
            time.sleep(0.05)
        return found

    def _is_ours(self, item: psutil.Process) -> bool:
        try:
            return os.getpgid(item.pid) == self.process.pid and item.info["status"] != psutil.STATUS_ZOMBIE
        except ProcessLookupError:
            return False


@dataclass
class Zygote:
    """A process that forks runs; see `tests.faults.zygote`."""

    process: subprocess.Popen[str]
    child: int = 0

    @classmethod
    @contextmanager
    def started(cls) -> Iterator[Zygote]:
        """One that is ready; ended afterwards."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment(),
        )
        zygote = cls(process)
        zygote.read("ready")
        try:
            yield zygote
        finally:
            if zygote.child:  # a test failed while it ran
                os.killpg(zygote.child, signal.SIGKILL)
            process.communicate()

    def read(self, *kinds: str) -> str:
        """What stands behind the next answer of one of these kinds."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            for kind in kinds:
                if line.startswith(kind):
                    return line.removeprefix(kind).strip()
        raise AssertionError(f"the zygote ended before it said {kinds[0]!r}")

    def start(self, arguments: Sequence[str]) -> int:
        """Fork a run; gives back its process."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(list(arguments)) + "\n")
        self.process.stdin.flush()
        self.child = int(self.read("pid"))
        return self.child

    def wait(self) -> int:
        """The exit status of the run that was started."""
        status = int(self.read("status"))
        self.child = 0
        return status

    def run(self, arguments: Sequence[str]) -> int:
        """Fork a run and wait for its end."""
        self.start(arguments)
        return self.wait()

    def run_and_kill(self, arguments: Sequence[str], after: float) -> int:
        """Fork a run and SIGKILL it some seconds after its first stage begins."""
        pid = self.start(arguments)
        answer = self.read(chain.READY, "status")
        if answer:  # it was finished already
            self.child = 0
            return int(answer)
        time.sleep(after)
        with suppress(ProcessLookupError):  # it may have ended meanwhile
            os.killpg(pid, signal.SIGKILL)
        return self.wait()


@dataclass
class Watched:
    """A run's folder under fire: what must hold after every kill, and at the end.

    Parameters
    ----------
    out : the run's folder.
    golden : what an undisturbed run gave.
    """

    out: Path
    golden: dict[str, str]
    units: set[tuple[str, int]] = field(default_factory=set)
    """Units that were journalled at the last look."""
    ended: set[str] = field(default_factory=set)
    """Stages whose end was journalled at the last look."""

    def after_kill(self) -> None:
        """No unit forgotten or done twice; nothing incomplete looks complete."""
        counts = chain.recorded(self.out)
        assert self.units <= set(counts), "journalled units were forgotten"
        twice = [unit for unit, count in counts.items() if count > 1]
        assert not twice, f"computed again although journalled: {twice[:5]}"
        self.units, self.ended = set(counts), chain.ended(self.out)
        state = chain.status(self.out)
        images = chain.looks_complete(self.out)
        if state == "complete" or images:
            found = chain.golden(self.out)
            names = tuple(found) if state == "complete" else tuple(images)
            assert all(found[key] == self.golden[key] for key in found if key.startswith(names))

    def after_end(self) -> None:
        """Complete, golden, every unit journalled once and computed once, nothing left over."""
        before, ended = self.units, self.ended
        self.after_kill()
        assert chain.status(self.out) == "complete"
        assert chain.golden(self.out) == self.golden
        assert chain.leftovers(self.out) == []
        stages = json.loads((self.out / "run.json").read_text())["stages"]
        assert {(stage["name"], unit) for stage in stages for unit in range(stage["blocks"])} == self.units
        for stage in stages:
            if stage["name"] not in ended:
                found = sum(name == stage["name"] for name, _ in before)
                assert stage["computed"] == stage["blocks"] - found, "journalled units were computed again"
