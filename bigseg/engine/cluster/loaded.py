"""What every worker needs: the process that imports this makes workers by forking (`forking`).

Nothing of it may begin a thread: forks would have its locks without the thread that gives them back.
"""

from __future__ import annotations

import os
import signal
from importlib import import_module

import dask
import distributed.nanny  # noqa: F401
import pydantic  # noqa: F401
from numba.core.registry import cpu_target

import bigseg.engine.cluster.worker  # noqa: F401
from bigseg.engine.cluster.forking import SERVER

for route in dask.config.get("distributed.worker.http.routes"):
    import_module(route)
# what Numba does before it loads the first kernel: 0.3 s
cpu_target.typing_context.refresh()
cpu_target.target_context.refresh()


def _stops(handler: signal.Handlers) -> None:
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, handler)


if os.environ.pop(SERVER, None):
    os.environ.pop("PYTHONSAFEPATH", None)  # `forking` sets both for this process alone
    # a batch system's go to every process of a job, but the driver alone decides; a worker takes them as `Quiet` says
    _stops(signal.SIG_IGN)
    os.register_at_fork(after_in_child=lambda: _stops(signal.SIG_DFL))
