"""R8: what a run was started with changes, one thing at a time; it is refused, and says what. What is harmless is not.

The run was stopped when its pyramids began, so that there is something to reuse and something left to do.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from bigseg.engine import folder as folders
from bigseg.errors import ChangedError
from bigseg.pipeline.ingest import ingest
from bigseg.pipeline.pipeline import Pipeline
from bigseg.storage.sources.opening import open_source
from tests.faults import chain, recipes
from tests.faults.driver import fast_folder
from tests.faults.run import Row

TESTS = ("R8",)
BESIDE = True
SHAPE, BLOCK = (20, 24, 136), 20


class _Stopped(Exception):
    """Ends a run from its observer."""


@dataclass
class Start:
    """With what a run is started."""

    pipeline: dict[str, Any]
    volume: Any
    out: Path
    options: dict[str, Any] = field(default_factory=lambda: {"workers": 0, "block": (BLOCK,), "memory": 2 << 30})
    versions: Mapping[str, str] = field(default_factory=dict)

    def step(self, name: str) -> dict[str, Any]:
        """A step of the pipeline, to be changed."""
        found: dict[str, Any] = next(step for step in self.pipeline["steps"] if step["id"] == name)
        return found

    def run(self, observe: Callable[..., None] = lambda summary, done, units: None) -> None:
        """Start or continue."""
        known = dict(folders.versions())
        with mock.patch("bigseg.pipeline.record.versions", return_value={**known, **self.versions}):
            Pipeline.from_dict(self.pipeline).run(
                self.volume, self.out, **{"report": False, **self.options}, observe=observe
            )


Change = Callable[[Start], None]


def _set(step: str, **values: Any) -> Change:
    return lambda start: start.step(step).update(values)


def _option(**values: Any) -> Change:
    return lambda start: start.options.update(values)


def _version(name: str) -> Change:
    return lambda start: setattr(start, "versions", {name: "0.0.1"})


def _spec(**values: Any) -> Change:
    """Another description of the same voxels."""

    def change(start: Start) -> None:
        origin = open_source(start.volume)
        start.volume = replace(origin, spec=origin.spec.but(**values))  # type: ignore[type-var]

    return change


def _voxel(start: Start) -> None:
    """One voxel of the input."""
    copied = start.out.parent / "input.ome.zarr"
    shutil.copytree(start.volume, copied)
    shard = copied / "0" / "c" / "0" / "0" / "0"
    state = shard.stat()
    data = shard.read_bytes()
    shard.write_bytes(data + b"\0")
    os.utime(shard, ns=(state.st_atime_ns, state.st_mtime_ns))
    start.volume = copied


def _step_more(start: Start) -> None:
    start.pipeline["steps"].insert(3, {"id": "clean", "op": "remove_small", "min_size": 9})


def _step_less(start: Start) -> None:
    start.pipeline["steps"] = start.pipeline["steps"][:4]


def _other_op(start: Start) -> None:
    start.pipeline["steps"][0] = {"id": "smooth", "op": "median", "footprint": "box", "size": 3}


def _renamed(start: Start) -> None:
    start.volume = {"scan": start.volume}


REFUSED: dict[str, tuple[Change, str]] = {
    "a parameter": (_set("smooth", sigma=1.25), "sigma: was 1.0, is 1.25"),
    "another operation": (_other_op, "smooth.op: was 'gaussian', is 'median'"),
    "a step more": (_step_more, "clean: was absent"),
    "a step less": (_step_less, "regions: was"),
    "a step's source": (_set("bright", **{"from": "input"}), "from"),
    "connectivity": (_set("objects", connectivity=3), "connectivity: was 2, is 3"),
    "a size": (_set("bright", min_size=6), "min_size: was 5, is 6"),
    "a reference": (_set("bright", low="${levels.multi_otsu_2}"), "low: was"),
    "what is saved": (lambda start: start.pipeline.update(save=["bright"]), "save"),
    "components kept": (lambda start: start.pipeline.update(keep_components=True), "keep_components"),
    "the block": (_option(block=(24,)), "block"),
    "a region": (_option(roi="0:20,0:24,0:120"), "shape"),
    "the voxel size computed at": (_option(resample="50%"), "resample"),
    "the voxel size": (_spec(spacing=(2.0, 1.0, 1.0)), "spacing.0: was 1.0, is 2.0"),
    "the unit": (_spec(unit="micrometer"), "unit: was '', is 'micrometer'"),
    "the origin": (_spec(origin=(0.0, 5.0, 0.0)), "origin.1"),
    "the kind": (_spec(kind="labels"), "kind: was 'image', is 'labels'"),
    "a file of the input": (_voxel, "copy an input with its times"),
    "the input's name": (_renamed, "inputs.scan"),
    "the resolution": (
        lambda start: setattr(start, "volume", open_source(start.volume, 1)),
        "shape",
    ),
    "numpy's version": (_version("numpy"), "versions.numpy: was"),
    "tensorstore's version": (_version("tensorstore"), "versions.tensorstore"),
    "bigseg's version": (_version("bigseg"), "versions.bigseg"),
}


def _moved_run(start: Start) -> None:
    new = start.out.with_name("moved")
    os.rename(start.out, new)
    start.out = new


def _copied_input(start: Start) -> None:
    copied = start.out.parent / "elsewhere.ome.zarr"
    shutil.copytree(start.volume, copied)  # keeps the times of files
    start.volume = copied


def _linked_input(start: Start) -> None:
    link = start.out.parent / "link.ome.zarr"
    link.symlink_to(start.volume)
    start.volume = link


def _written_otherwise(start: Start) -> None:
    """The same pipeline as YAML with comments, other order of keys, other forms of numbers."""
    text = "# a comment\n" + yaml.safe_dump(start.pipeline, sort_keys=True).replace("sigma: 1.0", "sigma: 1")
    start.pipeline = yaml.safe_load(text)


def _relative(start: Start) -> None:
    start.volume = os.path.relpath(start.volume)


HARMLESS: dict[str, Change] = {
    "memory": _option(memory=3 << 30),
    "a report": _option(report=True),
    "the run's folder moved": _moved_run,
    "the input copied elsewhere": _copied_input,
    "a link to the input": _linked_input,
    "a relative path": _relative,
    "the pipeline written otherwise": _written_otherwise,
    "no block given": lambda start: start.options.pop("block"),
}


@dataclass
class Base:
    """An unfinished run, and what it must end with."""

    folder: Path

    def __post_init__(self) -> None:
        raw = chain.make_volume(self.folder / "raw.zarr", SHAPE, chunk=BLOCK)
        self.volume = self.folder / "volume.ome.zarr"
        ingest(raw, self.volume, workers=0, block=(BLOCK,))
        self.start(self.folder / "golden").run()
        self.golden = chain.golden(self.folder / "golden")
        self.units = set(chain.recorded(self.folder / "golden"))

        def stop(summary: Any, done: int, units: int) -> None:
            if summary.kind == "pyramid" and done:
                raise _Stopped

        try:
            self.start(self.folder / "base").run(stop)
        except _Stopped:
            self.done = set(chain.recorded(self.folder / "base"))

    def start(self, out: Path) -> Start:
        """As it was started."""
        return Start(json.loads(json.dumps(chain.PIPELINE)), self.volume, out)

    def changed(self, name: str, change: Change) -> Start:
        """A copy of the run with something changed."""
        place = self.folder / name.replace(" ", "-").replace("'", "")
        place.mkdir()
        shutil.copytree(self.folder / "base", place / "run")
        start = self.start(place / "run")
        change(start)
        return start

    def refused(self, name: str) -> str:
        """Start a run that was changed; gives back what it said."""
        change, expected = REFUSED[name]
        start = self.changed(name, change)
        before = _files(start.out)
        try:
            start.run()
        except ChangedError as error:
            said = str(error)
        else:
            raise AssertionError(f"{name}: was not refused")
        assert expected in said, f"{name}: {said}"
        assert "--restart" in said
        assert _files(start.out) == before, f"{name}: something was written"
        return said

    def reused(self, name: str) -> None:
        """Start a run where something harmless is different: it ends golden, and does nothing again."""
        start = self.changed(name, HARMLESS[name])
        start.run()
        counts = chain.recorded(start.out)
        assert set(counts) == self.units, name
        assert set(counts.values()) == {1}, f"{name}: something was computed again"
        assert chain.golden(start.out) == self.golden, name


def _files(out: Path) -> dict[str, bytes]:
    """What lies in a run's folder, but for its lock."""
    return {str(path): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file() and path.name != "lock"}


