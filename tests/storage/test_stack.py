"""Slices in files."""

from __future__ import annotations

import os
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from bigseg.errors import CorruptChunkError, InputError, ParameterError
from bigseg.grid import Box
from bigseg.storage.sources.opening import open_source, read_box
from bigseg.storage.sources.stack import ImageStack, natural_order
from tests.storage.conftest import numbers

STACK = numbers((12, 20, 21))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of slices 4 to 15 whose names sort wrongly as text."""
    (tmp_path / "scan").mkdir()
    for z, plane in enumerate(STACK):
        tifffile.imwrite(tmp_path / "scan" / f"s_2020_{z + 4}.tif", plane)
    return tmp_path / "scan"


def test_folders_and_patterns(folder: Path) -> None:
    """A folder, or a pattern, is read in the order of its numbers; logs and hidden files are passed over."""
    (folder / "scan.log").write_text("not a slice")
    (folder / ".hidden.tif").write_text("not a slice")
    for path in (folder, folder / "*.tif", f"{folder}/"):
        source = pickle.loads(pickle.dumps(open_source(path)))
        assert isinstance(source, ImageStack)
        assert (source.spec.shape, source.spec.axes, source.name) == (STACK.shape, ("z", "y", "x"), "scan")
        assert np.array_equal(read_box(source, Box.whole(STACK.shape)), STACK)
    part = Box((2, 3, 4), (7, 20, 9))
    assert np.array_equal(read_box(source, part), STACK[part.slices])
    assert open_source(folder / "s_2020_[45].tif").spec.shape == (2, 20, 21)


def test_natural_order_of_any_names() -> None:
    """Names are ordered by the number that counts them, padded or not, whatever stands around it."""
    for form in ("{}.tif", "s{:04d}_rec.tif", "2020-11-22_scan7_{}.tif", "a{}b.tif"):
        names = [form.format(k) for k in range(95, 105)]
        mixed = random.Random(1).sample(names, len(names))
        assert natural_order(mixed) == names
    assert natural_order(["only.tif"]) == ["only.tif"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a1.tif", "a2.tif", "a4.tif"], "a2.tif and a4.tif leave 1 out"),
        (["a1.tif", "a01.tif", "a2.tif"], "have the same number"),
        (["a1.tif", "a2.tif", "b3.tif"], "1 of 3 names differ .*b3.tif"),
        (["a1_1.tif", "a2_2.tif"], "2 numbers in the names"),
    ],
)
def test_gaps_and_odd_names_are_refused(names: list[str], message: str) -> None:
    """A missing, double or odd name is refused by name: it would shift every slice behind it."""
    with pytest.raises(InputError, match=message):
        natural_order(names)


def test_odd_slices_are_refused(folder: Path) -> None:
    """A slice of another shape, dtype or kind, an empty one, and colours are refused by name."""
    path = folder / "s_2020_9.tif"
    good = path.read_bytes()
    for odd in (STACK[0, :10], STACK[0].astype("u1")):
        tifffile.imwrite(path, odd)
        with pytest.raises(InputError, match=r"1 of 12 slices .* s_2020_9.tif"):
            open_source(folder)
    tifffile.imwrite(path, STACK[:2])
    with pytest.raises(InputError, match="holds 2 pages"):
        open_source(folder)
    path.write_bytes(b"")
    with pytest.raises(CorruptChunkError, match=r"s_2020_9\.tif has 0 bytes"):
        open_source(folder)
    path.unlink()
    with pytest.raises(InputError, match=r"s_2020_8\.tif and s_2020_10\.tif leave 1 out"):
        open_source(folder)
    path.write_bytes(good)
    Image.fromarray(STACK[0].astype("u1")).save(folder / "preview.png")
    with pytest.raises(InputError, match=r"several kinds .*12 .tif, 1 .png"):
        open_source(folder)
    assert open_source(folder / "*.tif").spec.shape == STACK.shape
    with pytest.raises(ParameterError, match="level and missing"):
        open_source(folder / "*.tif", level=1)


def test_what_changes_after_opening_is_noticed(folder: Path) -> None:
    """The token changes with any slice; a slice that is replaced by another shape or damaged is an error."""
    source = open_source(folder)
    before = source.token()
    path = folder / "s_2020_9.tif"
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert source.token() != before
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(CorruptChunkError, match=r"s_2020_9\.tif"):
        read_box(source, Box.whole(STACK.shape))
    tifffile.imwrite(path, STACK[0, :10])
    with pytest.raises(CorruptChunkError, match="as when the stack was opened"):
        read_box(source, Box.whole(STACK.shape))
    assert np.array_equal(read_box(source, Box((6, 0, 0), (12, 20, 21))), STACK[6:])


def test_stacks_of_png(tmp_path: Path) -> None:
    """Slices may be PNG files too, 8 and 16 bits."""
    for dtype in ("u1", "u2"):
        (tmp_path / dtype).mkdir()
        for z, plane in enumerate(STACK.astype(dtype)):
            Image.fromarray(plane).save(tmp_path / dtype / f"{z:03d}.png")
        source = open_source(tmp_path / dtype)
        assert source.spec.dtype == np.dtype(dtype)
        assert np.array_equal(read_box(source, Box.whole(STACK.shape)), STACK.astype(dtype))


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    """A file's name is bytes: slices of any names are read, known again, and told apart from others."""
    folder = os.fsencode(tmp_path)
    for z, plane in enumerate(STACK[:3]):
        tifffile.imwrite(tmp_path / "plane.tif", plane)
        os.rename(folder + b"/plane.tif", folder + b"/s\xff_%d.tif" % z)
    stack = open_source(tmp_path)
    np.testing.assert_array_equal(read_box(stack, Box.whole(stack.spec.shape)), STACK[:3])
    first = stack.token()
    assert open_source(tmp_path).token() == first
    for z in range(3):
        os.rename(folder + b"/s\xff_%d.tif" % z, folder + b"/s\xfe_%d.tif" % z)
    assert open_source(tmp_path).token() != first
