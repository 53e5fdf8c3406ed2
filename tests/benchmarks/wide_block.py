"""Memory of a worker that classifies blocks of 256^3 by 61 features up to scale 10: the plan's figure and the peak.

A section of `learning`. All features of one block with its halo would take 8.9 GiB. A phantom of 1024 x 768 x 768
voxels, generated where it is read, is classified by a forest of 50 trees on the preset ``ilastik``, blocks of 256^3,
two workers of 2 GiB. A mask leaves the two blocks in the middle, which have a whole halo on all sides: more memory than
any block of a volume of two blocks a side takes, in a quarter of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import zarr

import bigseg
from bigseg.learn.model import Model
from bigseg.ops.learning.features import Features
from bigseg.pipeline.pipeline import Pipeline
from bigseg.storage.spec import Spec

from .measure import serve
from .page import table

BLOCKS, BLOCK, CORNER = (4, 3, 3), 256, 96
WORKERS, LIMIT = 2, 2 << 30
MIB = 1 << 20


def trained(path: Path) -> Model:
    """A forest that has seen a corner of the phantom."""
    corner = bigseg.phantom("voids", CORNER, seed=7, noise=8.0)
    known = np.zeros((CORNER,) * 3, np.uint8)
    known[::5, ::5, ::5] = 1 + corner.mask.values[::5, ::5, ::5]
    return bigseg.train(
        corner.image.values, known, features={"preset": "ilastik"}, parameters={"n_estimators": 50}, out=path
    )


def middle(path: Path, shape: tuple[int, ...], block: int) -> Path:
    """A stored mask of the blocks that touch no face of the volume; nothing is stored for the others."""
    mask = zarr.create_array(store=str(path), shape=shape, dtype="uint8", chunks=(block,) * 3)
    mask[tuple(slice(block, n - block) for n in shape)] = 1
    return path


def measure(task: Mapping[str, Any]) -> dict[str, Any]:
    """One run; its stages as run.json has them."""
    out = Path(task["out"])
    block = task.get("block", BLOCK)
    shape = tuple(n * block for n in BLOCKS)
    model = trained(out / "model.npz")
    stack = Features(preset="ilastik").stack(Spec(shape, np.dtype("uint16"), ("z", "y", "x"), (1.0,) * 3))
    step = {"id": "found", "op": "classify", "from": "input", "mask": "middle", "model": str(out / "model.npz")}
    phantom = bigseg.phantom("voids", shape, seed=7, noise=8.0)
    mask = bigseg.open_volume(middle(out / "middle.zarr", shape, block), missing="fill")
    run = Pipeline.from_dict({"version": 1, "steps": [step], "save": ["found"]}).run(
        {"input": phantom, "middle": mask},
        out / "run",
        block=(block,) * 3,
        workers=WORKERS,
        memory=LIMIT,
        report=False,
    )
    reach = stack.depth()
    return {
        "shape": shape,
        "block": run.record["block"],
        "features": len(model.names),
        "depth": reach,
        "all": 4 * len(model.names) * prod(block + 2 * r for r in reach),
        "held": stack.memory([block + 2 * r for r in reach], (block,) * 3),
        "stages": run.record["stages"],
        "driver": run.record["driver_memory_peak"],
    }


def section(found: Mapping[str, Any]) -> list[str]:
    """Lines of the page."""
    rows = []
    for stage in found["stages"]:
        planned, peak = stage["memory_planned"], stage["memory_peak"]
        fits = "yes" if max(planned, peak) <= LIMIT else "**no**"
        below = "yes" if peak <= planned else "**no**"
        rows.append(
            (
                stage["name"],
                str(stage["blocks"]),
                f"{planned / MIB:.0f}",
                f"{peak / MIB:.0f}",
                f"{planned / peak:.2f}",
                below,
                fits,
                f"{stage['seconds']:.1f}",
            )
        )
    head = ("stage", "blocks", "planned, MiB", "peak, MiB", "plan / peak", "below its plan", "within 2 GiB", "seconds")
    block = " x ".join(map(str, found["block"]))
    return [
        f"Phantom of {' x '.join(map(str, found['shape']))}, generated where it is read; blocks of {block}, of which a "
        f"mask leaves the two in the middle; {found['features']} features, halo "
        f"{' x '.join(map(str, found['depth']))}; {WORKERS} workers of 2 GiB, resident memory, highest of both. All "
        f"features of one block with its halo would take {found['all'] / 2**30:.1f} GiB; the stack holds "
        f"{found['held'] / MIB:.0f} MiB.",
        "",
        *table(head, rows),
        "",
        f"The driver's peak: {found['driver'] / MIB:.0f} MiB.",
    ]


if __name__ == "__main__":
    serve(measure)
