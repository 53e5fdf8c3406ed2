"""2-D images, NumPy files, and what cannot be opened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from bigseg.errors import CorruptChunkError, InputError, ParameterError
from bigseg.grid import Box
from bigseg.storage.sources.opening import open_source, read_box
from tests.storage.conftest import numbers

GREY = numbers((30, 41), "u1")


def whole(path: Path, channel: int | str | None = None) -> np.ndarray:
    """All pixels of an image."""
    source = open_source(path, channel=channel)
    part = Box((3, 4), (20, 30))
    found = read_box(source, Box.whole(source.spec.shape))
    assert np.array_equal(read_box(source, part), found[part.slices])
    return found


def test_grey_images(tmp_path: Path) -> None:
    """Grey PNG and TIFF images of 1, 8, 16 and 32 bits are read as y, x."""
    for dtype in ("bool", "u1", "u2"):
        array = numbers((30, 41), dtype)
        Image.fromarray(array).save(tmp_path / f"{dtype}.png")
        assert np.array_equal(whole(tmp_path / f"{dtype}.png"), array)
    for dtype in ("u1", "i2", "u4", "f4"):
        array = numbers((30, 41), dtype)
        tifffile.imwrite(tmp_path / f"{dtype}.tif", array, resolution=(2e4, 1e4), resolutionunit="CENTIMETER")
        assert np.array_equal(whole(tmp_path / f"{dtype}.tif"), array)
        assert open_source(tmp_path / f"{dtype}.tif").spec.spacing == pytest.approx((1.0, 0.5))


def test_alpha_and_colours(tmp_path: Path) -> None:
    """Constant alpha is dropped; colours and other alpha need a channel; grey stored as RGB says so."""
    full = np.full_like(GREY, 255)
    Image.fromarray(np.dstack([GREY, full])).save(tmp_path / "la.png")
    assert np.array_equal(whole(tmp_path / "la.png"), GREY)
    Image.fromarray(np.dstack([GREY, GREY])).save(tmp_path / "seen.png")
    with pytest.raises(InputError, match="2 channels per pixel"):
        open_source(tmp_path / "seen.png")
    assert np.array_equal(whole(tmp_path / "seen.png", 0), GREY)
    colours = numbers((30, 41, 3), "u1")
    Image.fromarray(colours).save(tmp_path / "rgb.png")
    tifffile.imwrite(tmp_path / "rgb.tif", colours, photometric="rgb")
    tifffile.imwrite(tmp_path / "planes.tif", np.moveaxis(colours, -1, 0), photometric="rgb", planarconfig="separate")
    for name in ("rgb.png", "rgb.tif", "planes.tif"):
        with pytest.raises(InputError, match="3 channels per pixel: expected grey values; choose one"):
            open_source(tmp_path / name)
        assert np.array_equal(whole(tmp_path / name, "green"), colours[..., 1])
        assert open_source(tmp_path / name, channel=0).token() != open_source(tmp_path / name, channel=1).token()
        for wrong in (3, "cyan"):
            with pytest.raises(ParameterError, match="channels 0 to 2"):
                open_source(tmp_path / name, channel=wrong)
    Image.fromarray(np.dstack([GREY] * 3)).save(tmp_path / "grey.png")
    with pytest.raises(InputError, match=r"channel=0 .* loses nothing"):
        open_source(tmp_path / "grey.png")


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("bonegfiltslice.png", (250, 350), "u1"),
        ("cortex.png", (518, 403), "u2"),
        ("shale-slice.tiff", (250, 250), "u2"),
        ("em_image.png", (768, 1024), "u1"),
        ("em_image_seg.png", (768, 1024), "u1"),
        ("Cell_Colony.jpg", (408, 406), "u1"),
        ("class_art_in.png", (256, 256), "u1"),
    ],
)
def test_the_images_of_the_lecture(data: Path, name: str, shape: tuple[int, int], dtype: str) -> None:
    """Every image of the lecture opens with its shape and dtype and the pixels that Pillow gives."""
    path = data / "lecture" / name
    channel = 0 if name.startswith("class_") else None
    source = open_source(path, channel=channel)
    assert (source.spec.shape, source.spec.dtype, source.spec.unit) == (shape, np.dtype(dtype), "")
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"))[..., 0] if channel == 0 else np.asarray(image)
    assert np.array_equal(whole(path, channel), expected)


def test_numpy_files(tmp_path: Path) -> None:
    """NumPy files of any order and byte order are read; objects, complex numbers, cut files are refused."""
    array = numbers((5, 6, 7))
    for name, stored in (("c", array), ("f", np.asfortranarray(array)), ("b", array.astype(">u2"))):
        np.save(tmp_path / f"{name}.npy", stored)
        source = open_source(tmp_path / f"{name}.npy", spacing="0.5 um")
        found = read_box(source, Box.whole(array.shape))
        assert np.array_equal(found, array)
        assert (found.dtype, found.flags.c_contiguous) == (np.dtype("u2"), True)
        assert (source.spec.spacing, source.spec.unit) == ((0.5,) * 3, "micrometer")
    np.save(tmp_path / "four.npy", array[None].repeat(2, 0))
    with pytest.raises(ParameterError, match="channel=1"):
        open_source(tmp_path / "four.npy")
    assert open_source(tmp_path / "four.npy", channel=1).spec.shape == array.shape
    np.save(tmp_path / "complex.npy", array.astype("c8"))
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "c.npy").read_bytes()[:200])
    (tmp_path / "junk.npy").write_bytes(b"junk" * 99)
    np.savez(tmp_path / "several.npz", array, array)
    (tmp_path / "several.npz").rename(tmp_path / "several.npy")
    for name in ("complex", "objects", "junk", "several"):
        with pytest.raises(InputError, match=f"{name}.npy"):
            open_source(tmp_path / f"{name}.npy")
    with pytest.raises(CorruptChunkError, match="shorter than its header"):
        open_source(tmp_path / "cut.npy")


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    """Anything else is refused in one line that names it and, for files, what is supported."""
    (tmp_path / "a.h5").write_bytes(b"\x89HDF")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG junk")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for name, kind, message in (
        ("a.h5", InputError, "supported are OME-Zarr"),
        ("broken.png", CorruptChunkError, "cannot be decoded"),
        ("empty.png", InputError, "0 bytes"),
        ("folder", InputError, "no Zarr"),
        ("nowhere.tif", InputError, "does not exist"),
        ("nowhere*.tif", InputError, "no image files"),
    ):
        with pytest.raises(kind, match=message) as found:
            open_source(tmp_path / name)
        assert name in str(found.value)
    Image.fromarray(GREY).save(tmp_path / "a.png")
    with pytest.raises(ParameterError, match="level and missing"):
        open_source(tmp_path / "a.png", missing="fill")
