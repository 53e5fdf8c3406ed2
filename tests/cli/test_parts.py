"""What is chosen of a volume on the command line: a channel, a region, another voxel size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from bigseg import open_source, open_volume
from bigseg.errors import ChangedError
from bigseg.pipeline.ingest import ingest
from tests.cli.conftest import Bigseg
from tests.volumes import store

VOXELS = np.random.default_rng(5).integers(0, 255, (3, 9, 12, 14), np.uint8)
STEPS = "version: 1\nsteps: [{id: m, op: threshold, from: %s, above: 99}]\nsave: [m]\n"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An OME-Zarr image of three channels with names."""
    root = tmp_path / "three.ome.zarr"
    store(root / "0", VOXELS, (1, 5, 6, 7))
    axes = [
        {"name": "c", "type": "channel"},
        *({"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"),
    ]
    scale = {"type": "scale", "scale": [1, 2, 0.5, 0.5]}
    ome = {
        "version": "0.5",
        "multiscales": [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": [scale]}]}],
        "omero": {"channels": [{"label": label} for label in ("DAPI", "GFP", "phase")]},
    }
    document = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}
    (root / "zarr.json").write_text(json.dumps(document))
    return root


@pytest.mark.parametrize("channel", ["1", "GFP"])
def test_by_number_and_by_name(bigseg: Bigseg, image: Path, channel: str) -> None:
    """Every command takes a channel; by name or by number it is the same run."""
    Path("p.yaml").write_text(STEPS % "input")
    answer = bigseg("run", "p.yaml", "-i", image, "-o", "out", "--channel", channel, "--workers", 0, "--json")
    assert answer.code == 0, answer.err
    assert answer.json["parts"] == {"input": {"channel": "1"}}
    np.testing.assert_array_equal(open_volume("out/m.ome.zarr").values, VOXELS[1] > 99)
    again = bigseg("run", "p.yaml", "-i", image, "-o", "out", "--channel", "1", "--workers", 0)
    assert "finished already" in again.err
    assert bigseg("plan", "p.yaml", "-i", image, "--channel", channel, "--json").json["shape"] == [9, 12, 14]
    assert bigseg("info", image, "--channel", channel, "--json").json["spacing"] == [2, 0.5, 0.5]
    assert bigseg("preview", "p.yaml", "-i", image, "--channel", channel, "-o", "a.png").code == 0
    assert bigseg("ingest", image, "one.ome.zarr", "--channel", channel, "--workers", 0).code == 0
    np.testing.assert_array_equal(open_volume("one.ome.zarr").values, VOXELS[1])


def test_another_channel_is_another_run(bigseg: Bigseg, image: Path) -> None:
    """The run on one channel is not continued on another, and says which it was."""
    Path("p.yaml").write_text(STEPS % "input")
    assert bigseg("run", "p.yaml", "-i", image, "-o", "out", "--channel", 0, "--workers", 0).code == 0
    answer = bigseg("run", "p.yaml", "-i", image, "-o", "out", "--channel", "GFP", "--workers", 0)
    assert answer.code == 5
    assert "inputs.input.channel: was '0', is '1'" in answer.err
    ingest(open_source(image, channel=2), "a.ome.zarr", workers=0)
    with pytest.raises(ChangedError, match="channel: was '2', is '1'"):
        ingest(open_source(image, channel=1), "a.ome.zarr", workers=0)


def test_each_input_has_its_own(bigseg: Bigseg, image: Path, tmp_path: Path) -> None:
    """Two channels of one image are two inputs; one without channels needs none."""
    steps = [f"{{id: {name}m, op: threshold, from: {name}, above: 99, mask: body}}" for name in ("dapi", "gfp")]
    Path("p.yaml").write_text(f"version: 1\nsteps: [{', '.join(steps)}]\nsave: [dapim, gfpm]\n")
    body = VOXELS[2] > 40
    store(tmp_path / "body.zarr", body)
    inputs = ("-i", f"dapi={image}", "-i", f"gfp={image}", "-i", "body=body.zarr")
    answer = bigseg(
        "run", "p.yaml", *inputs, "-o", "out", "--channel", "dapi=DAPI", "--channel", "gfp=1", "--workers", 0, "--json"
    )
    assert answer.code == 0, answer.err
    assert answer.json["parts"] == {"dapi": {"channel": "0"}, "gfp": {"channel": "1"}}
    for number, name in enumerate(("dapim", "gfpm")):
        np.testing.assert_array_equal(open_volume(f"out/{name}.ome.zarr").values, (VOXELS[number] > 99) & body)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "c axis of 3 (0: DAPI, 1: GFP, 2: phase)"),
        (("--channel", "RFP"), "0: DAPI, 1: GFP, 2: phase"),
        (("--channel", 3), "indices 0 to 2"),
        (("--channel", "ct=1"), "no input 'ct', only input"),
        (("--channel", 1, "--channel", 2), "given twice"),
    ],
)
def test_what_is_refused(bigseg: Bigseg, image: Path, options: tuple[object, ...], said: str) -> None:
    """No channel, or one that is not there, is refused with those that are."""
    Path("p.yaml").write_text(STEPS % "input")
    answer = bigseg("run", "p.yaml", "-i", image, "-o", "out", *options, "--workers", 0)
    assert answer.code == 2
    assert said in answer.err
    assert not Path("out").exists()


