"""TIFF files of many pages, of every make."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from bigseg.errors import CorruptChunkError, InputError, ParameterError
from bigseg.grid import Box
from bigseg.storage.sources import tiff
from bigseg.storage.sources.opening import open_source, read_box
from bigseg.storage.sources.tiff import TiffFile
from tests.storage.conftest import numbers

STACK = numbers((7, 50, 61))
CHANNELS = numbers((5, 3, 20, 21), "u1")


def same(source: Any, expected: np.ndarray) -> bool:
    """Whether whole and parts of an opened file are those of an array, also after travelling to a worker."""
    source = pickle.loads(pickle.dumps(source))
    part = Box(tuple(n // 3 for n in expected.shape), tuple(n - 1 for n in expected.shape))
    found = read_box(source, Box.whole(source.spec.shape))
    assert (found.dtype, found.flags.c_contiguous, found.dtype.isnative) == (source.spec.dtype, True, True)
    return np.array_equal(found, expected) and np.array_equal(read_box(source, part), expected[part.slices])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"compression": "zlib", "rowsperstrip": 7},
        {"compression": "lzw", "predictor": True, "rowsperstrip": 7, "byteorder": ">"},
        {"compression": "zstd", "tile": (16, 32)},
        {"compression": "packbits"},
        {"tile": (16, 32)},
        {"imagej": True, "metadata": {"axes": "ZYX"}},
        {"imagej": True, "metadata": {"axes": "TYX"}},
        {"metadata": None},
        {"metadata": None, "compression": "zlib"},
    ],
)
def test_every_way_to_store_pages(tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole stacks and parts are read voxel for voxel without the slow fallback."""
    monkeypatch.setattr(tiff, "_with_pillow", None)
    tifffile.imwrite(tmp_path / "a.tif", STACK, **options)
    assert same(open_source(tmp_path / "a.tif"), STACK)


@pytest.mark.parametrize("dtype", ["bool", "i1", "u1", "i2", "u4", "i8", "f2", "f4", "f8"])
def test_every_dtype(tmp_path: Path, dtype: str) -> None:
    """Every dtype comes back as it was; bits are a mask."""
    array = numbers((7, 9, 11), dtype)
    tifffile.imwrite(tmp_path / "a.tif", array)
    source = open_source(tmp_path / "a.tif")
    assert same(source, array)
    assert source.spec.kind == ("mask" if dtype == "bool" else "image")


