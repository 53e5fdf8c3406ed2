"""Every operation by its name in a pipeline file, loaded when it is asked for.

A pipeline names a few of them; loading all takes a second, mostly of compiled kernels and the libraries they need.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

from bigseg.ops.base import Op

MODULES = {
    "gaussian": "filters",
    "mean": "rank",
    "median": "rank",
    "bilateral": "restoration",
    "non_local_means": "restoration",
    "total_variation": "restoration",
    "percentile": "rank",
    "minimum": "rank",
    "maximum": "rank",
    "erosion": "morphology",
    "dilation": "morphology",
    "opening": "morphology",
    "closing": "morphology",
    "white_tophat": "morphology",
    "black_tophat": "morphology",
    "sobel": "edges",
    "prewitt": "edges",
    "laplace": "edges",
    "gaussian_gradient_magnitude": "derivatives",
    "laplacian_of_gaussian": "derivatives",
    "difference_of_gaussians": "derivatives",
    "hessian_eigenvalues": "texture",
    "structure_tensor_eigenvalues": "texture",
    "convolve": "edges",
    "subtract_background": "background",
    "clip": "intensity",
    "rescale": "intensity",
    "invert": "intensity",
    "normalise": "normalise",
    "match_illumination": "normalise",
    "threshold": "threshold",
    "local_threshold": "local_threshold",
    "multi_threshold": "local_threshold",
    "histogram": "levels",
    "auto_threshold": "levels",
    "try_all": "levels",
    "threshold_by_objects": "sweep",
    "guarded_threshold": "guarded",
    "hysteresis": "hysteresis",
    "label": "objects",
    "count_objects": "objects",
    "remove_small": "objects",
    "remove_large": "predicates",
    "keep_largest": "predicates",
    "clear_border": "predicates",
    "select": "predicates",
    "fill_holes": "predicates",
    "distance_transform": "distance",
    "split": "split",
    "expand_labels": "growing",
    "grow": "growing",
    "regions": "regions",
    "contingency": "contingency",
    "contact": "contact",
    "nearest": "nearest",
    "detect": "detect",
    "object_quantiles": "object_quantiles",
    "train": "train",
    "classify": "classify",
    "evaluate": "evaluate",
    "error_map": "error_map",
    "kmeans": "kmeans",
    "combine": "combine",
    "map_block": "map_block",
}
"""Name and module below `bigseg.ops`; the class is the name in capitals: ``map_block`` is MapBlock."""


class _Operations(Mapping[str, type[Op]]):
    def __getitem__(self, name: str) -> type[Op]:
        kind: type[Op] = getattr(import_module(f"bigseg.ops.{MODULES[name]}"), class_name(name))
        return kind

    def __iter__(self) -> Iterator[str]:
        return iter(MODULES)

    def __len__(self) -> int:
        return len(MODULES)

    def __contains__(self, name: object) -> bool:
        return name in MODULES


def class_name(name: str) -> str:
    """The class of an operation.

    >>> class_name("map_block")
    'MapBlock'
    """
    return "".join(part.capitalize() for part in name.split("_"))


OPS: Mapping[str, type[Op]] = _Operations()
