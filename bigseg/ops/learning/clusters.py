"""Clusters of a sample of feature vectors: fitted, described, and found again in every block.

1. `FitClusters`: the sample scaled; centres by mini-batches (`bigseg.ops.learning.minibatch`), for each number of
   clusters;
2. `SumMembers`, `MoveCentres`: exact Lloyd passes over all voxels, where asked for;
3. `DescribeClusters`: their order, inertia, silhouette, tables;
4. `NearestCentre`: the cluster of every voxel, fused with its features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from bigseg.engine.field import Array, Values, Workspace
from bigseg.errors import ValuesError
from bigseg.grid import Box, Grid, Shape
from bigseg.local.features.scaling import Scaling, fit_table
from bigseg.local.features.stack import Stack
from bigseg.local.filters.linear import Float32
from bigseg.local.models.centres import NONE, add_members, empty_members, means_of, nearest_centre, powers_of
from bigseg.ops.base import Told
from bigseg.ops.counting.statistics import folded
from bigseg.storage.tables import write_table

Kind = Literal["none", "standard", "robust", "minmax", "quantile"]
LIBRARIES = 64 << 20
"""Bytes of scikit-learn and dask-ml where clusters are fitted, and of the silhouette's distances (measured: 50)."""


@dataclass(frozen=True)
class Known:
    """Clusters as far as they are known: centres in scaled features, how features are scaled, powers for exact sums."""

    centres: Float32
    scaling: Scaling | None
    powers: tuple[int, ...]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Known:
        """From a reduction's values."""
        found = values["model"]
        scaling = Scaling.from_dict(found["scaling"]) if found["scaling"] else None
        return cls(np.array(found["centres"], np.float32), scaling, tuple(found.get("powers", ())))

    def values(self) -> dict[str, Any]:
        """As JSON holds them."""
        found = {"centres": self.centres.tolist(), "scaling": self.scaling.to_dict() if self.scaling else {}}
        return found | ({"powers": list(self.powers)} if self.powers else {})

    def scale(self, planes: Float32) -> Float32:
        """Features scaled where they lie."""
        if self.scaling:
            self.scaling.apply(planes)
        return planes


@dataclass(frozen=True)
class OfSample:
    """What the reductions on the sample have in common: the step, where the sample lies, its features' names."""

    step: str
    sample: str
    names: tuple[str, ...]
    voxels: int

    def units(self, grid: Grid) -> int:
        """One task."""
        return 1

    def memory(self, grid: Grid) -> int:
        """The sample as it is, scaled, and turned to rows."""
        return 4 * 4 * len(self.names) * self.voxels + LIBRARIES

    def planes(self, space: Workspace) -> Float32:
        """The sample's features, (features, voxels)."""
        return space.scratch.read(self.sample, 0, ["features"])["features"].copy()  # what is read cannot be written


@dataclass(frozen=True)
class FitClusters(OfSample):
    """Centres by mini-batches on the sample.

    Parameters
    ----------
    clusters : how many are wanted; ``tried`` : further numbers, whose inertia and silhouette are told.
    scaling, seed, batch, starts : see `bigseg.ops.kmeans.Kmeans`.
    scaled_by : the reduction whose value ``scaling`` is taken; "" for that of the sample. found : it, once it is known.
    """

    clusters: int
    tried: tuple[int, ...]
    scaling: Kind
    seed: int
    batch: int
    starts: int
    scaled_by: str = ""
    found: Scaling | None = None

    def bind(self, values: Values) -> FitClusters:
        """Take over the scaling of the volume."""
        if not self.scaled_by:
            return self
        return replace(self, found=Scaling.from_dict(values[self.scaled_by]["scaling"]))

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Scale, fit."""
        from bigseg.ops.learning.minibatch import (  # scikit-learn and dask-ml take two seconds to load
            best_fit,
            silhouette,
        )

        planes = self.planes(space)
        most = max(self.clusters, *self.tried) if self.tried else self.clusters
        if planes.shape[1] < most:
            raise ValuesError(
                f"step {self.step!r}: {planes.shape[1]} voxels for {most} classes: expected as many voxels at least"
            )
        if not np.isfinite(planes).all():
            bad = self.names[int(np.flatnonzero(~np.isfinite(planes).all(axis=1))[0])]
            raise ValuesError(f"step {self.step!r}: feature {bad!r} has NaN or infinite values; check the images")
        scaling = self.found or (None if self.scaling == "none" else fit_table(self.scaling, planes))
        if scaling:
            scaling.apply(planes)
        tried: dict[str, Any] = {}
        fits = {}
        for number in sorted({self.clusters, *self.tried}):
            fits[number] = fit = best_fit(planes, number, self.seed, self.batch, self.starts)
            if self.tried:
                near = nearest_centre(planes, fit.centres).places
                tried[str(number)] = {"inertia": fit.inertia, "silhouette": silhouette(planes, near)}
        known = Known(fits[self.clusters].centres, scaling, powers_of(planes))
        return {"model": known.values(), "tried": tried}


@dataclass(frozen=True)
class SumMembers:
    """Sums over the voxels of each cluster, of one block."""

    stack: Stack
    dtypes: tuple[str, ...]
    clusters: int
    source: str
    known: Known | None = None

    @property
    def cost(self) -> float:
        """The features, the distances, the sums."""
        return self.stack.cost() + len(self.stack.names) * (1.6 + 0.07 * self.clusters)

    def memory(self, outer: Shape, inner: Shape) -> int:
        """A tile, its clusters and distances; the sums."""
        tile = self.stack.tile_voxels(outer, inner)
        return self.stack.memory(outer, inner, self.dtypes) + 10 * tile + 64 * self.clusters * len(self.stack.names)

    def bind(self, values: Values) -> SumMembers:
        """Take over the centres."""
        return replace(self, known=Known.of(values[self.source]))

    def partial(
        self, arrays: Sequence[Array], keep: tuple[slice, ...], box: Box, volume: Shape, inside: Any
    ) -> dict[str, Array]:
        """Counts and sums."""
        assert self.known is not None
        found = self.nothing()
        for tile in self.stack.tiles(arrays, keep, box.start):
            planes = self.known.scale(tile.planes)
            places = nearest_centre(planes, self.known.centres).places
            if inside is not None:
                places[~inside[tile.part].reshape(-1)] = NONE
            add_members(found, planes, places, self.known.powers)
        return found

    def nothing(self) -> dict[str, Array]:
        """Sums of no voxel."""
        return empty_members(self.clusters, len(self.stack.names))


@dataclass(frozen=True)
class MoveCentres:
    """Every centre to the mean of its voxels."""

    fold: str
    source: str
    size: int
    values: Mapping[str, Any] | None = None

    def units(self, grid: Grid) -> int:
        """One task."""
        return 1

    def memory(self, grid: Grid) -> int:
        """A few tables."""
        return 4 * self.size + (1 << 20)

    def bind(self, values: Values) -> MoveCentres:
        """Take over the centres."""
        return replace(self, values=dict(values[self.source]))

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Divide."""
        assert self.values is not None
        known = Known.of(self.values)
        moved = means_of(folded(space, self.fold), known.powers, known.centres)
        return {**self.values, "model": replace(known, centres=moved).values()}