def test_two_leading_axes(bigseg: Bigseg, tmp_path: Path) -> None:
    """Where there are times and channels, one number is given for each."""
    store(tmp_path / "a.zarr", np.stack([VOXELS, 255 - VOXELS]), (1, 1, 9, 12, 14))
    answer = bigseg("info", "a.zarr", "--channel", "1,2", "--json")
    assert answer.code == 0, answer.err
    assert answer.json["shape"] == [9, 12, 14]
    assert bigseg("info", "a.zarr", "--channel", 1).code == 2
    assert "--channel 0,1 on the command line" in bigseg("info", "a.zarr").err  # as it must be typed


def test_a_plane_is_no_channel(bigseg: Bigseg, tmp_path: Path) -> None:
    """An array of three axes without names is a volume, whatever its file: --channel never takes its plane."""
    np.save("a.npy", VOXELS[0])
    tifffile.imwrite("a.tif", VOXELS[0])
    store(tmp_path / "a.zarr", VOXELS[0])
    for file in ("a.npy", "a.tif", "a.zarr"):
        answer = bigseg("info", file, "--channel", 1)
        assert answer.code == 2
        assert "has 0 leading axes to choose from; leave it out" in answer.err
        assert bigseg("info", file, "--channel", 0, "--json").json["shape"] == [9, 12, 14]  # its only one
    np.save("four.npy", VOXELS)
    assert bigseg("info", "four.npy", "--channel", 1, "--json").json["shape"] == [9, 12, 14]


def test_regions_and_voxel_sizes(bigseg: Bigseg, blobs: np.ndarray, tmp_path: Path) -> None:
    """run, plan, info, preview and ingest take --roi and --resample."""
    store(tmp_path / "a.zarr", blobs)
    Path("p.yaml").write_text("version: 1\nsteps: [{id: m, op: threshold, above: 120}]\n")
    part = ("--spacing", "1 um", "--roi", "-20um:,5:45,:", "--resample", "2 um")
    answer = bigseg("run", "p.yaml", "-i", "a.zarr", "-o", "out", *part, "--anti-alias", "--workers", 0, "--json")
    assert answer.code == 0, answer.err
    assert answer.json["volume"]["shape"] == [10, 20, 26]
    assert answer.json["volume"]["origin"] == [20.5, 5.5, 0.5]
    assert bigseg("plan", "p.yaml", "-i", "a.zarr", *part, "--json").json["shape"] == [10, 20, 26]
    facts = bigseg("info", "a.zarr", *part, "--json").json
    assert (facts["shape"], facts["origin"], facts["roi"]) == ([10, 20, 26], [20.5, 5.5, 0.5], "20:40,5:45,0:51")
    assert "linear from voxels of 1 x 1 x 1 micrometer" in bigseg("info", "a.zarr", *part).out
    assert bigseg("preview", "p.yaml", "-i", "a.zarr", *part, "-o", "a.png").code == 0
    assert bigseg("ingest", "a.zarr", "b.ome.zarr", *part, "--workers", 0, "--json").json["shape"] == [10, 20, 26]
    for options, said in (
        (("--roi", "0:99,:,:"), "within 0:40"),
        (("--anti-alias",), "give --resample too"),
        (("--resample", "2 um"), "--spacing"),
        (("--resample", "50%", "--interpolation", "cubic"), "linear or nearest"),
        (("--spacing", "1 um", "--resample", "5 px"), "cannot be told in voxels"),
        (("--spacing", "5 pixels"), "cannot be told in voxels"),
    ):
        answer = bigseg("run", "p.yaml", "-i", "a.zarr", "-o", "other", *options, "--workers", 0)
        assert answer.code == 2
        assert said in answer.err
        assert not Path("other").exists()
