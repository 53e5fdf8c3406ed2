"""Bad input: the right exit code, one message that says what to do, no traceback, no output."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import PIPELINE, Bigseg

HEAD = "version: 1\nsteps:\n"
BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"

PIPELINES = {
    "unknown operation": (HEAD + "- {id: a, op: gausian, sigma: 1}", "did you mean 'gaussian'"),
    "unknown key": ("version: 1\nsetps: []", "did you mean 'steps'"),
    "unknown parameter": (HEAD + "- {id: a, op: gaussian, sigmaa: 1}", "did you mean 'sigma'"),
    "unknown source": (
        HEAD + "- {id: smooth, op: gaussian, sigma: 1}\n- {id: a, op: threshold, from: smoth, above: 1}",
        "did you mean 'smooth'",
    ),
    "unknown step under save": (HEAD + "- {id: mask, op: threshold, above: 1}\nsave: [mast]", "did you mean 'mask'"),
    "id used twice": (HEAD + "- {id: a, op: gaussian, sigma: 1}\n- {id: a, op: threshold, above: 1}", "used twice"),
    "id of a pass": (HEAD + "- {id: pass-1, op: auto_threshold}", "'pass-1' would have the name of another stage"),
    "id of an input": (HEAD + "- {id: input, op: gaussian, sigma: 1}", "input"),
    "id that YAML takes for true": (HEAD + "- {id: on, op: label}", "true or false (on, off, yes, no): put it into"),
    "id with a line's end": (HEAD + '- {id: "a\\n", op: gaussian, sigma: 1}', "expected a letter"),
    "operation that is a number": (HEAD + "- {id: a, op: label}\n- {id: b, op: 7}", "step 2: expected keys"),
    "source that YAML takes for true": (HEAD + "- {id: a, op: label, from: [yes]}", "put it into quotes"),
    "key given twice": (HEAD + "- {id: a, op: gaussian, sigma: 1, sigma: 2}", "'sigma' stands twice"),
    "lists in lists": ("[" * 200_000, "at most 30 lists"),
    "tag with a wrong value": ("version: !!timestamp soon", "not valid YAML"),
    "too large": ("#" * 300_000, "at most 256 KiB"),
    "id that is a path": (HEAD + "- {id: ../../a, op: gaussian, sigma: 1}", "expected a letter"),
    "missing parameter": (HEAD + "- {id: a, op: gaussian}", "sigma"),
    "sigma that is no length": (HEAD + "- {id: a, op: gaussian, sigma: wide}", "expected a number"),
    "negative sigma": (HEAD + "- {id: a, op: gaussian, sigma: -1}", "0 or more"),
    "sigma with a unit, spacing without": (HEAD + "- {id: a, op: gaussian, sigma: 2 um}", "give the value in voxels"),
    "sigma of true": (HEAD + "- {id: a, op: gaussian, sigma: true}", "a number, found true"),
    "sigma of on": (HEAD + "- {id: a, op: gaussian, sigma: [1, on, 1]}", "sigma: expected a number, found"),
    "below true": (HEAD + "- {id: a, op: threshold, below: true}", "below: expected a number, found true"),
    "values of false": (HEAD + "- {id: a, op: multi_threshold, values: [false, 2]}", "values: expected a number"),
    "size of true": (HEAD + "- {id: a, op: median, size: true}", "size: expected a number, found true"),
    "min_size of true": (
        HEAD + "- {id: a, op: hysteresis, low: 1, high: 2, min_size: true}",
        "min_size: expected a num",
    ),
    "even size": (HEAD + "- {id: a, op: median, size: 2}", "odd"),
    "low above high": (HEAD + "- {id: a, op: hysteresis, low: 9, high: 2}", "low <= high"),
    "band that holds nothing": (HEAD + "- {id: a, op: threshold, above: 90, below: 40}", "expected above < below"),
    "band between equals": (HEAD + "- {id: a, op: threshold, above: 9, below: 9}", "expected above < below"),
    "connectivity 4": (HEAD + "- {id: a, op: hysteresis, low: 1, high: 2, connectivity: 4}", "connectivity"),
    "label of floats": (HEAD + "- {id: a, op: gaussian, sigma: 1}\n- {id: b, op: label}", "put a threshold"),
    "regions of a mask": (
        HEAD + "- {id: a, op: threshold, above: 1}\n- {id: b, op: regions}",
        "put a label or split step",
    ),
    "reference to nothing": (HEAD + '- {id: a, op: threshold, above: "${levels.otsu}"}', "no earlier step"),
    "reference to another value": (
        HEAD + '- {id: l, op: auto_threshold}\n- {id: a, op: threshold, above: "${l.triangle}"}',
        "it gives otsu",
    ),
    "unknown method": (HEAD + "- {id: l, op: auto_threshold, method: ostu}", "unknown method"),
    "another version": ("version: 2\nsteps: []", "expected `version: 1`"),
    "no steps": ("version: 1\nsteps: []", "list of steps"),
    "no YAML": ("version: [1\nsteps: }", "not valid YAML"),
    "alias bomb": (BOMB, "aliases"),
    "code in YAML": ("!!python/object/apply:os.mkdir [canary]", "not valid YAML"),
    "a list": ("[1, 2]", "expected the keys"),
    "binary": ("\x00\x01", "YAML"),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_bad_pipelines(bigseg: Bigseg, volume: Path, tmp_path: Path, name: str) -> None:
    """A pipeline that cannot be is refused as wrong usage before anything is made."""
    text, message = PIPELINES[name]
    Path("bad.yaml").write_text(text)
    for command in (("run", "bad.yaml", "-i", volume, "-o", "out"), ("plan", "bad.yaml", "-i", volume)):
        answer = bigseg(*command, "--workers", 0)
        assert answer.code == 2, answer.err
        assert message in answer.err
        assert answer.err.startswith("bigseg: ")
        assert "Traceback" not in answer.err
        assert answer.out == ""
    assert [item.name for item in tmp_path.iterdir()] == ["bad.yaml"]


Case = tuple[Callable[[Path], tuple[object, ...]], int, str]


def _run(volume: object, *more: object, out: str = "out") -> tuple[object, ...]:
    return ("run", "pipeline.yaml", "-i", volume, "-o", out, "--workers", 0, *more)


def _saved(name: str, array: np.ndarray, **options: object) -> str:
    np.save(name, array, **options)  # type: ignore[arg-type]
    return name


def _text(name: str) -> str:
    Path(name).write_text("not a volume")
    return name


def _holes(volume: Path) -> str:
    shutil.copytree(volume, "holes.zarr")
    Path("holes.zarr/c/0/0/1").unlink()
    return "holes.zarr"


def _folder(name: str) -> str:
    Path(name).mkdir()
    Path(name, "thesis.txt").write_text("years of work")
    return name


class _Canary:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.mkdir, (Path("canary"),)  # type: ignore[return-value]


CASES: dict[str, Case] = {
    "volume that is not there": (lambda v: _run("nowhere.zarr"), 3, "nowhere.zarr"),
    "text as volume": (lambda v: _run(_text("a.txt")), 3, "supported are"),
    "text as TIFF": (lambda v: _run(_text("a.tif")), 3, "TIFF"),
    "empty file": (lambda v: _run((Path("a.npy").touch(), "a.npy")[1]), 3, "0 bytes"),
    "one axis": (lambda v: _run(_saved("a.npy", np.zeros(9))), 3, "axes"),
    "complex voxels": (lambda v: _run(_saved("a.npy", np.zeros((4, 4, 4), complex))), 3, "complex"),
    "pickle": (lambda v: _run(_saved("a.npy", np.array([_Canary()], object), allow_pickle=True)), 3, "a.npy"),
    "missing chunks": (lambda v: _run(_holes(v)), 3, "--missing=fill"),
    "level that is not there": (lambda v: _run(v, "--level", 3), 2, "level"),
    "two shapes": (
        lambda v: _run(
            f"input={v}", "-i", f"b={_saved('b.npy', np.zeros((4, 4, 4), np.uint8))}", "--set", "regions.intensity=b"
        ),
        3,
        "same shape",
    ),
    "input given twice": (lambda v: _run(v, "-i", v), 2, "given twice"),
    "foreign folder as output": (lambda v: _run(v, out=_folder("work")), 5, "thesis.txt"),
    "file as output": (lambda v: _run(v, out=_text("a.txt")), 5, "is a file"),
    "volume of a name that is too long": (lambda v: _run("n" * 300), 6, "cannot look at"),
    "output of a name that is too long": (lambda v: _run(v, out="n" * 300), 6, "cannot look at"),
    "pipeline of a name that is too long": (lambda v: ("run", "n" * 300, "-i", v, "-o", "out"), 6, "cannot look at"),
    "image of a name that is too long": (lambda v: ("ingest", v, "n" * 300), 6, "cannot look at"),
    "the input as output": (lambda v: _run(v, out=str(v)), 5, "no run.json"),
    "output within the input": (lambda v: _run(v, out=f"{v}/out"), 5, "outside of it"),
    "memory that is too small": (lambda v: _run(v, "--memory", "1MiB", "--block", 64), 4, "stage "),
    "block of words": (lambda v: _run(v, "--block", "big"), 2, "64,256,256"),
    "block of zero": (lambda v: _run(v, "--block", "0"), 2, "1 or more"),
    "block of two axes": (lambda v: _run(v, "--block", "8,8"), 2, "1 or 3 sizes"),
    "walltime of words": (lambda v: _run(v, "--walltime", "soon"), 2, "HH:MM:SS"),
    "walltime that is over": (lambda v: _run(v, "--walltime", "0:30"), 2, "30 s of walltime are left, 45 are needed"),
    "memory of words": (lambda v: _run(v, "--memory", "lots"), 2, "2GiB"),
    "missing of words": (lambda v: _run(v, "--missing", "zeros"), 2, "error or fill"),
    "negative workers": (lambda v: ("plan", "pipeline.yaml", "-i", v, "--workers", -1), 2, "--workers"),
    "set without value": (lambda v: _run(v, "--set", "dark.low"), 2, "voids.low=60"),
    "set of an unknown step": (lambda v: _run(v, "--set", "drak.low=3"), 2, "did you mean 'dark'"),
    "set of an unknown parameter": (lambda v: _run(v, "--set", "dark.lwo=3"), 2, "did you mean 'low'"),
    "set to an operation that is a list": (lambda v: _run(v, "--set", "dark.op=[1]"), 2, "name of an operation"),
    "set to a word": (lambda v: _run(v, "--set", "dark.low=dim"), 2, "low"),
    "two clusters": (lambda v: (*_run(v)[:-2], "--scheduler", "tcp://a:1", "--scheduler-file", "f"), 2, "one of them"),
    "workers and a cluster": (lambda v: _run(v, "--scheduler", "tcp://a:1"), 2, "one of them"),
    "pipeline that is not there": (lambda v: ("run", "viods", "-i", v, "-o", "out"), 2, "did you mean 'voids'"),
    "folder as pipeline": (lambda v: ("run", _folder("work"), "-i", v, "-o", "out"), 2, "cannot read"),
    "unknown command": (lambda v: ("rum",), 2, "rum"),
    "unknown option": (lambda v: _run(v, "--blokc", 3), 2, "--blokc"),
    "no volume": (lambda v: ("run", "pipeline.yaml", "-o", "out"), 2, "--input"),
    "unknown operation": (lambda v: ("ops", "gaussain"), 2, "did you mean 'gaussian'"),
    "status of nothing": (lambda v: ("status", "out"), 5, "no run"),
    "report of nothing": (lambda v: ("report", "out"), 5, "no run"),
    "plane outside": (lambda v: ("preview", "pipeline.yaml", "-i", v, "--z", 20), 2, "from 0 to 19"),
    "info of nothing": (lambda v: ("info", "nowhere"), 3, "nowhere"),
    "ingest onto a folder": (lambda v: ("ingest", v, _folder("work")), 5, "give another name"),
    "ingest onto a folder with --restart": (lambda v: ("ingest", v, _folder("work"), "--restart"), 5, "another name"),
    "ingest of nothing": (lambda v: ("ingest", "nowhere.tif", "out"), 3, "nowhere.tif"),
    "picture in no folder": (lambda v: ("preview", "pipeline.yaml", "-i", v, "-o", "no/a.png"), 6, "no/a.png"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_arguments(bigseg: Bigseg, pipeline: Path, volume: Path, tmp_path: Path, name: str) -> None:
    """What cannot be done is refused with its code and a message that says what to do; no output is left."""
    arguments, code, message = CASES[name]
    command = arguments(volume)
    before = sorted(str(path) for path in tmp_path.rglob("*"))  # the case's own files are there by now
    answer = bigseg(*command)
    assert answer.code == code, answer.err
    assert message in answer.err
    assert "Traceback" not in answer.err
    assert answer.err.startswith("bigseg: ")
    assert answer.out == ""
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


OVERWRITTEN: dict[str, tuple[object, ...]] = {
    "picture over the scan": ("preview", "pipeline.yaml", "-i", "scan.png", "-o", "scan.png"),
    "picture over a named scan": ("preview", "pipeline.yaml", "-i", "xray=scan.png", "-o", "./scan.png"),
    "picture over the pipeline": ("preview", "pipeline.yaml", "-i", "scan.npy", "-o", "pipeline.yaml"),
    "picture among the slices": ("preview", "pipeline.yaml", "-i", "slices", "-o", "slices/look.png"),
    "picture over a slice": ("preview", "pipeline.yaml", "-i", "slices/*.png", "-o", "slices/1.png"),
    "picture through a link": ("threshold", "scan.npy", "--picture", "link.png"),
    "picture through a hard link": ("threshold", "scan.npy", "--picture", "hard.png"),
    "picture over the volume": ("threshold", "scan.npy", "--picture", "scan.npy"),
    "model over the labels": ("train", "-i", "scan.npy", "--labels", "painted.npy", "-o", "painted.npy"),
    "model over the scan": ("train", "-i", "scan.npy", "--labels", "painted.npy", "-o", "scan.npy"),
    "table over the points": ("train", "-i", "scan.npy", "--points", "points.csv", "--table", "points.csv"),
    "model over the training file": ("train", "training.yaml", "-o", "training.yaml"),
    "model over a training file's labels": ("train", "training.yaml", "-o", "painted.npy"),
    "figures over the truth": ("evaluate", "scan.npy", "painted.npy", "--picture", "painted.npy"),
    "figures over the result": ("evaluate", "scan.png", "painted.npy", "--picture", "scan.png"),
    "figures over the mask": ("evaluate", "painted.npy", "painted.npy", "--mask", "scan.png", "--picture", "scan.png"),
    "errors among the slices": ("evaluate", "slices", "painted.npy", "--errors", "slices/errors.ome.zarr"),
}


@pytest.mark.parametrize("name", OVERWRITTEN)
def test_no_input_is_overwritten(bigseg: Bigseg, pipeline: Path, tmp_path: Path, name: str) -> None:
    """A file that the command reads is never what it writes, whatever name leads there: every file stays as it is."""
    from PIL import Image

    np.save("scan.npy", np.arange(6 * 20 * 20, dtype=np.uint8).reshape(6, 20, 20))
    np.save("painted.npy", np.ones((6, 20, 20), np.uint8))
    Path("points.csv").write_text("z,y,x,class\n1,2,3,1\n1,5,6,2\n")
    Path("training.yaml").write_text(
        "version: 1\nvolumes: [{image: scan.npy, labels: painted.npy}]\ntrain: {features: {gaussian: 1}}\n"
    )
    Path("slices").mkdir()
    for file in ("scan.png", "slices/1.png", "slices/2.png"):
        Image.fromarray(np.arange(400, dtype=np.uint8).reshape(20, 20)).save(file)
    Path("link.png").symlink_to("scan.npy")
    Path("hard.png").hardlink_to("scan.npy")
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    answer = bigseg(*OVERWRITTEN[name])
    assert answer.code == 2, answer.err
    assert "which this command reads: give another name" in answer.err
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()} == before


def test_a_picture_is_a_png(bigseg: Bigseg, pipeline: Path, volume: Path) -> None:
    """A picture's name says what it is; one's own earlier picture may be replaced."""
    commands = (
        ("preview", pipeline, "-i", volume, "-o"),
        ("threshold", volume, "--workers", 0, "--picture"),
        ("evaluate", volume, volume, "--workers", 0, "--picture"),
    )
    for command in commands:
        for name in ("look.jpg", "look.ome.zarr", "look"):
            answer = bigseg(*command, name)
            assert answer.code == 2
            assert f"{name}: expected a name that ends in .png" in answer.err
            assert not Path(name).exists()
    for _ in range(2):
        assert bigseg(*commands[0], "look.PNG").code == 0


def test_over_memory_names_the_step_and_a_block_that_fits(bigseg: Bigseg, pipeline: Path) -> None:
    """A plan over the given memory names the stage, the sizes, and a block that then really fits."""
    import re

    np.save("scan.npy", np.zeros((256, 256, 256), np.uint8))
    plan = ("plan", pipeline, "-i", "scan.npy", "--workers", 1)
    plans = [bigseg(*plan, "--block", side, "--json").json for side in (256, 64)]
    large, small = (found["memory_needed"] for found in plans)
    worst = max(plans[0]["stages"], key=lambda stage: stage["memory"])
    command = (*plan, "--memory", str((large + small) // 2))
    answer = bigseg(*command, "--block", 256)
    assert answer.code == 4
    assert f"stage {worst['name']} ({worst['what']}) needs {-(-large // 2**20)} MiB" in answer.err
    assert "256x256x256" in answer.err
    found = re.search(r"--block (\d+) fits", answer.err)
    assert found, answer.err
    assert bigseg(*command, "--block", found[1]).code == 0


def test_changed_pipeline_is_refused_with_the_difference(bigseg: Bigseg, pipeline: Path, volume: Path) -> None:
    """Another pipeline in the same folder is refused, naming the parameter, what it was and what it is."""
    assert bigseg("run", pipeline, "-i", volume, "-o", "out", "--workers", 0).code == 0
    answer = bigseg("run", pipeline, "-i", volume, "-o", "out", "--workers", 0, "--set", "smooth.sigma=2")
    assert answer.code == 5
    assert "pipeline.steps.smooth.sigma: was 1.0, is 2.0" in answer.err
    assert "--restart" in answer.err


def test_changed_spacing_is_refused(bigseg: Bigseg, pipeline: Path, volume: Path) -> None:
    """Another spacing changes areas and centroids: it is another run."""
    assert bigseg("run", pipeline, "-i", volume, "-o", "out", "--workers", 0).code == 0
    answer = bigseg("run", pipeline, "-i", volume, "-o", "out", "--workers", 0, "--spacing", "2 um")
    assert answer.code == 5
    assert "spacing" in answer.err


def test_incomplete_volume_is_refused(bigseg: Bigseg, pipeline: Path, volume: Path, tmp_path: Path) -> None:
    """An image that a run is still to finish is not read as if it were whole."""
    from bigseg.pipeline.pipeline import Pipeline

    class Kill(BaseException):
        pass

    def observe(summary: object, done: int, units: int) -> None:
        if done == 1:
            raise Kill

    Path("simple.yaml").write_text(HEAD + "- {id: m, op: threshold, above: 1}")
    with pytest.raises(Kill):
        Pipeline.load("simple.yaml").run(volume, tmp_path / "out", workers=0, block=(16,), observe=observe)
    for command in (("info", "out/m.ome.zarr"), ("run", pipeline, "-i", "out/m.ome.zarr", "-o", "other")):
        answer = bigseg(*command)
        assert answer.code == 5
        assert "incomplete" in answer.err
        assert "--allow-incomplete" not in answer.err  # only report has it
    assert not Path("other").exists()


@pytest.mark.parametrize("name", ["scan.tif", "plane.tif", "scan.npy", "plane.png", "slices", "pngs"])
def test_a_file_that_may_not_be_read(bigseg: Bigseg, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What the system does not let us read is told in its words: nobody is sent to copy a whole file again."""
    import builtins
    import errno
    import os

    import tifffile
    from PIL import Image

    array = np.zeros((4, 20, 30), np.uint8)
    np.save("scan.npy", array)
    tifffile.imwrite("scan.tif", array)
    tifffile.imwrite("plane.tif", array[0])
    Image.fromarray(array[0]).save("plane.png")
    for folder, ending in (("slices", "tif"), ("pngs", "png")):
        Path(folder).mkdir()
        for k in (1, 2):
            shutil.copy(f"plane.{ending}", f"{folder}/{k}.{ending}")
    real = builtins.open

    def denied(file: object, *more: object, **options: object) -> object:
        if name in str(file):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
        return real(file, *more, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(builtins, "open", denied)
    answer = bigseg("info", name)
    assert answer.code == 6, answer.err
    assert "Permission denied; check the disk and the permissions" in answer.err
    assert "copy it again" not in answer.err


def test_debug_shows_the_traceback(bigseg: Bigseg) -> None:
    """--debug shows where an error arose, and still ends with the message and the code."""
    answer = bigseg("--debug", "info", "nowhere")
    assert answer.code == 3
    assert "Traceback" in answer.err
    assert answer.err.splitlines()[-1].startswith("bigseg: ")


def test_a_mistake_of_ours_is_one_line(bigseg: Bigseg, monkeypatch: pytest.MonkeyPatch, volume: Path) -> None:
    """What nobody foresaw leaves with 1 and one line that says how to see more."""
    import bigseg.cli.options as options

    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(options, "opened", broken)
    answer = bigseg("info", volume)
    assert answer.code == 1
    assert "ZeroDivisionError: oh" in answer.err
    assert "--debug" in answer.err
    assert answer.err.count("\n") == 1


def test_pipeline_text_is_valid() -> None:
    """The pipeline that these tests spoil is itself accepted."""
    from bigseg.pipeline.steps import load_yaml, parse

    assert len(parse(load_yaml(PIPELINE, "here"))[0]) == 5


def test_the_end_of_the_batch_job_is_the_walltime(
    bigseg: Bigseg, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --walltime what Slurm says of its job counts; what is no time is as if nobody had said."""
    Path("pipeline.yaml").write_text(PIPELINE)
    monkeypatch.setenv("SLURM_JOB_END_TIME", f"{time.time() + 20:.0f}")
    answer = bigseg(*_run(volume))
    assert answer.code == 2
    assert "s of walltime are left, 45 are needed" in answer.err
    assert not Path("out").exists()
    monkeypatch.setenv("SLURM_JOB_END_TIME", "tomorrow")
    assert bigseg(*_run(volume)).code == 0
