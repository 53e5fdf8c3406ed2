"""R2: SIGKILL of the workers of a run, again and again; R9: SIGTERM of the driver at ten times.

``python -m tests.faults.run --only R2 R9``
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from distributed import Client, LocalCluster

from bigseg.engine import leaving
from bigseg.engine.cluster.starting import local_cluster
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.result import Run
from tests.faults import chain, poisons
from tests.faults.driver import ROOT, environment, fast_folder
from tests.faults.run import Row

TESTS = ("R2", "R9")
REQUEUE = 143
LEAVE_SECONDS = 25.0


def storm(folder: Path, kills: int, size: int, seed: int = 5, mean: float = 1.5) -> tuple[int, int]:
    """Kill workers at random while runs go on, until there were enough; gives back the kills and the runs.

    Each run ends golden with each block journalled once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    volume = chain.make_volume(folder / "volume.zarr", (size, size, size), 16)
    pipeline = Pipeline.from_dict(chain.PIPELINE)
    pipeline.run(volume, folder / "golden", workers=0, block=(16,), report=False)
    golden = chain.golden(folder / "golden")
    executor = local_cluster(2, 2 << 30)
    chance, over, killed = random.Random(seed), threading.Event(), 0

    def reap() -> None:
        nonlocal killed
        while killed < kills and not over.wait(chance.expovariate(1 / mean)):
            while not (living := _workers()) and not over.wait(0.02):
                pass  # both are being started again
            with suppress(psutil.Error, IndexError):
                chance.choice(living).kill()
                killed += 1

    reaper = threading.Thread(target=reap)
    reaper.start()
    runs = 0
    try:
        while killed < kills:
            out = folder / f"run-{runs}"
            address = executor.client.scheduler.address
            pipeline.run(volume, out, scheduler=address, block=(16,), report=False)
            runs += 1
            assert chain.golden(out) == golden
            assert set(chain.recorded(out).values()) == {1}
            assert chain.leftovers(out) == []
            shutil.rmtree(out)
    finally:
        over.set()
        reaper.join()
        executor.close()
    return killed, runs


def _workers() -> list[psutil.Process]:
    """Those of this process that live."""
    return [item for item in psutil.Process().children(recursive=True) if _is_worker(item)]


def _is_worker(item: psutil.Process) -> bool:
    """Whether a process is a worker that has begun: a fork of the server, or one from nothing; not the tracker."""
    with suppress(psutil.Error):
        parent, command = item.parent(), " ".join(item.cmdline())
        forked = "forkserver" in command and parent is not None and "forkserver" in " ".join(parent.cmdline())
        return (forked or "spawn_main" in command) and item.status() != psutil.STATUS_ZOMBIE
    return False


def terminated(folder: Path, times: int, number: signal.Signals, workers: int, size: int, seed: int = 2) -> list[float]:
    """Stop a run by a signal to its whole group, several times, and continue; gives back how long leaving took."""
    folder.mkdir(parents=True, exist_ok=True)
    volume = chain.make_volume(folder / "volume.zarr", (size, size, size), 16)
    if not (folder / "golden").exists():
        Pipeline.from_dict(chain.PIPELINE).run(volume, folder / "golden", workers=0, block=(16,), report=False)
    golden = chain.golden(folder / "golden")
    (folder / "chain.yaml").write_text(json.dumps(chain.PIPELINE))  # JSON is YAML
    out, left = folder / "out", []
    chance, before = random.Random(seed), 0
    while len(left) < times:
        process = _start(folder, volume, out, workers)
        wanted = before + chance.randint(1, 40)
        while process.poll() is None and len(_units(out)) < wanted:
            time.sleep(0.01)
        began = time.monotonic()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        errors = process.communicate(timeout=120)[1]
        if process.returncode == 0:  # it had ended
            assert chain.golden(out) == golden
            shutil.rmtree(out)
            before = 0
            continue
        left.append(time.monotonic() - began)
        assert process.returncode == REQUEUE, (process.returncode, errors)
        assert left[-1] < LEAVE_SECONDS, left
        assert "Traceback" not in errors, errors
        assert not (out / "journal" / "lock").exists()
        assert chain.status(out) == "incomplete"
        before = len(_units(out))
        assert set(chain.recorded(out).values()) <= {1}
        assert chain.unrecorded(out) == 0, "what was in flight was not journalled"
    process = _start(folder, volume, out, workers)
    process.communicate(timeout=240)
    assert process.returncode == 0
    assert chain.golden(out) == golden
    assert set(chain.recorded(out).values()) == {1}
    return left


def _slow(folder: Path, seconds: float) -> tuple[Pipeline, Path, Path, Run]:
    """A pipeline of slow blocks, its volume, the file that cures it, which is absent, and a run that was cured."""
    folder.mkdir(parents=True, exist_ok=True)
    volume, cure = poisons.make_volume(folder / "volume.zarr"), folder / "cure"
    cure.touch()
    pipe = poisons.pipeline("slow", cure, seconds)
    expected = pipe.run(volume, folder / "golden", workers=0, block=(poisons.BLOCK,), report=False)
    cure.unlink()
    return pipe, volume, cure, expected


