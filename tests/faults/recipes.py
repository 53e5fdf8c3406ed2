"""The ready pipelines on small volumes of their kind: what the fault tests kill besides the chain.

``recipe NAME FOLDER OUT [--kill NAME:N]`` for the zygote runs one, or continues it.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from scipy import ndimage

from bigseg.local.digest import digest
from bigseg.pipeline.pipeline import Pipeline
from bigseg.storage import faultpoints
from tests.faults import chain


@dataclass(frozen=True)
class Recipe:
    """How a ready pipeline is run here."""

    inputs: tuple[str, ...]
    """Names of the volumes below: an input's name and the volume's, ``xray=blobs``."""
    block: tuple[int, ...]
    changes: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


TREES = "{n_estimators: 5, min_samples_leaf: 5}"
REGIONS = '{train: ":,0:40", validation: ":,40:60", test: ":,60:"}'
RECIPES = {
    "voids": Recipe(("input=blobs",), (20,)),
    "lacunae": Recipe(("input=blobs",), (20,), ("lacunae.min_size=20",)),
    "three_phases": Recipe(("input=blobs",), (20,)),
    "canaliculi": Recipe(("input=slice",), (40,)),
    "page_text": Recipe(("input=slice",), (40,), ("lighting.sigma=6",)),
    "bimodal_kmeans": Recipe(("xray=blobs", "neutron=noisy"), (20,), ("materials.try_k=[2, 3]",)),
    "cortex_kmeans": Recipe(("input=slice",), (40,), ("tenths.try_k=[2, 3]", "tenths.lloyd=2", "fifths.lloyd=2")),
    "page_text_forest": Recipe(
        ("page=slice", "drawn=mask"),
        (40,),
        tuple(f"{step}.{key}" for step in ("grey", "edges") for key in (f"parameters={TREES}", f"regions={REGIONS}")),
    ),
    "mitochondria_forest": Recipe(
        ("em=slice", "drawn=mask"),
        (40,),
        (
            f"first.parameters={TREES}",
            f"forest.parameters={TREES}",
            'first.regions={train: ":,0:40"}',
            'forest.regions={train: ":,40:80", validation: ":,80:100"}',
            "first.voxels=2000",
            "forest.voxels=2000",
        ),
    ),
}


def make_inputs(folder: Path) -> None:
    """The volumes: dark blobs in a bright matrix, the same seen with more noise, a slice of it, and what is dark."""
    rng = np.random.default_rng(3)
    coarse = ndimage.zoom(rng.standard_normal((9, 10, 26)), 5, order=1)[:36, :44, :120]
    grey = 110 + 45 * coarse / coarse.std()
    blobs = (grey + 3 * rng.standard_normal(grey.shape)).clip(0, 255).astype(np.uint8)
    np.save(folder / "blobs.npy", blobs)
    np.save(folder / "noisy.npy", (255 - grey + 25 * rng.standard_normal(grey.shape)).clip(0, 255).astype(np.uint8))
    picture = np.concatenate([blobs[:, k] for k in (5, 25)])
    np.save(folder / "slice.npy", picture)
    np.save(folder / "mask.npy", (picture < 80).astype(np.uint8))


def run(name: str, folder: Path, out: Path) -> dict[str, Any]:
    """Run a ready pipeline, or continue it; gives back run.json."""
    recipe = RECIPES[name]
    inputs = dict(item.split("=") for item in recipe.inputs)
    pipeline = Pipeline.load(name, recipe.changes)
    done = pipeline.run(
        {key: folder / f"{value}.npy" for key, value in inputs.items()},
        out,
        workers=0,
        block=recipe.block,
        memory=2 << 30,
        report=False,
    )
    return done.record


def golden(out: Path) -> dict[str, str]:
    """Digests of every level of every image, decoded, and of the rows of every table."""
    found = {}
    for path in sorted(out.glob("*.ome.zarr")):
        group = zarr.open_group(path, mode="r")
        for level in sorted(group.array_keys()):
            found[f"{path.name} {level}"] = digest(np.asarray(group[level][...]))
    for path in sorted((out / "tables").glob("*.parquet")):
        table = pd.read_parquet(path)
        found[path.name] = " ".join(f"{column}:{table[column].tolist()}" for column in sorted(table.columns))
    return found


def main(arguments: Sequence[str]) -> None:
    """What the zygote runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kill", default="")
    chosen = parser.parse_args(arguments)
    chain.say(chain.READY)
    if chosen.kill:
        faultpoints.arm(f"{chosen.kill}:group")
    run(chosen.name, chosen.folder, chosen.out)
