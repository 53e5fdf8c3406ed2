"""The cluster that a run goes to: found, or started on this machine."""

from __future__ import annotations

import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing import spawn
from pathlib import Path
from typing import Any

import dask
from distributed import Client, LocalCluster, Nanny, Security, nanny, process
from distributed.comm import connect

from bigseg.engine.certificates import refuse_open
from bigseg.engine.cluster import forking
from bigseg.engine.cluster.executor import DaskExecutor
from bigseg.engine.cluster.settings import LATER, in_force
from bigseg.engine.cluster.worker import Quiet
from bigseg.errors import ComputeError, UsageError

CONNECT_SECONDS = 10
"""How long a scheduler may take to answer."""
WORKERS_SECONDS = 60
"""How long a scheduler that answers may be without any worker, at the start."""
MOST_BYTES = 1 << 20
"""Of a scheduler file; Dask's have 500 and some 300 a worker."""
WORKER = "Dask Worker process"
"""How Dask names the processes of its workers."""
_prepared = spawn.get_preparation_data
_usual_context = nanny.get_mp_context
_beginning: set[Nanny] = set()


class Starter(Nanny):  # type: ignore[misc]
    """Starts, and starts again, a worker that does not import the caller's script, see `local_cluster`."""

    async def instantiate(self) -> Any:
        """Start the process; those of other clusters, which may need the script, begin at other moments."""
        _beginning.add(self)
        try:
            return await super().instantiate()
        finally:
            _beginning.discard(self)


def _without_main(name: str) -> dict[str, Any]:
    """What a new process is told; a worker of ours, while it begins, nothing of the caller's script."""
    told = _prepared(name)
    if _beginning and name.startswith(WORKER):
        for key in ("init_main_from_name", "init_main_from_path"):
            told.pop(key, None)
    return told


def _context() -> Any:
    """How a new process is made; a worker of ours, while it begins, by the fork server where there is one."""
    return (forking.context() if _beginning else None) or _usual_context()


def local_cluster(workers: int, memory: int | None) -> DaskExecutor:
    """Workers on this machine: one process and one thread each, nothing listening beyond loopback.

    multiprocessing has every new process import the script that its parent runs. Workers do not: what a script loads
    would be memory that no plan knows of (130 MiB of plotting libraries), and without ``if __name__ == "__main__"`` it
    would start workers of its own. Functions of the script travel by value.

    Raises
    ------
    ComputeError
        When the workers cannot be started.
    """
    spawn.get_preparation_data = _without_main
    nanny.get_mp_context = process.get_mp_context = _context
    forking.begin()
    try:
        with ExitStack() as stack:
            stack.enter_context(in_force())
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=memory or 0,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                silence_logs=40,
                worker_class=Starter,
                env={**LATER, **os.environ},
                plugins=(Quiet(),),
            )
            stack.callback(cluster.close)
            client = Client(cluster, set_as_default=False)
            return DaskExecutor(client, f"{workers} local workers", stack.pop_all())
    except (OSError, RuntimeError, TimeoutError) as error:
        raise ComputeError(
            f"{workers} workers could not be started on this machine ({type(error).__name__}: {error}): try fewer, or "
            "--workers 0 to compute in one process"
        ) from error


def attach(
    scheduler: str | None = None, scheduler_file: str | None = None, insecure: bool = False
) -> DaskExecutor | None:
    """The cluster to run on, first found wins: address, file, Dask's configuration, a current Client.

    ``insecure`` allows plain connections to other machines; a current Client is taken as it is.

    Raises
    ------
    UsageError
        When a cluster was named but does not answer, has no workers, or is not safe to reach.
    """
    if scheduler:
        return _connect(refuse_open(scheduler, insecure), scheduler)
    if scheduler_file:
        return _connect(refuse_open(_address_in(scheduler_file), insecure), scheduler_file)
    address = dask.config.get("scheduler-address", None)
    if address:
        return _connect(refuse_open(str(address), insecure), str(address))
    try:
        current = Client.current()
    except ValueError:
        return None
    # a client of our own, so that closing it leaves theirs open
    return _connect(current.scheduler.address, f"current client {current.scheduler.address}", current.security)


def again(executor: DaskExecutor) -> DaskExecutor:
    """A new connection to the same cluster."""
    return _connect(executor.address, executor.where, executor.security)


def _connect(address: str, where: str, security: Any = None) -> DaskExecutor:
    """A client of our own on a scheduler that answers and has workers."""
    try:
        # asked first, in a thread of its own: a Client that fails to connect may block the process for ever when it
        # is collected, and a notebook's thread has a running loop
        with ThreadPoolExecutor(1) as pool:
            kind = pool.submit(asyncio.run, _who_answers(address, security or Security())).result()
        if kind != "Scheduler":
            raise ValueError(f"there is a {kind}")
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False, security=security)
    except (OSError, TimeoutError, ValueError, TypeError, KeyError, ImportError) as error:
        raise UsageError(
            f"no Dask scheduler answers at {where} ({type(error).__name__}: {error}): start one with `dask "
            "scheduler`, or leave the option (or DASK_SCHEDULER_ADDRESS) away to use this machine"
        ) from error
    try:
        client.wait_for_workers(1, timeout=WORKERS_SECONDS)
    except TimeoutError as error:
        client.close()
        raise UsageError(
            f"the Dask scheduler at {where} has had no workers for {WORKERS_SECONDS} s: start some with "
            f"`dask worker {address}`"
        ) from error
    return DaskExecutor(client, where)


async def _who_answers(address: str, security: Any) -> str:
    """What kind of server of Dask answers."""
    if address.startswith("inproc://"):
        return "Scheduler"  # of this process: found as its current client

    async def ask() -> str:
        comm = await connect(address, timeout=CONNECT_SECONDS, **security.get_connection_args("client"))
        try:
            await comm.write({"op": "identity", "reply": True})
            return str((await comm.read())["type"])
        finally:
            comm.abort()

    return await asyncio.wait_for(ask(), CONNECT_SECONDS)


def _address_in(path: str) -> str:
    """The address in a file that a scheduler wrote: a regular file, of which no more is read than one may hold."""
    try:
        if not Path(path).is_file():  # a device gives bytes for ever, a pipe none
            raise ValueError("it is no regular file" if Path(path).exists() else "there is no such file")
        with Path(path).open("rb") as file:
            text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise ValueError(f"it is longer than {MOST_BYTES} bytes")
        address = json.loads(text)["address"]
        if not isinstance(address, str):
            raise ValueError("its address is no text")
        return address
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f"scheduler file {path} cannot be read ({type(error).__name__}: {error}): expected what `dask scheduler "
            "--scheduler-file` writes; wait until the scheduler has started"
        ) from error