def test_pages_written_one_by_one(tmp_path: Path) -> None:
    """Pages that a program added one after the other are one stack."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in STACK:
            file.write(page, compression="zlib")
    assert same(open_source(tmp_path / "a.tif"), STACK)
    pages = [Image.fromarray(page.astype("u1")) for page in STACK]
    pages[0].save(tmp_path / "b.tif", save_all=True, append_images=pages[1:])
    assert same(open_source(tmp_path / "b.tif"), STACK.astype("u1"))


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(("axes", "kind"), [("ZCYX", "imagej"), ("CZYX", "ome")])
def test_channels(tmp_path: Path, axes: str, kind: str, compression: str | None) -> None:
    """A channel of an ImageJ or OME hyperstack is read from its own pages; one must be chosen."""
    array = CHANNELS if axes == "ZCYX" else CHANNELS.transpose(1, 0, 2, 3)
    name = "a.ome.tif" if kind == "ome" else "a.tif"
    options: dict[str, Any] = {"imagej": True} if kind == "imagej" else {}
    tifffile.imwrite(tmp_path / name, array, metadata={"axes": axes}, compression=compression, **options)
    with pytest.raises(ParameterError, match="channel=1"):
        open_source(tmp_path / name)
    for channel in range(3):
        source = open_source(tmp_path / name, channel=channel)
        assert same(source, CHANNELS[:, channel])
        assert source.name == "a"
    assert open_source(tmp_path / name, channel=0).token() != open_source(tmp_path / name, channel=1).token()


def test_a_file_of_channels_is_one_image_each(tmp_path: Path) -> None:
    """Pages that are channels give a 2-D image of the one chosen."""
    tifffile.imwrite(tmp_path / "a.tif", CHANNELS[0], imagej=True, metadata={"axes": "CYX"})
    assert same(open_source(tmp_path / "a.tif", channel=2), CHANNELS[0, 2])


@pytest.mark.parametrize(
    ("options", "spacing", "unit"),
    [
        ({}, (1.0, 1.0, 1.0), ""),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, (1.0, 1.0, 1.0), ""),
        ({"resolution": (20000, 40000), "resolutionunit": "CENTIMETER"}, (0.25, 0.25, 0.5), "micrometer"),
        (
            {
                "imagej": True,
                "resolution": (2.0, 4.0),
                "metadata": {"axes": "ZYX", "spacing": 1.5, "unit": "um"},
            },
            (1.5, 0.25, 0.5),
            "micrometer",
        ),
        (
            {"imagej": True, "resolution": (2.0, 4.0), "metadata": {"axes": "ZYX", "unit": "\\u00B5m"}},
            (0.25, 0.25, 0.5),
            "micrometer",
        ),
        (
            {"imagej": True, "resolution": (2.0, 4.0), "metadata": {"axes": "ZYX", "unit": "pixel"}},
            (1.0, 1.0, 1.0),
            "",
        ),
        (
            {
                "ome": True,
                "metadata": {
                    "axes": "ZYX",
                    "PhysicalSizeX": 0.5,
                    "PhysicalSizeXUnit": "µm",
                    "PhysicalSizeY": 0.25,
                    "PhysicalSizeYUnit": "µm",
                    "PhysicalSizeZ": 2000.0,
                    "PhysicalSizeZUnit": "nm",
                },
            },
            (2.0, 0.25, 0.5),
            "micrometer",
        ),
    ],
)
def test_spacing_of_the_file(tmp_path: Path, options: dict[str, Any], spacing: Any, unit: str) -> None:
    """OME-XML, ImageJ and resolution tags give the spacing; resolutions of screens and printers do not."""
    tifffile.imwrite(tmp_path / "a.tif", STACK, **options)
    source = open_source(tmp_path / "a.tif")
    assert source.spec.spacing == pytest.approx(spacing, rel=1e-6)
    assert source.spec.unit == unit
    assert ("z spacing" in source.describe().get("note", "")) == (bool(unit) and spacing[0] == spacing[1])
    own = open_source(tmp_path / "a.tif", spacing="2 1 1 mm")
    assert (own.spec.spacing, own.spec.unit) == ((2.0, 1.0, 1.0), "millimeter")


def test_colours_are_refused(tmp_path: Path) -> None:
    """Pages with colours are refused, they are never made grey silently."""
    tifffile.imwrite(tmp_path / "a.tif", numbers((4, 20, 21, 3), "u1"), photometric="rgb")
    with pytest.raises(InputError, match="colours"):
        open_source(tmp_path / "a.tif")


def test_pages_of_different_shapes_are_refused(tmp_path: Path) -> None:
    """Pages of two shapes are no stack."""
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(STACK[0])
        file.write(STACK[0, :20])
    with pytest.raises(InputError, match="several images"):
        open_source(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "options", [{}, {"compression": "zlib"}, {"imagej": True, "metadata": {"axes": "ZYX"}}, {"ome": True}]
)
@pytest.mark.parametrize("keep", [0.02, 0.3, 0.7, 0.99])
def test_cut_files_never_read_as_shorter_stacks(tmp_path: Path, options: dict[str, Any], keep: float) -> None:
    """A file that was cut is refused when it is opened or read, unless only its description is lost."""
    tifffile.imwrite(tmp_path / "a.tif", STACK, **options)
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[: int(len(data) * keep)])
    try:
        source = open_source(tmp_path / "a.tif")
        found = read_box(source, Box.whole(source.spec.shape))
    except (InputError, CorruptChunkError):
        return
    assert keep == 0.99
    assert np.array_equal(found, STACK)


def test_damaged_pages_are_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A flipped bit in a compressed page is an error that names the page; other pages are still read."""
    tifffile.imwrite(tmp_path / "a.tif", STACK, compression="zlib")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        offset = file.pages[3].dataoffsets[0]
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[offset + 500] ^= 64
    (tmp_path / "a.tif").write_bytes(data)
    source = open_source(tmp_path / "a.tif")
    with pytest.raises(CorruptChunkError, match="page 3 of"):
        read_box(source, Box.whole(STACK.shape))
    assert np.array_equal(read_box(source, Box((4, 0, 0), STACK.shape)), STACK[4:])
    (tmp_path / "b.tif").write_bytes(b"junk" * 99)
    (tmp_path / "c.tif").write_bytes(b"")
    for name, message in (("b.tif", "cannot be read as a TIFF"), ("c.tif", "0 bytes")):
        with pytest.raises(InputError, match=message):
            open_source(tmp_path / name)


def test_the_token_changes_with_the_file(tmp_path: Path) -> None:
    """A new file under the same name has another token and is read anew."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, compression="zlib")
    source = open_source(path)
    before = source.token()
    assert same(source, STACK)
    state = path.stat()
    tifffile.imwrite(path, 65535 - STACK, compression="zlib")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert source.token() != before
    assert same(source, 65535 - STACK)
    path.unlink()
    with pytest.raises(InputError, match=r"a\.tif"):
        source.token()


def pillow_pages(path: Path) -> np.ndarray:
    """All pages as Pillow decodes them."""
    with Image.open(path) as image:
        pages = []
        for number in range(image.n_frames):  # type: ignore[attr-defined]
            image.seek(number)
            pages.append(np.asarray(image))
        return np.stack(pages)


@pytest.mark.parametrize(("name", "shape"), [("bone_7H6A_B2", (500, 480, 320)), ("bone_7H3A_B1", (600, 250, 350))])
def test_real_bone_volumes(data: Path, name: str, shape: tuple[int, ...]) -> None:
    """Both real masks are read as Pillow reads them; one has strips that tifffile cannot decode."""
    path = data / "volumes" / f"{name}.tif"
    source = open_source(path)
    assert isinstance(source, TiffFile)
    assert source.spec.shape == shape
    expected = pillow_pages(path)
    box = Box((100, 33, 40), (200, 170, 300))
    assert np.array_equal(source.read(box), expected[box.slices])
    edge = Box((shape[0] - 3, 0, 0), shape)
    assert np.array_equal(source.read(edge), expected[-3:])
    assert set(np.unique(expected)) == {0, 127}
