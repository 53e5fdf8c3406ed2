"""The main job on a real volume, from raw file to report: what ``bigseg demo`` shows, step by step.

The sample is a micro-CT of cement (128^3, dark voids of all sizes) from the wheel of qim3d, whose files are read
without importing it. Where it cannot be had, a volume with a known number of voids is generated.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigseg.engine.run import Observer
from bigseg.engine.stage import Plan
from bigseg.grid import Box, Shape
from bigseg.pipeline.ingest import prepare_ingest
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.planning import Resources
from bigseg.pipeline.prepared import Settings
from bigseg.pipeline.result import Run
from bigseg.pipeline.running import run_prepared
from bigseg.report.page import write_report
from bigseg.report.pictures import Panel, draw_panels
from bigseg.report.wording import by
from bigseg.storage import blocks
from bigseg.storage.sources.opening import open_source
from bigseg.storage.spec import Spec
from bigseg.storage.volume import Volume

PIPELINE = "voids"
BLOCK = (64, 64, 64)
SHAPE = (128, 128, 128)
"""Of the generated volume."""
VARIABLE = "BIGSEG_SAMPLES"

Say = Callable[[str], None]
ShowPlan = Callable[[Plan, Pipeline, Resources], None]
Watch = Callable[[Plan], AbstractContextManager[Observer]]


def run_demo(
    folder: Path,
    workers: int = 2,
    *,
    restart: bool = False,
    say: Say = print,
    show_plan: ShowPlan = lambda plan, pipeline, resources: None,
    watch: Watch = lambda plan: nullcontext(lambda summary, done, units: None),
    sample: Path | None = None,
) -> Run:
    """Ingest, plan, segment, measure, report; the same folder again continues, or finds that all is done.

    Parameters
    ----------
    folder : where the results go.
    workers : processes on this machine; 0 computes in this one.
    restart : remove what an earlier demo left.
    say : prints a line.
    show_plan : prints the plan.
    watch : gives what is told of the progress.
    sample : a TIFF instead of the sample that is looked for.

    Returns
    -------
    The finished run.
    """
    began = time.perf_counter()
    sample = sample or find_sample()
    if sample is None:
        source: Any = Spheres(SHAPE)
        name = "spheres"
        say(
            f"sample   no sample package here (pip install --no-deps --target DIR qim3d==1.5.3, {VARIABLE}=DIR): "
            f"using a generated volume with {source.count} dark spheres"
        )
    else:
        source, name = open_source(sample), "cement"
        say(f"sample   {sample}")
    settings = Settings(block=BLOCK, workers=workers, restart=restart, report=False)

    image = folder / f"{name}.ome.zarr"
    with _timed(say) as took:
        ingest = prepare_ingest(source, image, settings)
        with watch(ingest.plan) as observe:
            volume = ingest.run(observe)
        took(f"ingest   {image}: OME-Zarr 0.5, shards of {by(BLOCK)}, {_levels(volume.levels)}", ingest.found)
    spec = volume.spec
    say(f"info     {by(spec.shape)} {spec.dtype}, spacing {by(spec.spacing)} {spec.unit or '(no unit in the file)'}")

    pipeline = Pipeline.load(PIPELINE)
    prepared, start = pipeline.check(str(image), folder / "run", settings)
    say(f"plan     {len(prepared.plan.stages)} stages, as `bigseg plan {PIPELINE} -i {image}` prints them")
    show_plan(prepared.plan, pipeline, prepared.resources)

    finished = (prepared.folder.read() or {}).get("status") == "complete" and not prepared.look().damaged
    steps = " -> ".join(step.op.op for step in pipeline.steps)
    with _timed(say) as took:
        with watch(prepared.plan) as observe:
            run = run_prepared(pipeline.as_dict(), prepared, start, observe)
        took(f"run      {steps}", "finished already" if finished else "")
    chosen = {item: run.values[item[0]][item[1]] for item in _references(pipeline)}
    say(f"values   {', '.join(f'{step}.{key} = {value:.1f}' for (step, key), value in chosen.items())}")
    pyramids = [stage for stage in run.record["stages"] if stage["kind"] == "pyramid"]
    levels = run.record["saved"] and _levels(1 + len(pyramids) // len(run.record["saved"]))
    say(f"pyramid  {levels} for each saved image ({sum(stage['seconds'] for stage in pyramids):.1f} s of the run)")
    with _timed(say) as took:
        write_report(run.path, run.record)
        picture = folder / "demo.png"
        picture.write_bytes(_picture(image, run, spec))
        took(f"report   {folder / 'run' / 'report.html'}, {picture}")

    table = run.tables["regions"]
    known = f" ({source.count} were put in)" if isinstance(source, Spheres) else ""
    share = 100 * table["num_pixels"].sum() / np.prod(spec.shape)
    say(f"\n{len(table)} voids{known}, {share:.1f} % of the volume, in {time.perf_counter() - began:.0f} s")
    for what, path in {
        "image": image,
        "labels": folder / "run" / "objects.ome.zarr",
        "mask": folder / "run" / "voids.ome.zarr",
        "table": folder / "run" / "tables" / "regions.parquet",
        "report": folder / "run" / "report.html",
    }.items():
        say(f"{what:8s} {path}")
    return run


def _references(pipeline: Pipeline) -> list[tuple[str, str]]:
    """The computed values that steps use: step and key of each."""
    return list(dict.fromkeys((step, key) for item in pipeline.steps for _, step, key in item.op.references()))


def _picture(image: Path, run: Run, spec: Spec) -> bytes:
    """The middle plane of the image and of what was made of it."""
    plane = Box((spec.shape[0] // 2, 0, 0), (spec.shape[0] // 2 + 1, *spec.shape[1:]))
    panels = []
    shown = {"scan": image, **{name: run.path / f"{name}.ome.zarr" for name in run.record["saved"]}}
    for name, path in shown.items():
        volume = Volume.open(path)
        _, rows, columns = volume.spec.spacing
        array = blocks.read(volume, plane)[0]
        panels.append(Panel(name, array, volume.spec.kind, (rows, columns), volume.spec.unit))
    return draw_panels(panels)


def find_sample() -> Path | None:
    """The cement volume of qim3d's wheel: below the folder BIGSEG_SAMPLES, or of an installed qim3d; never imported."""
    folders = []
    if VARIABLE in os.environ:
        folders.append(Path(os.environ[VARIABLE], "qim3d"))
    installed = find_spec("qim3d")
    if installed is not None:
        folders += [Path(place) for place in installed.submodule_search_locations or ()]
    for folder in folders:
        for path in sorted(folder.glob("examples/*cement*.tif")):
            return path.absolute()
    return None