@dataclass(frozen=True)
class DescribeClusters(OfSample):
    """The clusters in their order, and what the sample says of them: values and tables."""

    source: str
    values: Mapping[str, Any] | None = None

    def bind(self, values: Values) -> DescribeClusters:
        """Take over the centres."""
        return replace(self, values=dict(values[self.source]))

    def reduce(self, unit: int, space: Workspace) -> Mapping[str, Any]:
        """Order, describe, write."""
        from bigseg.ops.learning.minibatch import in_order, inertia_of, silhouette

        assert self.values is not None
        known = Known.of(self.values)
        known = replace(known, centres=in_order(known.centres), powers=())
        planes = self.planes(space)
        scaled = known.scale(planes.copy())
        places = nearest_centre(scaled, known.centres).places
        folder, tried = space.folder / "tables", self.values["tried"]
        write_table(folder / f"{self.step}.parquet", cluster_means(planes, places, len(known.centres), self.names))
        if tried:
            columns = {key: _column(found[key] for found in tried.values()) for key in ("inertia", "silhouette")}
            write_table(folder / f"{self.step}.tried.parquet", {"k": np.array(list(map(int, tried))), **columns})
        return {
            "inertia": inertia_of(scaled, known.centres),
            "silhouette": silhouette(scaled, places),
            "sample": planes.shape[1],
            "model": {"names": list(self.names), **known.values()},
            "tried": tried,
        }


def cluster_means(planes: Float32, places: Array, clusters: int, names: Sequence[str]) -> dict[str, Array]:
    """The table of clusters: class, voxels of the sample, their share; mean and standard deviation of each feature.

    >>> table = cluster_means(np.float32([[1, 3, 9]]), np.uint8([0, 0, 1]), 2, ["intensity"])
    >>> {name: column.round(3).tolist() for name, column in table.items()}
    {'class': [1, 2], 'voxels': [2, 1], 'share': [0.667, 0.333], 'intensity': [2.0, 9.0], 'intensity-std': [1.0, 0.0]}
    """
    counts = np.bincount(places, minlength=clusters)
    columns: dict[str, Array] = {"class": np.arange(1, clusters + 1), "voxels": counts, "share": counts / places.size}
    full = np.where(counts, counts, np.nan)
    for name, plane in zip(names, planes, strict=True):
        values = plane.astype(np.float64)
        mean = np.bincount(places, values, clusters) / full
        away = values - mean[places]
        columns |= {name: mean, f"{name}-std": np.sqrt(np.bincount(places, away * away, clusters) / full)}
    return columns


def _column(values: Any) -> Array:
    """Numbers, NaN where there is none."""
    return np.array([np.nan if value is None else value for value in values], np.float64)


@dataclass(frozen=True)
class NearestCentre:
    """The class of every voxel: 1 for the first centre."""

    source: str
    features: int
    clusters: int
    known: Known | None = None
    dtype = "uint8"

    @property
    def cost(self) -> float:
        """Distances to all centres."""
        return 1.0 + self.features * (0.25 + 0.07 * self.clusters)

    def memory(self, voxels: int) -> int:
        """Places, distances, and whether these are finite."""
        return 6 * voxels

    def bind(self, values: Values) -> NearestCentre:
        """Take over the centres."""
        return replace(self, known=Known.of(values[self.source]))

    def find(self, planes: Float32) -> Array:
        """Classes of a tile."""
        assert self.known is not None
        places = nearest_centre(self.known.scale(planes), self.known.centres).places
        places += np.uint8(1)
        return places


@dataclass(frozen=True)
class FoundClusters(Told):
    """What run.json tells of a clustering."""

    source: str

    def values(self, values: Values) -> Mapping[str, Any]:
        """Inertia, silhouette, size of the sample, the model; none for a step that nothing needed."""
        return values.get(self.source, {})
