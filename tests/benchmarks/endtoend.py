"""Pixel classification from store to store: `bigseg run` against scikit-image's features and dask-ml's ParallelPostFit.

A section of `learning`. A forest of 100 trees and 200,000 nodes learns the voids of a phantom (float32; noise twice the
contrast) from 15 features, multiscale_basic_features at sigma 1, 2 and 4. Both sides get two processes of one thread,
the same stored volume and the same forest, and write labels, or probabilities as float32, to a new store; turn by turn,
each time in processes of its own. The peer is what one writes with dask::

    store -> overlap by 18 -> features of each chunk -> trimmed -> rows -> ParallelPostFit.predict -> store

The volume is a rod of chunks of 128^3, so that no chunk must be cut for the rows and halos cost the peer least. Two
times are taken of each side: of the work with workers that are up and have classified a corner before, and of all from
starting Python on (the peer's without its workers' imports). bigseg's include journal, fsync and self-checks; its
pyramids, which the peer does not make, and the report are in the second only. Labels in three turns at most,
probabilities in one, and bigseg's whole command in the first of each: a turn takes more than a minute.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import psutil
import yaml
import zarr
from skimage.feature import multiscale_basic_features
from sklearn.ensemble import RandomForestClassifier

import bigseg
from bigseg.learn.model import make_model
from bigseg.learn.model_file import save_model
from bigseg.ops.learning.features import Features
from bigseg.storage.spec import Spec
from tests.volumes import store

from .measure import run_process, serve
from .page import compared, comparison

SHAPE, CHUNK, CORNER = (512, 128, 128), 128, 64
SCALES, DEPTH = (1.0, 2.0, 4.0), 18
SAMPLES, NOISE = 60_000, 150.0
WORKERS, MEMORY = 2, 2 << 30
GOAL, TIMEOUT = 5.0, 1800.0
PEER = "scikit-image + dask-ml"
TURNS = {"labels": 3, "probability": 1}
BIGSEG = [sys.executable, "-c", "from bigseg.cli.main import main; main()"]


def block_features(block: np.ndarray) -> np.ndarray:
    """What the peer computes of a chunk: float32 (*shape, 15)."""
    low, high = SCALES[0], SCALES[-1]
    found = multiscale_basic_features(block, sigma_min=low, sigma_max=high, num_sigma=len(SCALES), workers=1)
    return np.asarray(found)


def prepare(folder: Path, shape: tuple[int, int, int], samples: int) -> dict[str, Any]:
    """The volume, the forest in the form of each side, and the pipelines: their paths; nodes of the forest."""
    phantom = bigseg.phantom("voids", shape, seed=7, noise=NOISE, dtype="float32")
    image = phantom.image.values
    volume = store(folder / "volume.zarr", image, (CHUNK,) * 3)
    corner = tuple(slice(0, CHUNK) for _ in shape)
    table = block_features(image[corner]).reshape(-1, 5 * len(SCALES))
    truth = 1 + np.asarray(phantom.mask[corner].values, np.uint8).reshape(-1)
    chosen = np.random.default_rng(0).choice(truth.size, samples, replace=False)
    forest = RandomForestClassifier(100, n_jobs=WORKERS, random_state=0).fit(table[chosen], truth[chosen])
    forest.set_params(n_jobs=1)
    joblib.dump(forest, folder / "forest.joblib")
    features = Features(preset="basic", scales=SCALES)
    spec = Spec(shape, image.dtype, ("z", "y", "x"), (1.0,) * 3)
    names = features.stack(spec).names
    described = {
        "features": features.model_dump(mode="json", exclude_defaults=True),
        "images": [""],
        "axes": list(spec.axes),
        "names": list(names),
    }
    save_model(make_model(forest, features=described, names=names, spec=spec), folder / "forest.npz")
    for output in TURNS:
        step = {"id": "found", "op": "classify", "model": str(folder / "forest.npz"), "output": output}
        pipeline = {"version": 1, "steps": [step], "save": ["found"]}
        (folder / f"{output}.yaml").write_text(yaml.safe_dump(pipeline))
    nodes = sum(tree.tree_.node_count for tree in forest.estimators_)
    return {"volume": str(volume), "folder": str(folder), "nodes": nodes}


def ours(task: Mapping[str, Any]) -> dict[str, Any]:
    """`bigseg run` as a command of its own, in the first turn, and the same pipeline on a cluster that is up."""
    from bigseg.engine.cluster.starting import local_cluster
    from bigseg.pipeline.pipeline import Pipeline

    out, path = Path(task["out"]), Path(task["folder"]) / f"{task['output']}.yaml"
    timed = {}
    if "kept" in task:
        begin = time.perf_counter()
        where = ["-i", task["volume"], "-o", str(out / "cold"), "--workers", str(WORKERS), "--memory", "2GiB"]
        subprocess.run([*BIGSEG, "run", str(path), *where], check=True, capture_output=True)
        timed["cold"] = time.perf_counter() - begin
    pipeline = Pipeline.load(path)
    cluster = local_cluster(WORKERS, MEMORY)
    settings = {"scheduler": cluster.client.scheduler.address, "memory": MEMORY, "report": False}
    try:
        corner = ",".join([f"0:{CORNER}"] * 3)
        pipeline.run(task["volume"], out / "corner", roi=corner, block=(CORNER // 2,) * 3, **settings)
        begin = time.perf_counter()
        run = pipeline.run(task["volume"], out / "run", **settings)
        seconds = time.perf_counter() - begin
    finally:
        cluster.close()
    if "kept" in task:
        np.save(task["kept"], run.outputs["found"].values)
    stages = run.record["stages"]
    pyramids = sum(stage["seconds"] for stage in stages if stage["kind"] == "pyramid")
    return {**timed, "seconds": seconds - pyramids, "block": run.record["block"], "stages": stages}


def classified(volume: Any, forest: Any, output: str) -> Any:
    """The peer's lazy result of a dask array."""
    import dask.array as da

    wide = da.overlap.overlap(volume, depth=DEPTH, boundary="none")
    chunks = (*wide.chunks, (5 * len(SCALES),))
    features = wide.map_blocks(block_features, new_axis=3, chunks=chunks, meta=np.empty((0,) * 4, np.float32))
    features = da.overlap.trim_overlap(features, depth={0: DEPTH, 1: DEPTH, 2: DEPTH, 3: 0}, boundary="none")
    rows = features.reshape(-1, features.shape[3])
    if output == "labels":
        return forest.predict(rows).reshape(volume.shape)
    return forest.predict_proba(rows)[:, 1].astype(np.float32).reshape(volume.shape)


