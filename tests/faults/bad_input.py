"""Command lines that must be refused, over every command: what stands in the folder, what is asked, what is said (R14).

Each case is a function from the folder that it prepares to a command line, with the exit code and a word of the
message. Where something could run code or write outside of its place, that would leave a file named ``canary``.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

PIPELINE = "version: 1\nsteps:\n  - {id: m, op: threshold, above: 100}\n  - {id: o, op: label}\nsave: [m, o]\n"
GIVEN = ("v.zarr", "p.yaml")
"""What stands in every case's folder: a volume of 20 x 30 x 40 voxels, and that pipeline."""


class Case(NamedTuple):
    """A command line that is refused."""

    make: Callable[[], tuple[object, ...]]
    """Prepares the current folder and gives the arguments."""
    code: int
    says: str


class _Canary:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("canary",)


def _run(*more: object, pipeline: str = "p.yaml", volume: str = "v.zarr", out: str = "out") -> tuple[object, ...]:
    return ("run", pipeline, "-i", volume, "-o", out, "--workers", 0, *more)


def _pipe(name: str) -> str:
    os.mkfifo(name)
    return name


def _with(volume: str) -> tuple[object, ...]:
    return _run(volume=volume)


def _step(text: str) -> tuple[object, ...]:
    """A run of one step."""
    Path("bad.yaml").write_text(f"version: 1\nsteps:\n  - {{id: s, {text}}}\n")
    return _run(pipeline="bad.yaml")


def _text(text: str) -> tuple[object, ...]:
    """A run of a pipeline file."""
    Path("bad.yaml").write_text(text)
    return _run(pipeline="bad.yaml")


def _model(members: dict[str, bytes]) -> tuple[object, ...]:
    """A run with a forged model."""
    with zipfile.ZipFile("m.npz", "w") as file:
        head = {"format": "bigseg model", "version": 1, "members": {name: [1, "x"] for name in members}}
        for name, data in {"model.json": json.dumps(head).encode(), **members}.items():
            file.writestr(name, data)
    return _step("op: classify, model: m.npz")


def _objects() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([_Canary()], object), allow_pickle=True)
    return buffer.getvalue()


