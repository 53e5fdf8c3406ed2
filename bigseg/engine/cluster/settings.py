"""What Dask is told on clusters of our own, and for how long."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from bigseg.engine import allocator

SETTINGS = {
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.no-workers-timeout": "10 minutes",
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    "distributed.deploy.lost-worker-timeout": "1000 hours",
    "distributed.comm.retry.count": 3,
    "distributed.admin.tick.limit": "60 s",
    "distributed.worker.profile.enabled": False,
    "distributed.admin.log-length": 200,
    "distributed.admin.low-level-log-length": 10,
    "distributed.admin.system-monitor.log-length": 600,
    "distributed.diagnostics.computations.max-history": 1,
    "distributed.diagnostics.computations.nframes": 0,
    "distributed.diagnostics.erred-tasks.max-history": 10,
}
"""Nothing that grows with time (profiles, logs). A task whose worker died comes back to the driver, which knows what
it died at; the scheduler would blame every task that waited there, and try a poisoned block on one more worker first.
A local cluster closes a nanny for good whose worker is away 15 s after it was lost once, which a worker that is lost
twice may well be: it must wait.

A block task holds no Dask data, so there is nothing to spill, and a paused worker would hang for ever."""
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    **{f"MALLOC_{name}": str(value) for name, value in allocator.SETTINGS.items()},
}
"""Variables that a worker's process begins with: one thread each. Not Numba's, which a process that has threads of it
must not find changed; workers are told it when they live."""
LATER = {"NUMBA_NUM_THREADS": "1"}


class _Held:
    lock = threading.Lock()
    clusters = 0
    stack = ExitStack()


@contextmanager
def in_force() -> Iterator[None]:
    """Settings and variables hold in this process while a cluster of ours lives, whose nannies read them at any time.

    Afterwards a notebook has its own again, for clusters of its own.
    """
    import dask  # a tenth of a second, for which `forking` need not wait

    with _Held.lock:
        if not _Held.clusters:
            _Held.stack.enter_context(dask.config.set({**SETTINGS, "distributed.nanny.pre-spawn-environ": ENVIRONMENT}))
            _Held.stack.enter_context(variables(ENVIRONMENT))
        _Held.clusters += 1
    try:
        yield
    finally:
        with _Held.lock:
            _Held.clusters -= 1
            if not _Held.clusters:
                _Held.stack.close()


@contextmanager
def variables(more: Mapping[str, str]) -> Iterator[None]:
    """This process has these variables too, and gives them to what it starts; those that are set stay."""
    before = {name: os.environ.get(name) for name in more}
    os.environ.update({name: value for name, value in more.items() if before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