def peer(task: Mapping[str, Any]) -> dict[str, Any]:
    """scikit-image and dask-ml on two dask workers of one thread each."""
    import dask.array as da
    from dask_ml.wrappers import ParallelPostFit
    from distributed import Client, LocalCluster

    out = Path(task["out"])
    forest = ParallelPostFit(joblib.load(Path(task["folder"]) / "forest.joblib"))
    with (
        LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
    ):
        started = time.time() - psutil.Process().create_time()
        corner = da.from_zarr(task["volume"])[:CORNER, :CORNER, :CORNER].rechunk((CORNER // 2, CORNER, CORNER))
        classified(corner, forest, task["output"]).to_zarr(str(out / "corner.zarr"))
        begin = time.perf_counter()
        classified(da.from_zarr(task["volume"]), forest, task["output"]).to_zarr(str(out / "run.zarr"))
        seconds = time.perf_counter() - begin
    if "kept" in task:
        np.save(task["kept"], zarr.open_array(str(out / "run.zarr"), mode="r")[...])
    return {"seconds": seconds, "cold": started + seconds}


SIDES: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {"bigseg": ours, "peer": peer}


def measure(task: Mapping[str, Any]) -> dict[str, Any]:
    """All turns of both sides and both outputs; the median of each, and what share of the results agrees."""
    work = Path(task["out"])
    shape = tuple(task.get("shape", SHAPE))
    prepared = prepare(work, shape, task.get("samples", SAMPLES))
    command = [sys.executable, "-m", "tests.benchmarks.endtoend"]
    runs: dict[str, dict[str, list[Any]]] = {output: {who: [] for who in SIDES} for output in TURNS}
    for output, most in TURNS.items():
        for turn in range(min(most, task["repeats"])):
            for who in SIDES:
                kept = {} if turn else {"kept": str(work / f"{output}-{who}.npy")}
                asked = {**prepared, "side": who, "output": output, **kept}
                found = run_process(command, asked, work, TIMEOUT)
                if "error" in found:
                    raise RuntimeError(f"{who}, {output}: {found['error']}")
                runs[output][who].append(found)
    rows = []
    for output, sides in runs.items():
        inside = tuple(slice(DEPTH, n - DEPTH) for n in shape)
        a, b = (np.load(work / f"{output}-{who}.npy")[inside] for who in SIDES)
        same = f"{100 * np.mean(a == b):.3f} % of the voxels inside"
        for key, title in (("seconds", "workers up"), ("cold", "the whole command")):
            times = [[run[key] for run in sides[who] if key in run] for who in SIDES]
            rates = [float(np.prod(shape)) / statistics.median(found) / 1e6 for found in times]
            data = f"{' x '.join(map(str, shape))} float32"
            rows.append(comparison(f"{output}, {title}", data, rates[0], PEER, rates[1], GOAL, same))
    return {"rows": rows, "runs": runs, "nodes": prepared["nodes"]}


def section(found: Mapping[str, Any]) -> list[str]:
    """Lines of the page."""
    peaks = {
        who: max(run["peak_tree_rss"] for sides in found["runs"].values() for run in sides[who]) >> 20 for who in SIDES
    }
    turns = " and ".join(f"{len(sides['bigseg'])} of {output}" for output, sides in found["runs"].items())
    block = " x ".join(map(str, found["runs"]["labels"]["bigseg"][0]["block"]))
    return [
        f"Store to store, two processes of one thread each; medians of wall time, turns: {turns}; bigseg's whole "
        "command, a run of its own, in the first turn of each alone. 15 features, a forest "
        f"of 100 trees and {found['nodes']:,} nodes. Peer: multiscale_basic_features over dask's overlap by {DEPTH}, "
        f"ParallelPostFit, to_zarr, chunks of {CHUNK}^3; bigseg: blocks of {block}, its plan's choice. Inside: "
        f"{DEPTH} voxels and more from the edge, where the modes of the two agree; the last bit of a feature may "
        "lead to another leaf.",
        "",
        *compared(found["rows"]),
        "",
        f"Highest resident memory of all processes: bigseg {peaks['bigseg']:,} MiB, peer {peaks['peer']:,} MiB.",
    ]


def _answer(task: dict[str, Any]) -> dict[str, Any]:
    return SIDES[task["side"]](task) if "side" in task else measure(task)


if __name__ == "__main__":
    serve(_answer)
