"""cellmap-analyze's connected components, in a virtual environment of its own (it pins dask 2025.5.1).

``environment`` makes that environment once. Run as a script by its python, this file does what the command
``connected-components -n 2 CONFIG`` does, without the pyramid the command adds afterwards: class
ConnectedComponents with the mask as ``input_path``, the current folder holding the ``dask-config.yaml`` of
a local cluster. It works in the chunks of the input, writes provisional uint64 labels, reads them again to
find touching ones, merges those in one process, and writes the final labels.

Each of its three stages starts a cluster, whose workers import everything anew, and stops it. It is timed
twice: so (``seconds_as_run``), and with one cluster, started and imported before, that serves all its stages
(``seconds``, the figure that bigseg on a running cluster is compared with).
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Any

VERSION = "0.6.2"
DASK_CONFIG = """\
jobqueue:
  local:
    ncpus: 1
    processes: 1
    cores: 1
    local-directory: {folder}/dask
    log-directory: job-logs
    name: dask-worker
distributed:
  scheduler:
    work-stealing: true
"""


class Unavailable(Exception):
    """cellmap-analyze cannot be installed here."""


def environment(folder: Path) -> Path:
    """Path of the python of an environment with cellmap-analyze, made in ``folder`` if missing (2 min)."""
    home = folder / f"cellmap-analyze-{VERSION}"
    python = home / "bin" / "python"
    ready = home / "ready"
    if not ready.exists():
        venv.create(home, with_pip=True, clear=True)
        pip = [
            str(python),
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            f"cellmap-analyze=={VERSION}",
        ]
        done = subprocess.run(pip, capture_output=True, text=True)
        if done.returncode:
            raise Unavailable(f"cellmap-analyze cannot be installed: {done.stderr[-2000:]}")
        ready.touch()
    return python


def _label(task: dict[str, Any], output: Path) -> float:
    from cellmap_analyze.process.connected_components import ConnectedComponents

    start = time.perf_counter()
    ConnectedComponents(
        input_path=task["mask"],
        output_path=str(output),
        intensity_threshold_minimum=1,
        connectivity=task["connectivity"],
        num_workers=task["workers"],
    ).get_connected_components()
    return time.perf_counter() - start


def _measure(task: dict[str, Any]) -> dict[str, Any]:
    folder = Path(task["out"])
    (folder / "dask-config.yaml").write_text(DASK_CONFIG.format(folder=folder))
    (folder / "dask").mkdir()
    os.chdir(folder)

    import numpy as np
    import zarr
    from cellmap_analyze.util import dask_util
    from dask.distributed import Client, LocalCluster

    as_run = _label(task, folder / "as_run.zarr" / "labels")

    with (
        LocalCluster(n_workers=task["workers"], threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.run(importlib.import_module, "cellmap_analyze.process.connected_components")
        dask_util.start_dask = lambda *_, **__: contextlib.nullcontext(client)
        seconds = _label(task, folder / "out.zarr" / "labels")

    labels = zarr.open_array(str(folder / "out.zarr" / "labels" / "s0"), mode="r")
    step = labels.chunks[0]
    objects = max(int(np.max(labels[z : z + step])) for z in range(0, labels.shape[0], step))
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "seconds": seconds,
        "seconds_as_run": as_run,
        "answer": {"objects": objects},
        "peak_rss": 1024 * peak,
    }


if __name__ == "__main__":
    _task = json.loads(Path(sys.argv[1]).read_text())
    Path(sys.argv[2]).write_text(json.dumps(_measure(_task)))
