"""The public names, and where they are loaded from when first used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

WHERE = {
    "bigseg.pipeline.pipeline": ("Pipeline",),
    "bigseg.pipeline.steps": ("Step",),
    "bigseg.pipeline.result": ("Run",),
    "bigseg.pipeline.ingest": ("ingest",),
    "bigseg.pipeline.tuning": ("tune", "tune_slider"),
    "bigseg.storage.lazy": ("open_volume",),
    "bigseg.storage.sources.opening": ("open_source",),
    "bigseg.storage.phantom": ("phantom",),
    "bigseg.errors": ("BigsegError",),
    "bigseg.ops.learning.features": ("Features",),
    "bigseg.feature_functions": ("features", "feature_table"),
    "bigseg.model_functions": ("train", "classify", "importances"),
    "bigseg.learn.model_file": ("load_model", "save_model"),
}
FUNCTIONS = (
    "gaussian",
    "mean",
    "median",
    "bilateral",
    "non_local_means",
    "total_variation",
    "percentile",
    "minimum",
    "maximum",
    "erosion",
    "dilation",
    "opening",
    "closing",
    "white_tophat",
    "black_tophat",
    "sobel",
    "prewitt",
    "laplace",
    "gaussian_gradient_magnitude",
    "laplacian_of_gaussian",
    "difference_of_gaussians",
    "hessian_eigenvalues",
    "structure_tensor_eigenvalues",
    "convolve",
    "subtract_background",
    "clip",
    "rescale",
    "invert",
    "normalise",
    "match_illumination",
    "threshold",
    "local_threshold",
    "multi_threshold",
    "histogram",
    "auto_threshold",
    "try_all",
    "threshold_by_objects",
    "guarded_threshold",
    "hysteresis",
    "label",
    "count_objects",
    "remove_small",
    "remove_large",
    "keep_largest",
    "clear_border",
    "select",
    "fill_holes",
    "distance_transform",
    "split",
    "expand_labels",
    "grow",
    "regions",
    "contingency",
    "contact",
    "nearest",
    "detect",
    "object_quantiles",
    "train",
    "classify",
    "evaluate",
    "error_map",
    "kmeans",
    "combine",
    "map_block",
)
CLASSES = {"".join(part.capitalize() for part in name.split("_")): name for name in FUNCTIONS}
HOME = {name: module for module, names in WHERE.items() for name in names}
NAMES = (*HOME, *CLASSES, *FUNCTIONS, "__version__")


def load(name: str) -> Any:
    """What ``bigseg.name`` means.

    Raises
    ------
    AttributeError
        When bigseg has no such name.
    """
    if name in HOME:
        return getattr(import_module(HOME[name]), name)
    if name in CLASSES:
        return import_module("bigseg.ops.registry").OPS[CLASSES[name]]
    if name in FUNCTIONS:
        return import_module("bigseg.functions").FUNCTIONS[name]
    if name == "__version__":
        return import_module("importlib.metadata").version("bigseg")
    raise AttributeError(f"module 'bigseg' has no attribute {name!r}")
