"""Model files: one zip of plain arrays and JSON, which numpy.load opens; no pickle, ever.

::

    model.json           what the model is (`bigseg.learn.model.Model`), and length and digest of every other member
    feature.npy …        the arrays of a forest (`bigseg.local.models.forest.Forest`), or
    weights.npy …        those of a linear model (`bigseg.local.models.linear_model.Linear`), or
    estimator.skops      any other estimator of `bigseg.learn.allowed`, as skops writes it

Arrays are checked before anything walks through them: a forged file can at worst predict nonsense. skops
runs no code of a file, and only listed types are made; but compiled parts of scikit-learn (k-d trees, boosted
trees) trust their arrays, so a forged file of these may crash the process.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from bigseg.errors import BigsegError, InputError, ParameterError
from bigseg.learn.allowed import ESTIMATORS, PARTS, not_listed
from bigseg.learn.model import ClassName, Model, Source
from bigseg.local.models.forest import Forest
from bigseg.local.models.linear_model import Linear
from bigseg.storage.durable import write_file

FORMAT, VERSION = "bigseg model", 1
HEAD, OTHER = "model.json", "estimator.skops"
MOST_BYTES = 8 << 30
"""Bytes that a model's members may unpack to."""
ARRAYS = {
    "feature": (np.int32, np.int32),
    "threshold": (np.float32, np.float32),
    "left": (np.int32, np.int64),
    "row": (np.int32, np.int64),
    "values": (np.float64, np.float64),
    "starts": (np.int64, np.int64),
}
"""A forest's arrays: the dtype in the file, and in memory."""
WEIGHTS = {"weights": (np.float64, np.float64), "offsets": (np.float64, np.float64)}
"""Those of a linear model."""


def save_model(model: Model, path: str | Path) -> None:
    """Write a model to one file, whole or not at all; the same model gives the same bytes.

    Parameters
    ----------
    model : of a forest, a linear model, or an estimator of `bigseg.learn.allowed`.
    path : the file, by custom ``name.npz``.

    Raises
    ------
    ParameterError
        An estimator that a model file does not hold.
    StorageError
        When the file cannot be written.
    """
    predictor = model.predictor
    if isinstance(predictor, (Forest, Linear)):
        members = _stored(predictor, ARRAYS if isinstance(predictor, Forest) else WEIGHTS)
    else:
        members = _other(model)
    head = {
        "format": FORMAT,
        "version": VERSION,
        "link": predictor.link if isinstance(predictor, Linear) else "",
        **{key: value for key, value in vars(model).items() if key not in ("predictor", "classes", "training")},
        "classes": [asdict(item) for item in model.classes],
        "training": [asdict(item) for item in model.training],
        "members": {name: [len(data), _digest(data)] for name, data in members.items()},
    }
    try:
        text = json.dumps(head, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ParameterError(
            f"what the model says of its features is no JSON ({error}): use numbers and text"
        ) from error
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in {HEAD: text.encode(), **members}.items():
            file.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    write_file(Path(path), buffer.getvalue())


def load_model(path: str | Path) -> Model:
    """Read a model from a file.

    Parameters
    ----------
    path : what `save_model` wrote.

    Raises
    ------
    InputError
        When the file cannot be read, is no model, is damaged, or holds something that is not on the list.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from bigseg.learn.model import make_model
    >>> from bigseg.storage.spec import Spec
    >>> spec = Spec((64, 64), np.dtype("uint8"), ("y", "x"), (1.0, 1.0))
    >>> tree = DecisionTreeClassifier().fit(np.float32([[10], [200]]), [1, 2])
    >>> with TemporaryDirectory() as folder:
    ...     save_model(make_model(tree, features={}, names=["intensity"], spec=spec), f"{folder}/tree.npz")
    ...     load_model(f"{folder}/tree.npz").labels(np.float32([[15, 230]]))
    array([1, 2], dtype=uint8)
    """
    try:
        with zipfile.ZipFile(path) as file:
            head = _head(file)
            members = {name: _member(file, name, *head["members"][name]) for name in head["members"]}
        return _model(head, members)
    except BigsegError as error:
        raise InputError(f"{path} cannot be used as a model: {error}") from error
    except OSError as error:
        raise InputError(f"cannot read the model {path}: {error.strerror or error}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise InputError(
            f"{path} cannot be used as a model: it is no model file or is damaged ({error}); copy or train it again"
        ) from error
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError, RuntimeError, MemoryError) as error:
        raise InputError(
            f"{path} cannot be used as a model: it does not hold what a model holds ({type(error).__name__}: "
            f"{error!s:.200}); train it again"
        ) from error


