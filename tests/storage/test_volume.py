"""Opening whatever may lie at a path."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from ome_zarr.format import FormatV04, FormatV05
from ome_zarr.writer import write_multiscale, write_multiscale_labels

from bigseg.engine.folder import RunFolder
from bigseg.errors import InputError, ParameterError, StorageError
from bigseg.grid import Box
from bigseg.storage import blocks
from bigseg.storage.volume import Volume
from tests.storage.conftest import numbers


def whole(volume: Volume) -> np.ndarray:
    """All voxels of a volume."""
    return blocks.read(volume, Box.whole(volume.spec.shape))


def bare(path: Path, array: np.ndarray, **options: Any) -> Path:
    """A bare array stored by zarr-python."""
    options.setdefault("chunks", tuple(min(7, n) for n in array.shape))
    stored = zarr.create_array(
        path, shape=array.shape, dtype=array.dtype, config={"write_empty_chunks": True}, **options
    )
    stored[...] = array
    return path


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shards": (14, 14, 14)},
        {"compressors": None},
        {"compressors": zarr.codecs.BloscCodec(cname="lz4")},
        {"compressors": zarr.codecs.GzipCodec()},
        {"chunk_key_encoding": {"name": "default", "separator": "."}},
        {"chunk_key_encoding": {"name": "v2", "separator": "."}},
        {"chunk_key_encoding": {"name": "v2", "separator": "/"}},
        {"serializer": zarr.codecs.BytesCodec(endian="big")},
        {"filters": [zarr.codecs.TransposeCodec(order=(2, 0, 1))]},
        {"zarr_format": 2},
        {"zarr_format": 2, "compressors": numcodecs.Blosc("zstd")},
        {"zarr_format": 2, "compressors": None, "order": "F"},
        {"zarr_format": 2, "compressors": numcodecs.Zlib(1)},
        {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}},
    ],
)
def test_bare_arrays_of_every_make(tmp_path: Path, options: dict[str, Any]) -> None:
    """What zarr-python stores, in either version and any usual codec and key, is read voxel for voxel."""
    array = numbers((20, 17, 15))
    volume = Volume.open(bare(tmp_path / "a.zarr", array, **options))
    assert np.array_equal(whole(volume), array)
    assert (volume.spec.axes, volume.spec.unit, volume.array, volume.name) == (("z", "y", "x"), "", "", "a")
    assert (volume.chunk, volume.shard) == ((7, 7, 7), options.get("shards", (7, 7, 7)))


@pytest.mark.parametrize("dtype", ["bool", "i1", "u1", ">i2", ">u4", "i8", "u8", "f2", "f4", ">f8"])
@pytest.mark.parametrize("version", [2, 3])
def test_every_dtype(tmp_path: Path, dtype: str, version: Any) -> None:
    """Every dtype that can be segmented comes back in native byte order."""
    array = numbers((9, 8), np.dtype(dtype).newbyteorder("="))
    stored = array if version == 3 else array.astype(dtype)
    volume = Volume.open(bare(tmp_path / "a.zarr", stored, zarr_format=version))
    found = whole(volume)
    assert found.dtype == array.dtype == volume.spec.dtype
    assert found.dtype.isnative
    assert np.array_equal(found, array)


@pytest.mark.parametrize("form", [FormatV04(), FormatV05()])
def test_images_of_the_reference_writer(tmp_path: Path, form: Any) -> None:
    """Images with times and channels that ome-zarr-py wrote open with spacing, levels and labels."""
    array = numbers((1, 2, 24, 40, 36))
    root = zarr.open_group(tmp_path / "a.ome.zarr", mode="w", zarr_format=form.zarr_format)
    axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}]
    axes += [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
    steps = [[{"type": "scale", "scale": [1, 1, 2.0 * k, 0.5 * k, 0.5 * k]}] for k in (1, 2)]
    levels = [array, array[..., ::2, ::2, ::2]]
    write_multiscale(levels, root, fmt=form, axes=axes, coordinate_transformations=steps)
    labels = (array[0, 0] % 5).astype("u4")
    own = [[{"type": "scale", "scale": [2.0, 0.5, 0.5]}]]
    write_multiscale_labels([labels], root, "cells", fmt=form, axes=axes[2:], coordinate_transformations=own)
    with pytest.raises(ParameterError, match="channel=1"):
        Volume.open(tmp_path / "a.ome.zarr")
    volume = Volume.open(tmp_path / "a.ome.zarr", channel=1)
    assert (volume.spec.spacing, volume.spec.unit, volume.prefix) == ((2.0, 0.5, 0.5), "micrometer", (0, 1))
    assert np.array_equal(whole(volume), array[0, 1])
    upper = Volume.open(tmp_path / "a.ome.zarr", level=1, channel=1)
    assert upper.spec.shape == (12, 20, 18)
    assert upper == Volume.open(tmp_path / "a.ome.zarr" / upper.array, channel=1)
    cells = Volume.open(tmp_path / "a.ome.zarr/labels/cells")
    assert (cells.spec.kind, cells.spec.ndim) == ("labels", 3)
    assert np.array_equal(whole(cells), labels)


def image(path: Path, arrays: list[np.ndarray], multiscale: dict[str, Any], version: int = 3, **more: Any) -> Path:
    """An OME-Zarr image made by hand."""
    multiscale = {"datasets": [{"path": str(k)} for k in range(len(arrays))], **multiscale}
    attributes: dict[str, Any] = {"multiscales": [multiscale], **more}
    attributes = {"ome": {"version": "0.5", **attributes}} if version == 3 else attributes
    group = zarr.create_group(path, zarr_format=version, attributes=attributes)  # type: ignore[arg-type]
    for k, array in enumerate(arrays):
        group.create_array(str(k), data=array)
    return path


def spaces(names: str, unit: str = "micrometer") -> list[dict[str, str]]:
    """Spatial axes."""
    return [{"name": name, "type": "space", "unit": unit} for name in names]


@pytest.mark.parametrize("version", [2, 3])
def test_global_and_level_transformations_are_joined(tmp_path: Path, version: int) -> None:
    """Spacing and origin of a level come from its own transformations, then those of the whole image."""
    array = numbers((8, 9), "u1")
    scale = {"type": "scale", "scale": [2.0, 4.0]}
    moved = {"type": "translation", "translation": [1.0, 3.0]}
    datasets = [{"path": "0", "coordinateTransformations": [scale, moved]}]
    common = [{"type": "scale", "scale": [10.0, 10.0]}, {"type": "translation", "translation": [0.5, 0.0]}]
    found = {
        "axes": spaces("yx", "nm"),
        "datasets": datasets,
        "coordinateTransformations": common,
        "name": "mine",
    }
    volume = Volume.open(image(tmp_path / "a", [array], found, version))
    assert volume.spec.spacing == (20.0, 40.0)
    assert volume.spec.origin == (10.5, 30.0)
    assert (volume.spec.unit, volume.name) == ("nanometer", "mine")


def test_axes_in_other_orders_and_units(tmp_path: Path) -> None:
    """x, y, z is turned to z, y, x; axes with other names keep their order; mixed units become that of z."""
    array = numbers((5, 6, 7))
    steps = [{"type": "scale", "scale": [500.0, 1.0, 2.0]}]
    mixed = [{"name": n, "type": "space", "unit": u} for n, u in (("x", "nm"), ("y", "um"), ("z", "um"))]
    datasets = [{"path": "0", "coordinateTransformations": steps}]
    turned = Volume.open(image(tmp_path / "a", [array], {"axes": mixed, "datasets": datasets}))
    assert np.array_equal(whole(turned), array.transpose())
    assert turned.spec.spacing == (2.0, 1.0, 0.5)
    assert turned.chunk == (7, 6, 5)
    part = Box((1, 0, 2), (4, 6, 5))
    assert np.array_equal(blocks.read(turned, part), array.transpose()[part.slices])
    assert blocks.read(turned, part).flags.c_contiguous
    named = Volume.open(image(tmp_path / "b", [array], {"axes": spaces("uvw")}))
    assert np.array_equal(whole(named), array)
    dims = bare(tmp_path / "c", array, dimension_names=("x", "y", "z"))
    assert np.array_equal(whole(Volume.open(dims)), array.transpose())
    old = bare(tmp_path / "d", array, zarr_format=2)
    (old / ".zattrs").write_text('{"_ARRAY_DIMENSIONS": ["z", "x", "y"]}')
    assert np.array_equal(whole(Volume.open(old)), array.transpose(0, 2, 1))


def test_old_versions_without_axes(tmp_path: Path) -> None:
    """Versions 0.1 to 0.3 named no axes, or only letters: five axes are t, c, z, y, x."""
    array = numbers((1, 1, 4, 5, 6))
    assert np.array_equal(whole(Volume.open(image(tmp_path / "a", [array], {"version": "0.1"}, 2))), array[0, 0])
    letters = image(tmp_path / "b", [array[0, 0]], {"version": "0.3", "axes": ["z", "y", "x"]}, 2)
    assert np.array_equal(whole(Volume.open(letters)), array[0, 0])


def test_leading_axes(tmp_path: Path) -> None:
    """Leading axes of length one are dropped; longer ones need a choice, by index, tuple or name."""
    array = numbers((2, 3, 4, 5, 6))
    path = bare(tmp_path / "a", array)
    with pytest.raises(ParameterError, match=r"channel=\(0, 1\)"):
        Volume.open(path)
    assert np.array_equal(whole(Volume.open(path, channel=(1, 2))), array[1, 2])
    assert np.array_equal(whole(Volume.open(bare(tmp_path / "b", array[:1, :1]))), array[0, 0])
    planes = bare(tmp_path / "c", array[0, 0])
    assert Volume.open(planes).spec.shape == (4, 5, 6)
    with pytest.raises(ParameterError, match="has 0 leading axes"):
        Volume.open(planes, channel=3)
    for channel in (2, -1, (0, 1), "red"):
        with pytest.raises(ParameterError, match="channel="):
            Volume.open(bare(tmp_path / f"d{channel}", array[:, 0]), channel=channel)
    names = {"omero": {"channels": [{"label": "bone"}, {"label": "void"}]}}
    axes = [{"name": "c", "type": "channel"}, *spaces("zyx")]
    named = image(tmp_path / "e", [array[:, 0]], {"axes": axes}, **names)
    assert np.array_equal(whole(Volume.open(named, channel="void")), array[1, 0])
    with pytest.raises(ParameterError, match="0: bone, 1: void"):
        Volume.open(named)


def test_groups(tmp_path: Path) -> None:
    """A group with one volume opens it, with several it lists them; with none, or a folder, it says so."""
    array = numbers((4, 5, 6))
    group = zarr.create_group(tmp_path / "g")
    with pytest.raises(InputError, match="without volumes"):
        Volume.open(tmp_path / "g")
    group.create_group("deep").create_array("raw", data=array)
    assert np.array_equal(whole(Volume.open(tmp_path / "g")), array)
    group.create_array("other", data=array)
    with pytest.raises(InputError, match="2 volumes: deep/raw, other"):
        Volume.open(tmp_path / "g")
    with pytest.raises(InputError, match="is no Zarr itself but holds 2 volumes: g/deep/raw, g/other"):
        Volume.open(tmp_path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "does not exist"),
        (lambda p: p.write_text("x"), "is a file"),
        (lambda p: p.mkdir(), "no Zarr"),
        (lambda p: bare(p, np.zeros((4, 4), "c8")), "complex64 cannot be segmented"),
        (lambda p: bare(p, np.zeros(4, "u1")), "expected a 2-D image or a 3-D volume"),
        (lambda p: bare(p, np.zeros((4, 0), "u1"), chunks=(4, 1)), "no voxels"),
        (lambda p: bare(p, np.zeros((4, 4), "u1"), zarr_format=2, compressors=numcodecs.LZ4()), "'lz4'"),
        (lambda p: bare(p, np.zeros((4, 4), "u1"), dimension_names=("x", "c")), None),
        (
            lambda p: image(
                p, [np.zeros((4, 4, 3), "u1")], {"axes": [*spaces("yx"), {"name": "c", "type": "channel"}]}
            ),
            "before z, y, x",
        ),
        (lambda p: image(p, [np.zeros((4, 4), "u1")], {"axes": spaces("zyx")}), "names 3 axes"),
        (lambda p: image(p, [], {"axes": spaces("yx"), "datasets": [{"path": "9"}]}), "there is none"),
        (lambda p: image(p, [], {"axes": spaces("yx"), "datasets": [{"path": "../other"}]}), "outside"),
        (lambda p: image(p, [], {"axes": spaces("yx"), "datasets": "zero"}), "cannot be understood"),
        (
            lambda p: image(
                p,
                [np.zeros((4, 4), "u1")],
                {
                    "axes": spaces("yx"),
                    "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [0, 1]}]}],
                },
            ),
            "above 0",
        ),
        (
            lambda p: image(
                p,
                [np.zeros((4, 4), "u1")],
                {
                    "axes": spaces("yx"),
                    "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1]}]}],
                },
            ),
            "1 numbers for 2 axes",
        ),
        (
            lambda p: image(p, [np.zeros((4, 4), "f4")], {"axes": spaces("yx")}, **{"image-label": {}}),
            "expected integers",
        ),
        (lambda p: (bare(p, np.zeros((4, 4), "u1")) / "zarr.json").write_text("{"), "damaged"),
        (
            lambda p: (bare(p, np.zeros((4, 4), "u1")) / "zarr.json").write_text("[]"),
            "expected a JSON object",
        ),
        (
            lambda p: (bare(p, np.zeros((4, 4), "u1")) / "zarr.json").write_text('{"node_type": "array"}'),
            "not that of",
        ),
    ],
)
def test_what_cannot_be_opened_says_why(tmp_path: Path, make: Any, message: str | None) -> None:
    """Each refusal names the path and what is wrong with it."""
    make(tmp_path / "a.zarr")
    if message is None:
        assert Volume.open(tmp_path / "a.zarr").spec.shape == (4, 4)
        return
    with pytest.raises(InputError, match=message) as found:
        Volume.open(tmp_path / "a.zarr")
    assert "a.zarr" in str(found.value)


def test_impossible_choices_are_refused(tmp_path: Path) -> None:
    """A level that is not there, an unknown way with missing chunks, and web addresses are refused."""
    path = image(tmp_path / "a", [np.zeros((4, 4), "u1")], {"axes": spaces("yx")})
    with pytest.raises(ParameterError, match="levels 0 to 0"):
        Volume.open(path, level=1)
    with pytest.raises(ParameterError, match="give the image's path"):
        Volume.open(path / "0", level=1)
    with pytest.raises(ParameterError, match="without levels"):
        Volume.open(bare(tmp_path / "b", numbers((4, 4))), level=1)
    with pytest.raises(ParameterError, match="missing="):
        Volume.open(path, missing="zero")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="file system"):
        Volume.open("s3://bucket/a.zarr")


def test_volumes_are_small_and_picklable(tmp_path: Path) -> None:
    """A volume travels in well under 2 kB and reads the same where it arrives."""
    array = numbers((9, 9, 9))
    volume = Volume.open(bare(tmp_path / "a.zarr", array))
    sent = pickle.dumps(volume)
    assert len(sent) < 2000
    assert pickle.loads(sent) == volume
    assert np.array_equal(whole(pickle.loads(sent)), array)
    assert json.dumps(volume.describe())


def test_what_the_system_does_not_tell_is_an_error_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below a folder of somebody else's, or of a name that is too long: one clear sentence, not the system's."""
    with pytest.raises(StorageError, match="File name too long; give another name"):
        Volume.open(tmp_path / ("n" * 300))

    def refuse(path: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "stat", refuse)
    for look in (lambda: Volume.open(tmp_path / "a.zarr"), RunFolder(tmp_path / "out").refuse_foreign):
        with pytest.raises(StorageError, match=r"cannot look at .*(a\.zarr|out): Permission denied"):
            look()
