"""`bigseg phantom`, and phantoms as inputs of the other commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bigseg as package
from bigseg.storage.sources.phantom_kinds import KINDS
from tests.cli.conftest import Bigseg

TEXT = "phantom:voids,shape=40x48x56,seed=1,blur=1,noise=6,size=16"


def test_phantom_makes_the_image_and_its_truths(bigseg: Bigseg, tmp_path: Path) -> None:
    """Image, mask and instances are stored as OME-Zarr, each what the phantom in Python is."""
    answer = bigseg(
        *("phantom", "voids", "v.ome.zarr", "--shape", "40x48x56", "--seed", 1, "--blur", 1, "--noise", 6),
        *("--set", "size=16", "--truth", "mask", "--truth", "instances", "--spacing", "2 um", "--workers", 0),
    )
    assert answer.code == 0, answer.err
    assert TEXT.split(",size")[0] in answer.out
    wanted = package.phantom("voids", (40, 48, 56), seed=1, blur=1, noise=6, size=16)
    for name, array in (("v", wanted.image), ("v-mask", wanted.mask), ("v-instances", wanted.instances)):
        found = package.open_volume(tmp_path / f"{name}.ome.zarr")
        np.testing.assert_array_equal(found.values, array.values)
        assert found.attrs["unit"] == "micrometer"
    assert package.open_volume(tmp_path / "v-instances.ome.zarr").attrs["kind"] == "labels"
    again = bigseg("phantom", "voids", "v.ome.zarr", "--shape", "40x48x56", "--seed", 2, "--workers", 0)
    assert again.code == 5
    assert "made from something else" in again.err


def test_phantom_as_json(bigseg: Bigseg) -> None:
    """--json gives the facts of every volume made, and the text that stands for it as an input."""
    facts = bigseg("phantom", "random", "r.ome.zarr", "--shape", 20, "--truth", "mask", "--workers", 0, "--json").json
    assert [item["kind"] for item in facts] == ["image", "mask"]
    assert bigseg("info", facts[1]["phantom"], "--json").json["dtype"] == "bool"


@pytest.mark.parametrize("kind", KINDS)
def test_phantom_lists_the_parameters_of_a_kind(bigseg: Bigseg, kind: str) -> None:
    """Without a target every parameter of the kind is listed with its default and meaning."""
    page = bigseg("phantom", kind).out
    for name, field in KINDS[kind].model_fields.items():
        assert f"{name} " in page
        assert field.description in page
    assert f"phantom:{kind}," in page
    assert bigseg("phantom", kind, "--json").json["properties"].keys() == KINDS[kind].model_fields.keys()


def test_phantom_refuses_what_cannot_be(bigseg: Bigseg) -> None:
    """Unknown kinds and parameters get one line with the nearest name, and nothing is made."""
    for arguments, said in (
        (("phantom", "viods", "v.ome.zarr"), "did you mean 'voids'"),
        (("phantom", "viods"), "did you mean 'voids'"),
        (("phantom", "voids", "v.ome.zarr", "--set", "sise=3"), "did you mean 'size'"),
        (("phantom", "voids", "v.ome.zarr", "--set", "size"), "expected NAME=VALUE"),
        (("phantom", "voids", "v.ome.zarr", "--truth", "masks"), "no truth 'masks'"),
        (("info", "phantom:voids,shape=4,nois=1"), "did you mean 'noise'"),
    ):
        answer = bigseg(*arguments)
        assert answer.code == 2
        assert said in answer.err
        assert answer.err.count("\n") == 1
    assert not list(Path.cwd().glob("v*"))


def test_every_command_reads_phantoms(bigseg: Bigseg, pipeline: Path, tmp_path: Path) -> None:
    """info, plan, preview, ingest and run take a phantom for a file, and a finished run knows it again."""
    assert bigseg("info", TEXT, "--json").json["shape"] == [40, 48, 56]
    assert "computed when it is read" in bigseg("info", TEXT).out
    assert bigseg("plan", pipeline, "-i", TEXT, "--json").json["shape"] == [40, 48, 56]
    assert bigseg("preview", pipeline, "-i", TEXT, "-o", "look.png").code == 0
    assert bigseg("ingest", TEXT, "v.ome.zarr", "--workers", 0).code == 0
    source = package.open_source(TEXT)
    np.testing.assert_array_equal(package.open_volume(tmp_path / "v.ome.zarr").values, package.open_volume(TEXT).values)
    changed = ("--set", "dark.low=70", "--workers", 0, "--block", 32)
    answers = [
        bigseg("run", pipeline, "-i", item, "-o", out, *changed) for item, out in ((TEXT, "a"), ("v.ome.zarr", "b"))
    ]
    assert [answer.code for answer in answers] == [0, 0], answers[0].err
    tables = [package.Run(tmp_path / name, {}).tables["regions"] for name in ("a", "b")]
    assert len(tables[0]) > 3
    assert tables[0].equals(tables[1])
    assert "finished already" in bigseg("run", pipeline, "-i", source.path, "-o", "a", *changed).err
    assert bigseg("run", pipeline, "-i", TEXT.replace("seed=1", "seed=2"), "-o", "a", *changed).code == 5
