"""Where pipeline files are found: at the path given, or among the recipes that come with bigseg.

In a checkout the recipes are the folder ``pipelines`` beside the package; in an installed wheel they lie
within it, as ``bigseg/recipes``.
"""

from __future__ import annotations

import os
from pathlib import Path

from bigseg.errors import PipelineError, unknown
from bigseg.storage.durable import found_at

PACKAGE = Path(__file__).resolve().parent.parent
INSTALLED, CHECKOUT = PACKAGE / "recipes", PACKAGE.parent / "pipelines"


def recipes() -> dict[str, Path]:
    """The recipes by name.

    >>> "voids" in recipes()
    True
    """
    folder = INSTALLED if INSTALLED.is_dir() else CHECKOUT
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_pipeline(name: str | os.PathLike[str]) -> Path:
    """The file that a path or the name of a recipe means.

    Parameters
    ----------
    name : a path; or, where no file lies there, ``voids``, ``voids.yaml`` or ``pipelines/voids.yaml``.

    Raises
    ------
    PipelineError
        When there is neither such a file nor such a recipe.
    """
    path = Path(name)
    if found_at(path) is not None:
        return path
    known = recipes()
    bare = path.parent in (Path(), Path("pipelines")) and path.suffix in ("", ".yaml", ".yml")
    if bare and path.stem in known:
        return known[path.stem]
    advice = f"; {unknown('recipe', path.stem, known)}" if bare and known else ""
    raise PipelineError(f"there is no pipeline file {path}{advice}")
