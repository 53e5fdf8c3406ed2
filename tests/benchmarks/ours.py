"""bigseg's side of the benchmark: the only module here that knows its interface.

``python -m tests.benchmarks.ours TASK.json RESULT.json`` starts a local cluster and runs the task's job
through the public API, from store to store: once as it comes (its seconds and the cluster's start are
``seconds_cold``), then, unless ``again`` is off, once more on the same cluster: ``seconds``, compared with
peers whose pools and imports are up too. The clock takes in planning, journal, fsync and self-checks. The
pyramid that every saved image gets, and no peer makes, is left out of ``seconds`` and told apart as
``seconds_pyramid``; there is no HTML report.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from bigseg.engine.cluster.starting import local_cluster
from bigseg.pipeline.pipeline import Pipeline

from .jobs import AGREED, GAUSSIAN_SIGMA, GUARD, GUARD_REACH, Task

PIPELINES: dict[str, dict[str, Any]] = {
    "gaussian": {"steps": [{"id": "smooth", "op": "gaussian", "sigma": GAUSSIAN_SIGMA}], "save": ["smooth"]},
    "hysteresis": {"steps": [{"id": "mask", "op": "hysteresis"}], "save": ["mask"]},
    "label26": {"steps": [{"id": "labels", "op": "label", "connectivity": 3}], "save": ["labels"]},
    "label6": {"steps": [{"id": "labels", "op": "label", "connectivity": 1}], "save": ["labels"]},
    "chain": {
        "steps": [
            {"id": "smooth", "op": "gaussian", "sigma": GAUSSIAN_SIGMA},
            {"id": "mask", "op": "hysteresis"},
            {"id": "labels", "op": "label"},
            {"id": "regions", "op": "regions", "intensity": "input"},
        ],
        "save": ["mask", "labels"],
    },
    "otsu": {"steps": [{"id": "levels", "op": "auto_threshold", "method": "otsu"}], "save": []},
    "fill_holes": {"steps": [{"id": "mask", "op": "fill_holes"}], "save": ["mask"]},
    "guarded": {"steps": [{"id": "classes", "op": "guarded_threshold"}], "save": ["classes"]},
}


def definition(task: Task) -> dict[str, Any]:
    """The job's pipeline as the content of a pipeline file, with the thresholds of the volume."""
    pipeline = PIPELINES[task.job]
    levels = {"low": task.low, "high": task.high}
    given = {
        "hysteresis": levels,
        "guarded_threshold": {"values": [task.low, task.high], "guard": GUARD, "reach": GUARD_REACH},
    }
    steps = [{**step, **given.get(step["op"], {})} for step in pipeline["steps"]]
    return {"version": 1, "steps": steps, "save": pipeline["save"]}


def source(task: Task) -> str:
    """The volume that the job reads."""
    return task.mask if task.job.startswith(("label", "fill")) else task.volume


def measure(task: Task) -> dict[str, Any]:
    """Run the job on a cluster of its own.

    Returns
    -------
    ``seconds`` (of the last run, without pyramids), ``seconds_cold`` (start of the cluster and first run),
    ``seconds_pyramid``, ``answer``, ``block``, ``stages`` (as in run.json), ``driver_memory_peak`` (bytes),
    ``server_memory``.
    """
    pipeline = Pipeline.from_dict(definition(task))
    block = (task.block,) * 3 if task.block else None
    begin = time.perf_counter()
    cluster = local_cluster(task.workers, task.memory)
    settings = {"scheduler": cluster.client.scheduler.address, "memory": task.memory, "report": False}
    try:
        run = pipeline.run(source(task), f"{task.out}/first", block=block, **settings)
        cold = seconds = time.perf_counter() - begin
        if task.again:
            begin = time.perf_counter()
            run = pipeline.run(source(task), f"{task.out}/again", block=block, **settings)
            seconds = time.perf_counter() - begin
        server = server_memory()
    finally:
        cluster.close()
    stages = run.record["stages"]
    pyramid = sum(stage["seconds"] for stage in stages if stage["kind"] == "pyramid")
    return {
        "seconds": seconds - pyramid,
        "seconds_cold": cold,
        "seconds_pyramid": pyramid,
        "answer": _answer(task, run),
        "block": run.record["block"][0],
        "stages": stages,
        "driver_memory_peak": run.record["driver_memory_peak"],
        "server_memory": server,
    }


def server_memory() -> dict[str, int]:
    """Bytes of the process that workers are forks of: resident, and its share where others have the same pages."""
    for child in psutil.Process().children():
        if "forkserver" in " ".join(child.cmdline()):
            found = child.memory_full_info()
            return {"resident": found.rss, "share": found.pss}
    return {"resident": 0, "share": 0}


def _answer(task: Task, run: Any) -> dict[str, Any]:
    """What the peers answer too, from the stored result, block by block."""
    if task.job == "gaussian":
        return {"mean": round(float(run.outputs["smooth"].mean(dtype="float64")), 2)}
    if task.job == "chain":
        voxels = int(run.outputs["mask"].astype("int64").sum())
        return {"objects": len(run.tables["regions"]), "voxels": voxels}
    if task.job == "otsu":
        return {"threshold": run.values["levels"]["otsu"]}
    if task.job == "guarded":
        return {"bright_first": int((run.outputs["classes"][(slice(AGREED),) * 3] == 2).sum())}
    if task.job in ("hysteresis", "fill_holes"):
        return {"voxels": int(run.outputs["mask"].astype("int64").sum())}
    return {"objects": int(run.outputs["labels"].max())}


def main(task_path: str, result_path: str) -> None:
    """Measure one task and write the result as JSON."""
    result = measure(Task(**json.loads(Path(task_path).read_text())))
    result["peak_rss"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    Path(result_path).write_text(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