def _file(name: str, data: bytes | str) -> str:
    Path(name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return name


def _link(name: str, to: str) -> str:
    Path(name).symlink_to(to)
    return name


def _zarr(**changed: object) -> str:
    """The volume's own metadata with something changed, and no chunk."""
    Path("bad.zarr").mkdir()
    document = json.loads(Path("v.zarr/zarr.json").read_text())
    return str(Path(_file("bad.zarr/zarr.json", json.dumps(document | changed))).parent)


def _ome(path: str) -> str:
    """An image whose finest level is said to lie at a path."""
    scale = [{"type": "scale", "scale": [1, 1, 1]}]
    axes = [{"name": name, "type": "space"} for name in "zyx"]
    image = {"axes": axes, "datasets": [{"path": path, "coordinateTransformations": scale}]}
    Path("bad.ome.zarr").mkdir()
    group = {"node_type": "group", "attributes": {"ome": {"version": "0.5", "multiscales": [image]}}}
    return str(Path(_file("bad.ome.zarr/zarr.json", json.dumps({"zarr_format": 3, **group}))).parent)


def _record(**record: object) -> str:
    """A folder with a forged run.json."""
    Path("forged").mkdir()
    return str(Path(_file("forged/run.json", json.dumps(record))).parent)


def _train(*more: object) -> tuple[object, ...]:
    given = ("train", "-i", "v.zarr", "-o", "new.npz")
    return (*given, *more) if "--features" in more else (*given, "--features", "{intensity: true}", *more)


def _painted(*more: object) -> tuple[object, ...]:
    return _train("--labels", "v.zarr", *more)


def _training(text: str) -> tuple[object, ...]:
    return ("train", _file("t.yaml", f"version: 1\n{text}\n"), "-o", "new.npz")


def _phantom(*more: object) -> tuple[object, ...]:
    return ("phantom", "voids", "new.ome.zarr", "--shape", 64, "--workers", 0, *more)


CODE = '__import__(\\"os\\").mkdir(\\"canary\\")'
NINES = "9" * 400
PICKLE = pickle.dumps(_Canary())
HEADER = "{'descr': '<f8', 'fortran_order': False, 'shape': (__import__('os').mkdir('canary'),)}"

PIPELINES: dict[str, Case] = {
    "alias bomb": Case(lambda: _text("a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]"), 2, "aliases"),
    "a megabyte": Case(lambda: _text("#" * (1 << 20)), 2, "at most 256 KiB"),
    "a device": Case(lambda: _run(pipeline="/dev/zero"), 2, "at most 256 KiB"),
    "nested 100,000 deep": Case(lambda: _text("[" * 100_000), 2, "at most 30 lists"),
    "python object": Case(lambda: _text("!!python/object/apply:os.mkdir [canary]"), 2, "not valid YAML"),
    "python object in a step": Case(
        lambda: _step("op: threshold, above: !!python/object/apply:os.mkdir [canary]"), 2, "YAML"
    ),
    "long names": Case(lambda: _text("version: 1\n" + "x" * 900 + ": 1"), 2, "unknown key"),
    "thousands of mistakes": Case(lambda: _step(f"op: multi_threshold, values: [{'x, ' * 9000}]"), 2, "values"),
    "id that escapes": Case(lambda: _run("--set", "m.id=../../canary"), 2, "expected a letter"),
    "save that escapes": Case(lambda: _text(PIPELINE.replace("[m, o]", "[../canary]")), 2, "unknown step"),
    "a link to itself": Case(lambda: _run(pipeline=_link("loop.yaml", "loop.yaml")), 2, "no pipeline file"),
    "NaN": Case(lambda: _step("op: gaussian, sigma: .nan"), 2, "finite"),
    "infinity": Case(lambda: _step("op: threshold, above: .inf"), 2, "finite"),
    "negative size": Case(lambda: _step("op: median, size: -3"), 2, "odd widths"),
    "size of 10^23": Case(lambda: _step(f"op: median, size: {'9' * 23}"), 2, "footprint"),
    "sigma of 10^300": Case(lambda: _step("op: gaussian, sigma: 1.0e+300"), 2, "at most 262144 voxels"),
    "code as expression": Case(lambda: _step(f'op: combine, expression: "{CODE}"'), 2, "unexpected character"),
    "code that is not allowed": Case(lambda: _step('op: map_block, function: "os:mkdir"'), 2, "--allow-code"),
    "code as function": Case(lambda: _step(f'op: map_block, function: "{CODE}"'), 2, "module:name"),
    "python object by --set": Case(
        lambda: _run("--set", "m.above=!!python/object/apply:os.mkdir [canary]"), 2, "not valid YAML"
    ),
    "bomb by --set": Case(lambda: _run("--set", "m.above=&a [*a]"), 2, "aliases"),
}
MODELS: dict[str, Case] = {
    "pickle as model": Case(lambda: (_file("m.npz", PICKLE), *_step("op: classify, model: m.npz"))[1:], 3, "model"),
    "arrays of objects": Case(lambda: _model({"feature.npy": _objects()}), 3, "model"),
    "pickle in a model": Case(lambda: _model({"estimator.pkl": PICKLE}), 3, "model"),
    "members that escape": Case(lambda: _model({"../canary": b"x"}), 3, "model"),
    "model that is a link to a pickle": Case(
        lambda: (_file("p.pkl", PICKLE), _link("m.npz", "p.pkl"), *_step("op: classify, model: m.npz"))[2:], 3, "model"
    ),
    "model that is a link to itself": Case(
        lambda: (_link("m.npz", "m.npz"), *_step("op: classify, model: m.npz"))[1:], 3, "cannot read the model"
    ),
    "model that is a device": Case(lambda: _step("op: classify, model: /dev/zero"), 3, "device"),
    "model that is not there": Case(lambda: _step("op: classify, model: ../../none.npz"), 3, "cannot read the model"),
}
VOLUMES: dict[str, Case] = {
    "no volume": Case(lambda: _with("none.zarr"), 3, "none.zarr"),
    "volume that is a device": Case(lambda: _with("/dev/zero"), 3, "/dev/zero"),
    "volume that is a link to itself": Case(lambda: _with(_link("loop.zarr", "loop.zarr")), 3, "loop.zarr"),
    "volume of another machine": Case(lambda: _with("http://127.0.0.1:9/v.zarr"), 3, "copy or mount it"),
    "level that escapes": Case(lambda: ("info", _ome("../v.zarr")), 3, "points outside"),
    "level that escapes further on": Case(lambda: ("info", _ome("a/../../v.zarr")), 3, "points outside"),
    "negative shape": Case(lambda: ("info", _zarr(shape=[-20, 30, 40])), 3, "1 or more"),
    "shape of 10^54": Case(lambda: ("info", _zarr(shape=[10**18] * 3)), 3, "2^62"),
    "chunks of nothing": Case(
        lambda: ("info", _zarr(chunk_grid={"name": "regular", "configuration": {"chunk_shape": [0, 0, 0]}})), 3, "1 or"
    ),
    "voxels of text": Case(lambda: ("info", _zarr(data_type="string")), 3, "string"),
    "unknown codec": Case(lambda: ("info", _zarr(codecs=[{"name": "pickle", "configuration": {}}])), 3, "'pickle'"),
    "five axes": Case(lambda: ("info", _zarr(shape=[2, 2, 20, 30, 40])), 2, "--channel"),
    "missing chunks": Case(lambda: (*_with(_zarr()),), 3, "--missing=fill"),
    "pickle as array": Case(lambda: ("info", _file("v.npy", _objects())), 3, "v.npy"),
    "code in an array's header": Case(
        lambda: ("info", _file("v.npy", b"\x93NUMPY\x01\x00v\x00" + HEADER.encode().ljust(117) + b"\n")), 3, "v.npy"
    ),
    "no image behind the name": Case(lambda: ("threshold", _file("a.png", "no")), 3, "a.png"),
}
OPTIONS: dict[str, Case] = {
    "block of 10^20": Case(lambda: (*_run("--block", "1" + "0" * 20, "--memory", "1MiB"),), 4, "needs"),
    "blocks without number": Case(lambda: _run("--resample", "0.000001"), 2, "blocks"),
    "negative block": Case(lambda: _run("--block", -8), 2, "--block"),
    "memory that is no number": Case(lambda: _run("--memory", "nan"), 2, "2GiB"),
    "memory of 10^400": Case(lambda: _run("--memory", NINES), 2, "2GiB"),
    "workers without number": Case(lambda: ("plan", "p.yaml", "-i", "v.zarr", "--workers", 10**12), 2, "--workers"),
    "region outside": Case(lambda: _run("--roi", "100:200,:,:"), 2, "0:20"),
    "region of 10^5000": Case(lambda: _run("--roi", f"0:{'9' * 5000},:,:"), 2, "roi"),
    "voxel size of nothing": Case(lambda: _run("--spacing", "0 um"), 2, "above 0"),
    "voxel size that is no number": Case(lambda: _run("--spacing", "nan um"), 2, "spacing"),
    "resampled to a negative size": Case(lambda: _run("--resample", "-5 um"), 2, "spacing"),
    "cluster without TLS": Case(lambda: (*_run()[:-2], "--scheduler", "tcp://192.0.2.1:8786"), 2, "--insecure"),
    "cluster file without TLS": Case(
        lambda: (*_run()[:-2], "--scheduler-file", _file("s.json", '{"address": "tcp://192.0.2.1:8786"}')), 2, "TLS"
    ),
    "cluster file that is a device": Case(lambda: (*_run()[:-2], "--scheduler-file", "/dev/zero"), 2, "regular file"),
    "cluster file that is a pipe": Case(lambda: (*_run()[:-2], "--scheduler-file", _pipe("s.json")), 2, "regular file"),
    "cluster file of megabytes": Case(
        lambda: (*_run()[:-2], "--scheduler-file", _file("s.json", '{"address": "' + "x" * (2 << 20))), 2, "longer"
    ),
    "cluster file of brackets": Case(
        lambda: (*_run()[:-2], "--scheduler-file", _file("s.json", "[" * 500_000)), 2, "cannot be read"
    ),
    "cluster file with another address": Case(
        lambda: (*_run()[:-2], "--scheduler-file", _file("s.json", '{"address": ["tcp://127.0.0.1:1"]}')), 2, "no text"
    ),
}
OUTPUTS: dict[str, Case] = {
    "foreign folder": Case(lambda: (Path("out").mkdir(), _file("out/thesis.txt", "x"), *_run())[2:], 5, "thesis.txt"),
    "folder with a forged record": Case(lambda: _run(out=_record(status="complete", saved=["../../x"])), 5, "record"),
    "finished, says a record alone": Case(lambda: _run(out=_record(status="complete")), 5, "fingerprint.json is gone"),
    "output below a file": Case(lambda: _run(out="p.yaml/out"), 5, "p.yaml"),
    "output that cannot be written": Case(lambda: _run(out="/sys/bigseg"), 6, "/sys/bigseg"),
    "output within the input": Case(lambda: _run(out="v.zarr/out"), 5, "outside of it"),
    "name that is too long": Case(lambda: _run(out="x" * 300), 6, "name"),
    "name that cannot be": Case(lambda: _run(out="a\0b"), 2, "null byte"),
}
COMMANDS: dict[str, Case] = {
    "demo onto a file": Case(lambda: ("demo", "p.yaml", "--workers", 0), 5, "p.yaml"),
    "demo of fewer than no workers": Case(lambda: ("demo", "d", "--workers", -1), 2, "--workers"),
    "ingest into the input": Case(lambda: ("ingest", "v.zarr", "v.zarr/x.zarr", "--workers", 0), 5, "outside of it"),
    "ingest onto the input": Case(lambda: ("ingest", "v.zarr", "v.zarr", "--workers", 0), 5, "another name"),
    "preview of no planes": Case(lambda: ("preview", "p.yaml", "-i", "v.zarr", "--planes", 0), 2, "--planes"),
    "preview that cannot be written": Case(
        lambda: ("preview", "p.yaml", "-i", "v.zarr", "-o", "/sys/a.png"), 6, "Permission denied"
    ),
    "report on a forged record": Case(lambda: ("report", _record(status="complete", stages=[1])), 5, "record"),
    "report on nothing": Case(lambda: ("report", "none"), 5, "no run"),
    "phantom of NaN": Case(lambda: _phantom("--blur", "nan"), 2, "finite"),
    "phantom whose truth escapes": Case(lambda: _phantom("--truth", "../../canary"), 2, "no truth"),
    "threshold by a path": Case(lambda: ("threshold", "v.zarr", "--method", "../otsu"), 2, "unknown method"),
    "threshold of 99 classes": Case(lambda: ("threshold", "v.zarr", "--classes", 99), 2, "--classes"),
    "train with NaN": Case(lambda: _painted("--features", "{gaussian: .nan}"), 2, "finite"),
    "train with a bomb": Case(lambda: _painted("--features", "&a [*a]"), 2, "aliases"),
    "train what is not listed": Case(lambda: _painted("--estimator", "os.system"), 2, "unknown estimator"),
    "train on points outside": Case(
        lambda: _train("--points", _file("t.csv", "z,y,x,class\n1,2,999,a\n")), 3, "expected 0 to 39"
    ),
    "train on points that are no table": Case(lambda: _train("--points", _file("t.parquet", b"PAR1")), 3, "t.parquet"),
    "train on points of a device": Case(lambda: _train("--points", "/dev/zero"), 3, "/dev/zero"),
    "training file with unknown keys": Case(lambda: _training("volumes: []\ntrain: {}\nrun: x"), 2, "run"),
    "training file whose volume is not there": Case(
        lambda: _training("volumes: [{image: ../none.zarr, labels: v.zarr}]\ntrain: {features: {intensity: true}}"),
        3,
        "none.zarr",
    ),
    "evaluate at NaN": Case(
        lambda: ("evaluate", "v.zarr", "v.zarr", "--kind", "scores", "--threshold", "nan"), 2, "finite"
    ),
    "evaluate without truth": Case(lambda: ("evaluate", "v.zarr", "none.zarr"), 3, "none.zarr"),
    "tune nothing": Case(lambda: ("tune", "none", "--set", "m.above=1"), 5, "no run"),
    "tune a forged record": Case(lambda: ("tune", _record(status="complete", pipeline=5)), 5, "record"),
    "info of nothing": Case(lambda: ("info", "none.zarr"), 3, "none.zarr"),
    "plan of nothing": Case(lambda: ("plan", "p.yaml", "-i", "none.zarr"), 3, "none.zarr"),
    "status of a forged record": Case(lambda: ("status", _record(status=7)), 5, "record"),
    "status of a file": Case(lambda: ("status", "p.yaml"), 5, "p.yaml"),
    "an operation by a path": Case(lambda: ("ops", "../canary"), 2, "unknown operation"),
    "verify nothing": Case(lambda: ("verify", "none.zarr"), 3, "none.zarr"),
    "verify a forged record": Case(lambda: ("verify", _record(status="complete", block=[0])), 5, "record"),
    "keys in a folder that is there": Case(lambda: ("cluster", "cert", "v.zarr"), 5, "never replaced"),
    "keys below a file": Case(lambda: ("cluster", "cert", "p.yaml/keys"), 6, "p.yaml"),
    "an unknown command": Case(lambda: ("rum",), 2, "rum"),
}
CASES = PIPELINES | MODELS | VOLUMES | OPTIONS | OUTPUTS | COMMANDS
