"""Components that a run keeps, so that later ones need not find them again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np

from bigseg.engine.field import Collect, Field, Reduction, Values
from bigseg.engine.folder import RunFolder
from bigseg.engine.source import Read, chosen, place
from bigseg.errors import CorruptChunkError, OutputError
from bigseg.local.digest import digest
from bigseg.ops.components.volume import Objects, below
from bigseg.pipeline.build import Built
from bigseg.storage.durable import sync_folder, write_file

INDEX = "components.json"


@dataclass(frozen=True)
class Kept:
    """What a finished run has kept.

    Parameters
    ----------
    folder : where the rows lie, a folder a stage.
    sets : of each set of components, by the name of its first pass: what it was made from, as a digest.
    steps : of each step that gave values or a table: the same.
    values : what the run's reductions found.
    fingerprint : of the run.
    """

    folder: Path
    sets: Mapping[str, str]
    steps: Mapping[str, str]
    values: Values
    fingerprint: str

    def same_sets(self, built: Built) -> list[Objects]:
        """The sets of components that are made of the very same."""
        return [item for item in built.sets() if self.sets.get(item.collect.name) == origin(item.collect)]

    def same_steps(self, built: Built) -> dict[str, Reduction]:
        """The steps whose values and tables are the same."""
        return {name: node for name, node in _values_of(built).items() if self.steps.get(name) == origin(node)}

    def held(self, built: Built) -> frozenset[str]:
        """The stages whose results need not be computed."""
        stages = {name for item in self.same_sets(built) for name in item.held}
        return frozenset(stages | {node.name for node in self.same_steps(built).values()})

    def place(self, folder: RunFolder, built: Built) -> Values:
        """Put what is held into a run's folder, as links where the file system has them; gives back the values.

        Raises
        ------
        CorruptChunkError
            When the kept rows are gone.
        """
        for item in self.same_sets(built):
            for name in item.held:
                _link(self.folder / name, folder.scratch / name)
            if not (folder.scratch / item.collect.name).is_dir():
                raise CorruptChunkError(f"{self.folder} no longer holds the components: run the pipeline again")
        for name in self.same_steps(built):
            for kind in ("tables", "models"):
                for path in sorted((self.folder.parent / kind).glob(f"{name}.*")):
                    _link(path, folder.path / kind / path.name)
        return self.values


def _link(source: Path, target: Path) -> None:
    """A file, or all files of a folder; what an earlier start of the same run has put there is left."""
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    for path in files:
        place = target / path.relative_to(source) if path != source else target
        place.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            try:
                os.link(path, place)
            except FileExistsError:
                raise
            except OSError:
                shutil.copy2(path, place)


def _values_of(built: Built) -> dict[str, Reduction]:
    return {name: node for name, node in built.results.items() if isinstance(node, Reduction)}


def keep(folder: RunFolder, built: Built, values: Values) -> list[str]:
    """Move the rows of all sets out of scratch; harmless to repeat when a kill came between.

    Returns
    -------
    The stages whose rows are kept.
    """
    target = folder.components
    target.mkdir(exist_ok=True)
    names = [name for item in built.sets() for name in item.held]
    for name in names:
        _move(folder.scratch / name, target / name)
    index = {
        "sets": {item.collect.name: origin(item.collect) for item in built.sets()},
        "steps": {name: origin(node) for name, node in _values_of(built).items()},
        "values": values,
    }
    write_file(target / INDEX, json.dumps(index).encode())
    sync_folder(target)
    return [name for name in names if (target / name).is_dir()]  # nothing where nothing was joined


def _move(source: Path, target: Path) -> None:
    """Move a folder; of one that is kept already, only the files that were computed again are replaced."""
    if not target.exists() and source.is_dir():
        os.rename(source, target)
    for path in [path for path in source.rglob("*") if path.is_file()]:
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, place)
        sync_folder(place.parent)


def kept_of(folder: RunFolder) -> Kept:
    """What a finished run has kept.

    Raises
    ------
    OutputError
        When there is no such run, it is not complete, or it kept nothing.
    """
    record = folder.read()
    if record is None:
        raise OutputError(f"{folder.path} holds no run: expected the folder of a finished run")
    if record["status"] != "complete":
        raise OutputError(f"{folder.path} is {record['status']}: run it to its end first")
    try:
        index = json.loads((folder.components / INDEX).read_text())
    except FileNotFoundError:
        if record["pipeline"].get("keep_components"):
            raise _gone(folder, INDEX) from None
        raise OutputError(
            f"{folder.path} kept no components: put `keep_components: true` into its pipeline and run it again"
        ) from None
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{folder.components / INDEX} cannot be read ({error}): mend it with `bigseg verify {folder.path} --repair`"
        ) from error
    for name in record.get("kept", []):
        if not (folder.components / name).is_dir():
            raise _gone(folder, name)
    return Kept(folder.components, index["sets"], index["steps"], index["values"], record["fingerprint"])


def _gone(folder: RunFolder, name: str) -> OutputError:
    return OutputError(
        f"{folder.components / name} is gone, which the run had kept: `bigseg verify {folder.path} --repair` computes "
        "it again"
    )


def origin(of: Collect | Reduction) -> str:
    """A digest of all that decides which components there are and what their rows hold, or what a step gives."""
    words: list[Any] = []
    for node in below([of]):
        inputs = node.fields if isinstance(node, Collect) else node.inputs
        kernel = _source(node.kernel) if isinstance(node.kernel, Read) else told(node.kernel)
        what = [type(node).__name__, node.name, kernel, [item.name for item in inputs]]
        words.append([*what, str(node.spec) if isinstance(node, Field) else ""])
    return blake2b(json.dumps(sorted(words)).encode(), digest_size=16).hexdigest()


def _source(kernel: Read) -> str:
    """Which file, and what of it: it may be opened from a path once, and as an object another time."""
    return f"{place(kernel.origin)} {chosen(kernel.origin)}"


def told(value: Any) -> str:
    """What a kernel was made with, the same in every process: no addresses, no order of sets, arrays whole.

    >>> told({"k": (1, frozenset("ba"))}), told(told)
    ("{'k': (1, {'a', 'b'})}", 'bigseg.pipeline.kept.told')
    """
    if is_dataclass(value) and not isinstance(value, type):
        parts = [f"{item.name}={told(getattr(value, item.name))}" for item in fields(value) if item.repr]
        return f"{type(value).__name__}({', '.join(parts)})"
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(told, value))})"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{told(key)}: {told(item)}' for key, item in value.items())}}}"
    if isinstance(value, (set, frozenset)):
        return f"{{{', '.join(sorted(map(told, value)))}}}"
    if isinstance(value, np.ndarray):
        return f"array {digest(value)}"
    if isinstance(value, partial):
        return f"{told(value.func)}{told(value.args)}{told(value.keywords)}"
    if isinstance(value, FunctionType):
        held = [cell.cell_contents for cell in value.__closure__ or ()]
        return f"{value.__module__}.{value.__qualname__}{told(held) if held else ''}"
    return repr(value)
