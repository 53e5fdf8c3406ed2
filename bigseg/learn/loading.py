"""Model files that a process needs again and again, told apart by what they hold."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

from bigseg.errors import InputError
from bigseg.learn.model import Model
from bigseg.learn.model_file import load_model
from bigseg.local.models.forest import Forest
from bigseg.local.models.linear_model import Linear


def file_digest(path: Path) -> str:
    """The digest of a model file, 32 hexadecimal digits.

    Raises
    ------
    InputError
        When it cannot be read.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"cannot read the model {path}: expected a file, found a folder or a device")
        return blake2b(path.read_bytes(), digest_size=16).hexdigest()
    except OSError as error:
        raise InputError(f"cannot read the model {path}: {error.strerror or error}") from error


@lru_cache(maxsize=4)
def load_kept(path: str, digest: str) -> Model:
    """A model, read once by this process.

    Parameters
    ----------
    path : of the file.
    digest : that it must have; "" for any, as long as this process has not read it.

    Raises
    ------
    InputError
        When the file is gone, is no model, or is no longer the same.
    """
    found = file_digest(Path(path))
    if digest and found != digest:
        raise InputError(f"the model {path} has changed (digest was {digest}, is {found}): restore it, or run anew")
    return load_model(path)


def knows_probabilities(model: Model) -> bool:
    """Whether a model can be asked for probabilities."""
    predictor = model.predictor
    if isinstance(predictor, Linear):
        return predictor.link in ("logistic", "softmax")
    return isinstance(predictor, Forest) or hasattr(predictor, "predict_proba")