def near_the_end(folder: Path, workers: int, seconds: float = 0.4, starts: int = 3) -> list[float]:
    """A walltime that is shorter than the run: no block begins that could not end, and nothing is computed in vain.

    Returns
    -------
    For each start how long before its end the run left; on a busy machine, where a block may take longer than any
    before it, that may be after it.
    """
    pipe, volume, cure, expected = _slow(folder, seconds)
    out = folder / "out"
    left: list[float] = []
    executor = local_cluster(workers, 2 << 30) if workers else None
    place = {"scheduler": executor.client.scheduler.address} if executor else {"workers": 0}
    try:
        for start in range(starts):
            before, end = len(chain.recorded(out)) if start else 0, 0.0

            def begin(*_: object) -> None:
                nonlocal end
                if not end:
                    end = time.time() + 8 * seconds
                    leaving.before(end, REQUEUE)

            try:
                pipe.run(volume, out, block=(poisons.BLOCK,), report=False, observe=begin, **place)
                raise AssertionError("the run was shorter than its walltime")
            except leaving.Stopped as stopped:
                left.append(end - time.time())
                code = stopped.exit_code
            finally:
                leaving.forget()
            assert code == REQUEUE
            units = chain.recorded(out)
            assert len(units) > before, "nothing was done"
            assert set(units.values()) == {1}
            assert chain.unrecorded(out) == 0, "something was computed in vain"
            assert chain.status(out) == "incomplete"
        cure.touch()
        again = pipe.run(volume, out, block=(poisons.BLOCK,), report=False, **place)
        np.testing.assert_array_equal(again.outputs["objects"].values, expected.outputs["objects"].values)
        assert set(chain.recorded(out).values()) == {1}
    finally:
        if executor is not None:
            executor.close()
    return left


def outlived(folder: Path, seconds: float = 0.6, left: float = 20.0) -> tuple[int, float]:
    """Two worker jobs, one of which ends amid the run: it hands its block to the other, leaves, and nothing is lost.

    Returns
    -------
    The blocks it did, and how long before its end it had left.
    """
    pipe, volume, cure, expected = _slow(folder, seconds)
    out = folder / "out"
    calls = poisons.calls(cure)
    calls.mkdir()
    gone: list[float] = []
    with LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=40) as cluster:
        address, end = cluster.scheduler_address, int(time.time() + left)
        jobs = [_job(address, folder / f"job-{number}", end + 1000 * number) for number in range(2)]
        watch = threading.Thread(target=lambda: (jobs[0].wait(), gone.append(time.time())))
        watch.start()
        try:
            with Client(cluster, set_as_default=False) as client:
                client.wait_for_workers(2, timeout=60)
                ends = {pid: int(said) for pid, said in client.run(_pid_and_end).values()}
            run = pipe.run(volume, out, block=(poisons.BLOCK,), report=False, scheduler=address)
            watch.join(timeout=60)
        finally:
            for job in jobs:
                job.terminate()
                job.wait()
    assert jobs[0].returncode == 0, jobs[0].returncode
    np.testing.assert_array_equal(run.outputs["objects"].values, expected.outputs["objects"].values)
    assert set(chain.recorded(out).values()) == {1}
    done = Counter(ends[int(path.name.split("-")[0])] for path in calls.iterdir())
    assert done.total() == (poisons.SIDE // poisons.BLOCK) ** 3, f"{done}: something was computed in vain"
    return done[end], end - gone[0]


def _pid_and_end() -> tuple[int, str]:
    """Runs on a worker."""
    return os.getpid(), os.environ[leaving.JOB_END]


def _job(address: str, folder: Path, end: int) -> subprocess.Popen[bytes]:
    """A worker as a batch system starts it, in a job that ends then."""
    command = [sys.executable, "-m", "dask", "worker", address, "--nthreads", "1", "--host", "127.0.0.1"]
    return subprocess.Popen(
        [*command, "--no-dashboard", "--local-directory", str(folder)],
        cwd=ROOT,
        env={**environment(), leaving.JOB_END: str(end)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _units(out: Path) -> list[Any]:
    """Lines of the journal, roughly."""
    with suppress(OSError):
        return (out / "journal" / "journal.jsonl").read_bytes().splitlines()
    return []


def _start(folder: Path, volume: Path, out: Path, workers: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bigseg.cli.main", "run", str(folder / "chain.yaml"), "-i", str(volume)]
    command += ["-o", str(out), "--block", "16", "--workers", str(workers), "--memory", "2GiB"]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(),
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def full() -> Iterator[Row]:
    """At least 20 kills of workers; ten SIGTERMs of two workers and their driver."""
    folder = fast_folder()
    what = "SIGKILL of a worker, mean 1.5 s apart"
    try:
        try:
            killed, runs = storm(folder / "storm", 24, 96)
            yield Row("R2", what, killed, killed, f"{runs} runs, all golden")
        except Exception as error:
            yield Row("R2", what, 1, 0, f"{type(error).__name__}: {error}")
        what = "SIGTERM of driver and workers"
        try:
            left = terminated(folder / "term", 10, signal.SIGTERM, 2, 96)
            yield Row("R9", what, len(left), len(left), f"left after at most {max(left):.1f} s with {REQUEUE}")
        except Exception as error:
            yield Row("R9", what, 1, 0, f"{type(error).__name__}: {error}")
        what = "a walltime that no further block would end in, two workers"
        try:
            early = near_the_end(folder / "near", 2)
            yield Row("R9", what, len(early), len(early), f"left {min(early):.1f} to {max(early):.1f} s before")
        except Exception as error:
            yield Row("R9", what, 1, 0, f"{type(error).__name__}: {error}")
        what = "a worker's job that ends amid the run"
        try:
            blocks, early = outlived(folder / "outlived")
            yield Row("R9", what, 1, 1, f"left {early:.1f} s before, with {blocks} of 64 blocks done, none twice")
        except Exception as error:
            yield Row("R9", what, 1, 0, f"{type(error).__name__}: {error}")
    finally:
        shutil.rmtree(folder)
