"""Pictures of planes: which pixel has which colour."""

from __future__ import annotations

import io

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from bigseg.report.colours import MASK, PALETTE, label_colour, label_colours, rgb
from bigseg.report.pictures import (
    MOST_CLASSES,
    OPACITY,
    Panel,
    coloured_classes,
    draw_panels,
    layer_picture,
    picture_size,
    scale_bar,
    slice_picture,
    window_of,
)
from bigseg.storage.spec import UNSEEN, Class


def pixels(png: bytes, mode: str = "RGB") -> np.ndarray:
    """A picture's pixels."""
    return np.asarray(Image.open(io.BytesIO(png)).convert(mode))


def test_greys_follow_values() -> None:
    """Values of the window become black to white, those beyond are clipped, NaN is black."""
    plane = np.array([[-50.0, 0.0, 51.0], [102.0, 300.0, np.nan]])
    found = pixels(slice_picture(plane, window=(0.0, 255.0), longest=3))
    assert (found == found[..., :1]).all()
    assert found[..., 0].tolist() == [[0, 0, 51], [102, 255, 0]]


def test_labels_have_their_colour_everywhere() -> None:
    """A label has one colour, alone and in each plane; the background is transparent."""
    labels = np.array([[0, 7, 7, 0], [0, 0, 2**31 + 5, 900]], np.uint32)
    found = pixels(layer_picture(labels, "labels", longest=4), "RGBA")
    assert (found[labels == 0, 3] == 0).all()
    assert (found[labels > 0, 3] == 255).all()
    for label in (7, 2**31 + 5, 900):
        assert (found[labels == label, :3] == rgb(label_colour(label))).all()


def test_neighbouring_labels_differ() -> None:
    """Labels that follow each other never have the same colour, and all colours are used alike."""
    found = label_colours(np.arange(1, 10001))
    assert (found[1:] != found[:-1]).all()
    counts = np.bincount(found)[1:]
    assert len(counts) == len(PALETTE)
    assert counts.min() > 0.9 * counts.max()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_colour_does_not_depend_on_dtype(dtype: type) -> None:
    """The colour belongs to the number, however wide it is stored."""
    labels = np.arange(256)
    assert (label_colours(labels.astype(dtype)) == label_colours(labels)).all()


def test_overlay_leaves_the_rest_alone() -> None:
    """Outside of a mask the image is as without it, to 4 grey values; inside it shines through the colour."""
    plane = np.tile(np.linspace(0, 255, 300), (300, 1))
    mask = np.zeros((300, 300), bool)
    mask[100:200, 100:200] = True
    alone = pixels(slice_picture(plane, window=(0, 255), longest=300)).astype(int)
    over = pixels(slice_picture(plane, [(mask, "mask")], window=(0, 255), longest=300)).astype(int)
    assert np.abs(alone - over)[~mask].max() <= 4
    inner = (slice(110, 190), slice(110, 190))
    expected = alone[inner] * (1 - OPACITY) + np.array(rgb(MASK)) * OPACITY
    assert np.abs(expected - over[inner]).max() <= 4
    assert (over[100, 100:200] == rgb(MASK)).all()


def test_two_overlays() -> None:
    """The last overlay lies on top, and each keeps its own colours."""
    plane = np.full((40, 40), 90)
    mask, labels = np.zeros((40, 40), bool), np.zeros((40, 40), np.uint32)
    mask[:, :30], labels[:, 20:] = True, 3
    overlays = [(mask, "mask"), (labels, "labels")]
    found = pixels(slice_picture(plane, overlays, window=(0, 255), longest=40)).astype(int)
    for place, colour in (((20, 10), MASK), ((20, 25), label_colour(3)), ((20, 35), label_colour(3))):
        expected = 90 * (1 - OPACITY) + np.array(rgb(colour)) * OPACITY
        assert np.abs(found[place] - expected).max() <= 25  # 3 shades below 48 colours
    assert (found[:, 0] == found[0, 0]).all()


def test_objects_of_one_voxel_stay() -> None:
    """A small object on a small picture is drawn, not averaged away; labels are never mixed."""
    labels = np.zeros((64, 64), np.uint32)
    labels[10, 20], labels[10, 21] = 5, 6
    found = pixels(layer_picture(labels, "labels"), "RGBA")
    colours = {tuple(c[:3]) for c in found.reshape(-1, 4).tolist() if c[3]}
    assert colours == {rgb(label_colour(5)), rgb(label_colour(6))}


def test_sizes_are_physical() -> None:
    """Anisotropic voxels keep their proportions; a plane of one row is a line."""
    assert picture_size((30, 90), (3.0, 1.0), 600) == (540, 540)
    assert picture_size((1, 1000), (1.0, 1.0), 500) == (1, 500)


@pytest.mark.parametrize("extent", [0.37, 1.0, 9.99, 12345.6, 7e6])
def test_scale_bar_fits(extent: float) -> None:
    """The bar is 1, 2 or 5 times a power of ten, and a tenth to a quarter of the picture."""
    length, text = scale_bar(extent, "micrometer")
    assert extent / 10 <= length <= extent / 4 * (1 + 1e-6)
    assert round(length / 10 ** np.floor(np.log10(length) + 1e-9)) in (1, 2, 5)
    assert text.endswith(" µm")


def test_window_ignores_what_is_not_finite() -> None:
    """NaN and infinities do not decide what is black and white; neither does a constant plane fail."""
    plane = np.array([[0.0, 1.0], [np.nan, np.inf]])
    low, high = window_of([plane])
    assert 0 <= low < high <= 1
    assert window_of([np.full((3, 3), 5)]) == (5.0, 6.0)
    assert window_of([np.full((3, 3), np.nan)]) == (0.0, 1.0)


def test_panels_are_one_picture() -> None:
    """A preview is a PNG of the panels and an overlay; names are never read as formulas or in a user's style."""
    plane = np.arange(600).reshape(20, 30)
    panels = [Panel("scan_$x^2$", plane), Panel("dark\n$", plane < 200, "mask", (2.0, 1.0), "nanometer")]
    before = mpl.rcParams["font.size"]
    with mpl.rc_context({"text.usetex": True, "font.size": 31}):
        png = draw_panels(panels, "a $title")
    width, height = Image.open(io.BytesIO(png)).size
    assert width > 2 * height
    assert mpl.rcParams["font.size"] == before
    assert png == draw_panels(panels, "a $title")


def test_classes_have_their_colours_and_legend() -> None:
    """Named classes in their own colours; values that nobody named are not invisible; too many share the palette."""
    plane = np.repeat([[0, 1, 2, 7]], 4, axis=0).astype(np.uint8)
    named = [Class(0, "rest", UNSEEN), Class(1, "pore", "#4477aa"), Class(2, "grain", UNSEEN)]
    found = pixels(layer_picture(plane, "classes", longest=4, classes=named), "RGBA")[0]
    assert found[:, 3].tolist() == [0, 255, 0, 255]
    assert [tuple(found[k, :3]) for k in (1, 3)] == [rgb("#4477aa"), rgb(label_colour(7))]
    over = pixels(slice_picture(np.zeros((4, 4)), [(plane, "classes", named)], window=(0, 255), longest=4))
    assert (over[0, 0] == over[0, 2]).all()
    assert (over[0, 3] != over[0, 0]).any()
    many = [Class(k, f"class {k}", "#4477aa") for k in range(1, MOST_CLASSES + 2)]
    assert coloured_classes(many) == []
    assert coloured_classes(many[1:]) == [(item, "#4477aa") for item in many[1:]]
