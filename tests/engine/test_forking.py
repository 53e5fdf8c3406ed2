"""Workers of this machine: forks of a process that has loaded what they need, told what holds now."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bigseg.engine.cluster.settings import ENVIRONMENT, LATER

HEAD = """\
import json, multiprocessing, os, signal, time
import dask, psutil
from bigseg.engine.cluster import forking, settings
from bigseg.engine.cluster.starting import local_cluster

def told():
    return [dask.config.get(name, None) for name in settings.SETTINGS], os.environ.get("OMP_NUM_THREADS")

def server():
    found = [one for one in psutil.Process().children() if "forkserver" in " ".join(one.cmdline())]
    return found[0] if found else None

def parents(executor):
    return [psutil.Process(pid).ppid() for pid in executor.client.run(os.getpid).values()]

found = {}
before = told()
"""
FORKS = """
forking.begin()
executor = local_cluster(2, 1 << 30)
found["forks"] = parents(executor) == [server().pid] * 2
found["threads"] = server().num_threads()
found["during"] = told() != before
os.environ["LATE"] = "1"
for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
    server().send_signal(number)
first = list(executor.client.run(os.getpid).values())
executor.end(*next(iter(executor.client.run(os.getpid).items())))
executor.client.wait_for_workers(2, timeout=30)
time.sleep(0.2)
executor.client.wait_for_workers(2, timeout=30)
found["again"] = parents(executor) == [server().pid] * 2
executor.close()
found["left"] = [pid for pid in first if psutil.pid_exists(pid)]
found["after"] = told() == before
executor = local_cluster(1, 1 << 30)
found["told late"] = list(executor.client.run(lambda: os.environ["LATE"]).values())
found["threads of Numba"] = list(executor.client.run(lambda: os.environ["NUMBA_NUM_THREADS"]).values())
executor.close()
del os.environ["GONE"]
executor = local_cluster(1, 1 << 30)
found["not told"] = list(executor.client.run(lambda: os.environ.get("GONE")).values())
executor.close()
print(json.dumps(found))
"""
OTHERS = """
other = multiprocessing.get_context("forkserver").Process(target=len, args=("",))
other.start()
other.join()
executor = local_cluster(1, 1 << 30)
found["begun"] = server() is not None
found["forks"] = parents(executor) == [server().pid]
executor.close()
print(json.dumps(found))
"""


def run_script(folder: Path, text: str, more: dict[str, str]) -> Any:
    """What a script prints that is started from a folder with a module named like one of ours."""
    (folder / "here").mkdir()
    (folder / "here" / "numba.py").write_text("raise SystemExit('a module of the working directory was loaded')")
    guarded = "if __name__ == '__main__':\n" + "".join(f"    {line}\n" for line in text.splitlines())
    (folder / "script.py").write_text(HEAD + guarded)
    command = [sys.executable, str(folder / "script.py")]
    done = subprocess.run(command, cwd=folder / "here", env=more, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def environment() -> dict[str, str]:
    """Of a process that nobody has told anything."""
    return {name: value for name, value in os.environ.items() if name not in ENVIRONMENT | LATER} | {"GONE": "1"}


def test_workers_are_forks_and_what_they_need_holds_no_longer_than_they(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """Forks of a process with one thread, which signals to a whole job leave; also in place of one that was killed.

    They see variables set since, and none that has gone; afterwards the caller's Dask and variables are its own.
    """
    assert run_script(tmp_path, FORKS, environment) == {
        "forks": True,
        "threads": 1,
        "during": True,
        "again": True,
        "left": [],
        "after": True,
        "told late": ["1"],
        "threads of Numba": ["1"],
        "not told": [None],
    }


def test_a_fork_server_of_another_library_is_left_alone(tmp_path: Path, environment: dict[str, str]) -> None:
    """It has other variables, and modules that no plan knows of."""
    assert run_script(tmp_path, OTHERS, environment) == {"begun": True, "forks": False}