def model(folder: Path) -> str:
    """A pipeline that classifies by a model file, which then changes; gives back what was said."""
    recipes.make_inputs(folder)
    recipes.run("page_text_forest", folder, folder / "trained")
    (found,) = (folder / "trained" / "models").glob("grey.*")
    place = folder / f"model{found.suffix}"
    shutil.copy(found, place)

    def start() -> Start:
        steps = [{"id": "text", "op": "classify", "model": str(place), "output": "probability"}]
        return Start({"version": 1, "steps": steps}, folder / "slice.npy", folder / "run", {"workers": 0})

    start().run()
    recipe = Pipeline.load("page_text_forest", [*recipes.RECIPES["page_text_forest"].changes, "grey.seed=5"])
    recipe.run(
        {"page": folder / "slice.npy", "drawn": folder / "mask.npy"},
        folder / "other",
        workers=0,
        block=(40,),
        report=False,
    )
    (new,) = (folder / "other" / "models").glob("grey.*")
    assert new.read_bytes() != found.read_bytes()
    shutil.copy(new, place)
    try:
        start().run()
    except ChangedError as error:
        return str(error)
    raise AssertionError("another model was taken")


def full() -> Iterator[Row]:
    """All of it."""
    folder = fast_folder()
    try:
        base = Base(folder)
        for name in REFUSED:
            base.refused(name)
        assert "digest" in model(folder)
        yield Row(
            "R8", "what a run depends on, changed", len(REFUSED) + 1, len(REFUSED) + 1, "refused with a difference"
        )
        for name in HARMLESS:
            base.reused(name)
        yield Row("R8", "what it does not depend on, changed", len(HARMLESS), len(HARMLESS), "nothing computed again")
    finally:
        shutil.rmtree(folder)