@dataclass(frozen=True)
class Spheres:
    """A volume of dark spheres in bright noise, one a cell of 32^3, computed where it is read.

    Every voxel is a function of its coordinates and the seed alone, in integers, so that any box of it can be
    computed by any process. Spheres stay three voxels inside of their cell and never touch.

    >>> volume = Spheres((64, 64, 70))
    >>> volume.count
    8
    >>> whole, part = volume.read(Box.whole(volume.shape)), volume.read(Box((1, 2, 30), (9, 40, 70)))
    >>> bool((whole[1:9, 2:40, 30:70] == part).all())
    True
    """

    shape: Shape
    seed: int = 1
    path = "generated"
    cell = 32
    bright, dark, noise = 110, 40, 24

    @property
    def spec(self) -> Spec:
        """uint8, 2 micrometers a voxel."""
        return Spec(self.shape, np.dtype("uint8"), ("z", "y", "x"), (2.0, 2.0, 2.0), "micrometer")

    @property
    def count(self) -> int:
        """Spheres: one in each whole cell."""
        return int(np.prod([n // self.cell for n in self.shape]))

    def read(self, box: Box) -> NDArray[Any]:
        """The voxels of a box."""
        z, y, x = np.ogrid[box.slices]
        number = (z * self.shape[1] + y) * self.shape[2] + x
        values = self.bright - (mix(number, self.seed) % np.uint64(self.noise)).astype(np.int64)
        cells = [
            range(a // self.cell, min(-(-b // self.cell), n // self.cell))
            for a, b, n in zip(*box, self.shape, strict=True)
        ]
        for place in np.ndindex(*(len(item) for item in cells)):
            corner = [self.cell * item[k] for item, k in zip(cells, place, strict=True)]
            drawn = mix(
                np.array([corner[0] * 1000003 + corner[1] * 1009 + corner[2] + k for k in range(4)]), ~self.seed
            )
            radius = 4 + int(drawn[0] % np.uint64(8))
            room = self.cell - 2 * (radius + 3)
            centre = [c + radius + 3 + int(d % np.uint64(room)) for c, d in zip(corner, drawn[1:], strict=True)]
            inside = (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 < radius**2
            values[inside] -= self.bright - self.dark
        return values.astype(np.uint8)

    def token(self) -> str:
        """The same for the same spheres."""
        return f"spheres {self.shape} {self.seed}"

    def describe(self) -> dict[str, str]:
        """What it is."""
        return {"path": self.path, "format": f"{self.count} spheres, computed"}


def mix(numbers: NDArray[Any], seed: int) -> NDArray[Any]:
    """A random 64-bit number for each index: the finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        found = np.asarray(numbers).astype(np.uint64) + np.uint64(seed & 0xFFFF) * np.uint64(0x9E3779B97F4A7C15)
        found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return found ^ (found >> np.uint64(31))


@contextmanager
def _timed(say: Say) -> Iterator[Callable[..., None]]:
    """Gives a function that says what was done, and how long it took."""
    began = time.perf_counter()

    def took(text: str, note: str = "") -> None:
        done = f", {note}" if "finished" in note else ""
        say(f"{text} ({time.perf_counter() - began:.1f} s{done})")

    yield took


def _levels(count: int) -> str:
    return "one level" if count == 1 else f"{count} levels"