def _head(file: zipfile.ZipFile) -> dict[str, Any]:
    names = file.namelist()
    if HEAD not in names:
        raise InputError(f"it holds no {HEAD}, so bigseg did not write it; train a model with bigseg")
    if sum(item.file_size for item in file.infolist()) > MOST_BYTES:
        raise InputError(f"it unpacks to more than {MOST_BYTES >> 30} GiB; train a smaller model")
    head = json.loads(file.read(HEAD))
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise InputError("bigseg did not write it; train a model with bigseg")
    if head.get("version") != VERSION:
        raise InputError(f"its format is version {head.get('version')!r}, expected {VERSION}; use a newer bigseg")
    if sorted(names) != sorted([HEAD, *head["members"]]):
        raise InputError("its members are not those that it lists; copy or train it again")
    return head


def _member(file: zipfile.ZipFile, name: str, length: int, digest: str) -> bytes:
    data = file.read(name)
    if len(data) != length or _digest(data) != digest:
        raise InputError(f"{name} is damaged; copy or train it again")
    return data


def _model(head: Mapping[str, Any], members: Mapping[str, bytes]) -> Model:
    predictor: Any
    if OTHER in members:
        predictor = _load_other(members[OTHER])
    elif head["link"]:
        predictor = Linear(**_loaded(members, WEIGHTS), link=head["link"])
    else:
        predictor = Forest(**_loaded(members, ARRAYS), features=len(head["names"]))
    model = Model(
        predictor,
        head["task"],
        head["estimator"],
        head["features"],
        tuple(head["names"]),
        tuple(head["scales"]),
        tuple(float(step) for step in head["spacing"]),
        str(head["unit"]),
        str(np.dtype(head["dtype"])),
        tuple(ClassName(**item) for item in head["classes"]),
        tuple(Source(**item) for item in head["training"]),
        head["parameters"],
        head["versions"],
        dict(head.get("figures", {})),  # earlier files have neither
        head.get("threshold"),
    )
    if model.task not in ("classification", "regression"):
        raise InputError(f"its task is {model.task!r}, expected classification or regression")
    outputs = len(model.classes) if model.task == "classification" else 1
    if isinstance(predictor, (Forest, Linear)) and (predictor.outputs, predictor.features) != (
        outputs,
        len(model.names),
    ):
        raise InputError(f"it has {predictor.outputs} outputs for {outputs} classes; train it again")
    if any(not isinstance(item.value, int) or not 0 <= item.value <= 255 for item in model.classes):
        raise InputError("its classes are no numbers from 0 to 255; train it again")
    return model


def _stored(predictor: Forest | Linear, arrays: Mapping[str, tuple[type, type]]) -> dict[str, bytes]:
    members = {}
    for name, (stored, _) in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, getattr(predictor, name).astype(stored), allow_pickle=False)
        members[f"{name}.npy"] = buffer.getvalue()
    return members


def _loaded(members: Mapping[str, bytes], arrays: Mapping[str, tuple[type, type]]) -> dict[str, Any]:
    found = {}
    for name, (stored, wanted) in arrays.items():
        array = np.load(io.BytesIO(members[f"{name}.npy"]), allow_pickle=False)
        if array.dtype != stored:
            raise InputError(f"{name} is {array.dtype}, expected {np.dtype(stored)}; train it again")
        found[name] = array.astype(wanted)
    return found


def _other(model: Model) -> dict[str, bytes]:
    import skops.io  # which takes two seconds to load

    data = skops.io.dumps(model.predictor)
    wrong = not_listed(data)
    if wrong:
        raise ParameterError(
            f"{model.estimator} cannot be kept in a model file, as {', '.join(wrong)} is not on the list; known are "
            f"{', '.join(name for names in ESTIMATORS.values() for name in names)}"
        )
    return {OTHER: data}


def _load_other(data: bytes) -> Any:
    import skops.io

    wrong = not_listed(data)
    if wrong:
        raise InputError(f"it holds {', '.join(wrong)}, which is not on the list of what a model file may hold")
    trusted = [name for name in skops.io.get_untrusted_types(data=data) if name in PARTS]
    return skops.io.loads(data, trusted=trusted)


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()
