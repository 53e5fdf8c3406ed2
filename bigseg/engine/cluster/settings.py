"""What Dask is told on clusters of our own."""

from __future__ import annotations

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
    "NUMBA_NUM_THREADS": "1",
    **{f"MALLOC_{name}": str(value) for name, value in allocator.SETTINGS.items()},
}
"""One thread a worker."""
