"""Folders of finished runs, made by hand: known volumes, tables and record, and no pipeline run."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from bigseg.grid import Box
from bigseg.local.downsample import mean2, mode2
from bigseg.storage import blocks
from bigseg.storage.create import create_image
from bigseg.storage.pyramid import levels_of
from bigseg.storage.spec import Kind, Spec
from bigseg.storage.tables import write_table
from bigseg.storage.volume import Volume, mark_complete

SHAPE3, SHAPE2 = (48, 56, 72), (80, 96)
LOW, HIGH = 60.0, 90.0
MIB = 1 << 20


def store_image(path: Path, array: np.ndarray, kind: Kind, spacing: tuple[float, ...], unit: str) -> Path:
    """An image with its pyramid, as the engine writes it."""
    axes = ("z", "y", "x")[-array.ndim :]
    spec = Spec(array.shape, array.dtype, axes, spacing, unit, kind)
    create_image(path, spec, shard=array.shape)
    array = array.view(np.uint8) if array.dtype == bool else array
    for level, below in enumerate(levels_of(spec)):
        if level:
            axes_to_halve = [axis for axis, n in enumerate(array.shape) if n > 1]
            array = (mean2 if kind == "image" else mode2)(array, axes_to_halve)
        assert array.shape == below.shape
        blocks.write(Volume.planned(path, spec, level=level), Box.whole(array.shape), array)
    mark_complete(path)
    return path


def grains(shape: tuple[int, ...], seed: int = 3) -> np.ndarray:
    """Dark blobs in a bright, noisy matrix."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.standard_normal(shape), 3.0)
    values = 130 + 45 * smooth / smooth.std() + rng.normal(0, 4, shape)
    return np.asarray(values.clip(0, 255).astype(np.uint8))


def make_run(
    root: Path,
    shape: tuple[int, ...] = SHAPE3,
    spacing: tuple[float, ...] | None = None,
    unit: str = "micrometer",
    step: str = "voids",
) -> tuple[Path, dict[str, Any]]:
    """A run's folder and record: dark objects of `grains`, whose mask is the step named ``step``."""
    spacing = spacing or (2.0, 0.5, 0.5)[-len(shape) :]
    image = grains(shape)
    mask = image < HIGH
    labels, number = ndimage.label(mask)
    labels = labels.astype(np.uint32)
    folder = root / "run"
    path = store_image(root / "scan.ome.zarr", image, "image", spacing, unit)
    store_image(folder / f"{step}.ome.zarr", mask, "mask", spacing, unit)
    store_image(folder / "objects.ome.zarr", labels, "labels", spacing, unit)
    sizes = np.bincount(labels.ravel())[1:]
    boxes = ndimage.find_objects(labels)
    centres = np.array(ndimage.center_of_mass(mask, labels, range(1, number + 1)))
    columns: dict[str, np.ndarray] = {
        "label": np.arange(1, number + 1, dtype=np.uint32),
        "num_pixels": sizes,
        "area": sizes * float(prod(spacing)),
    }
    columns |= {f"bbox-{k}": np.array([box[k].start for box in boxes]) for k in range(len(shape))}
    columns |= {f"bbox-{k + len(shape)}": np.array([box[k].stop for box in boxes]) for k in range(len(shape))}
    columns |= {f"centroid-{k}": centres[:, k] * spacing[k] for k in range(len(shape))}
    columns["intensity_mean"] = ndimage.mean(image, labels, range(1, number + 1))
    write_table(folder / "tables" / "regions.parquet", columns)
    counts = np.bincount(image.ravel(), minlength=256)
    used = slice(*(np.flatnonzero(counts)[[0, -1]] + (0, 1)))
    write_table(folder / "tables" / "levels.parquet", {"value": np.arange(256)[used], "count": counts[used]})
    return folder, record_of(path, folder, shape, spacing, unit, step)


def record_of(
    path: Path, folder: Path, shape: tuple[int, ...], spacing: tuple[float, ...], unit: str, step: str
) -> dict[str, Any]:
    """A run.json of the documented form."""

    def stage(name: str, kind: str, what: str, seconds: float, peak: int) -> dict[str, Any]:
        return {
            "name": name,
            "kind": kind,
            "what": what,
            "blocks": 8,
            "computed": 8,
            "seconds": seconds,
            "busy": seconds,
            "bytes_read": 3 * MIB,
            "bytes_written": MIB,
            "voxels": prod(shape) if kind == "pass" else 0,
            "memory_planned": 400 * MIB,
            "memory_peak": peak,
        }

    return {
        "status": "incomplete",
        "fingerprint": "0123456789abcdef",
        "pipeline": {
            "version": 1,
            "steps": [
                {"id": "levels", "op": "auto_threshold", "method": "otsu"},
                {
                    "id": step,
                    "op": "hysteresis",
                    "low": LOW,
                    "high": "${levels.otsu}",
                    "polarity": "below",
                },
                {"id": "objects", "op": "label"},
                {"id": "regions", "op": "regions", "intensity": "input"},
            ],
            "save": [step, "objects"],
        },
        "inputs": {"input": str(path)},
        "volume": {
            "shape": list(shape),
            "dtype": "uint8",
            "axes": list(("z", "y", "x")[-len(shape) :]),
            "spacing": list(spacing),
            "unit": unit,
        },
        "block": [32] * len(shape),
        "blocks": 8,
        "saved": [step, "objects"],
        "stored": [[step, "asked for under save"], ["objects", "3 passes need it"]],
        "workers": 2,
        "memory_a_worker": 2048 * MIB,
        "where": "2 local workers",
        "began": "2026-11-22T17:42:10+00:00",
        "ended": "2026-11-22T17:43:25+00:00",
        "seconds": 75.0,
        "starts": 1,
        "versions": {"bigseg": "0.1.0", "numpy": "2.4.0"},
        "values": {"levels": {"otsu": HIGH}, "objects": {"objects": 7}},
        "stages": [
            stage("pass-1", "pass", "collect levels.counts", 12.5, 300 * MIB),
            stage("levels", "reduction", "reduce levels.counts", 0.4, 120 * MIB),
            stage("pass-2", "pass", f"write {step}, write objects", 40.0, 500 * MIB),
        ],
        "driver_memory_peak": 222 * MIB,
    }
