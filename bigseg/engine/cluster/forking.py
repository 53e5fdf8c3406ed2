"""Workers of this machine as forks of one process that has imported what all of them need.

Python, Dask and Numba take a worker 1.1 s of a core to load, and every worker of a node reads them again from a file
system that the whole cluster shares. Here one process loads them, while the driver still reads the pipeline, and its
forks share the memory. multiprocessing's fork server, which does nothing else and has one thread: a fork of the driver
would copy locks that its threads hold.

The server is one for a process and lives as long. Where another library has begun one, where variables of the
environment have gone since, or where forking is not safe, workers begin from nothing as they would anyway.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing import forkserver
from multiprocessing.context import BaseContext

from bigseg.engine.cluster.settings import ENVIRONMENT, variables

SAFE = sys.platform == "linux" and sys.version_info >= (3, 11, 1)
"""Before 3.11.1 every user of a machine could talk to the server (CVE-2022-42919); other systems' libraries begin
threads that a fork does not have."""
SERVER = "BIGSEG_FORK_SERVER"
"""A variable that the server alone has: whoever else imports that module keeps his signals."""
LOADED = "bigseg.engine.cluster.loaded"
"""The module that imports what workers need."""


class _Begun:
    names: frozenset[str] | None = None
    """Of the variables that the server was given."""


def begin() -> None:
    """Begin the server, unless there is one; it loads while the caller goes on."""
    server = getattr(forkserver, "_forkserver", None)
    if not SAFE or getattr(server, "_forkserver_pid", 0) is not None:
        return
    _Begun.names = frozenset(os.environ)
    # a module of the working directory must not stand for a library
    with variables({**ENVIRONMENT, "PYTHONSAFEPATH": "1", SERVER: "1"}):
        forkserver.set_forkserver_preload([LOADED])
        forkserver.ensure_running()
    forkserver.set_forkserver_preload([])  # one that takes its place would be given the directory


def context() -> BaseContext | None:
    """What makes forks of the server; None where a worker must begin from nothing.

    Workers are told the variables of now (`local_cluster`), but not which are no more.
    """
    if _Begun.names is None or not _Begun.names <= os.environ.keys():
        return None
    return multiprocessing.get_context("forkserver")
