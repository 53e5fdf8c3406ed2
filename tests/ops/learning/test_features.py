"""The description of a feature stack: names, presets, units, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from skimage.feature import multiscale_basic_features

from bigseg.errors import ParameterError
from bigseg.local.features.stack import features_of
from bigseg.ops.learning.features import Features
from bigseg.storage.spec import Spec
from tests.local.crops import textured, whole

PLANE = Spec((40, 50), np.dtype("uint8"), ("y", "x"), (0.5, 0.5), "micrometer")
VOLUME = Spec((30, 40, 50), np.dtype("uint8"), ("z", "y", "x"), (2.0, 0.5, 0.5), "micrometer")


def names(spec: Spec, images: Any = ("",), **parameters: Any) -> tuple[str, ...]:
    return Features(**parameters).stack(spec, images).names


def test_names_and_their_order() -> None:
    """Intensities, positions, then image by image neighbours and filters by rising scale; products last."""
    assert names(PLANE, intensity=True, position={"x": 10, "y": 2.5}, gaussian=[2, 1], hessian_eigenvalues=1) == (
        "intensity",
        "position-y-2.5",
        "position-x-10",
        "gaussian-1.0",
        "hessian_eigenvalue-0-1.0",
        "hessian_eigenvalue-1-1.0",
        "gaussian-2.0",
    )
    assert names(PLANE, ("ct", "xray"), intensity=True, position=5, sobel=0, polynomial=2)[:6] == (
        "ct:intensity",
        "xray:intensity",
        "position-y-5",
        "position-x-5",
        "ct:sobel-0.0",
        "xray:sobel-0.0",
    )
    assert names(PLANE, intensity=True, gaussian=1, polynomial=2)[2:] == (
        "intensity^2",
        "intensity*gaussian-1.0",
        "gaussian-1.0^2",
    )


def test_names_tell_units_and_axes() -> None:
    """A sigma with a unit or one per axis stands in the name as it was given; scales are sorted in voxels."""
    found = names(VOLUME, gaussian=["1.0 um", [0.5, 1, 1], 3])
    assert found == ("gaussian-0.5x1.0x1.0", "gaussian-1.0um", "gaussian-3.0")
    stack = Features(gaussian="1 um", slices=True, sobel=[[1, 2]]).stack(VOLUME)
    assert [item.sigma for item in stack.filters] == [(0.0, 1.0, 2.0), (0.5, 2.0, 2.0)]
    assert stack.depth() == (0, 8, 9)


def test_neighbours() -> None:
    """All shifts within a box in raster order: 9 in 2-D and in slices, 27 in 3-D, one number per axis too."""
    assert names(PLANE, neighbours=1)[:2] == ("neighbour(-1,-1)", "neighbour(-1,0)")
    assert [len(names(spec, neighbours=1)) for spec in (PLANE, VOLUME)] == [9, 27]
    assert len(names(VOLUME, neighbours=1, slices=True)) == 9
    assert len(names(VOLUME, neighbours=[0, 0, 2])) == 5


@pytest.mark.parametrize(
    ("preset", "plane", "volume", "depth"),
    [("course", 66, 81, 42), ("basic", 24, 30, 66), ("ilastik", 49, 61, 42)],
)
def test_presets(preset: str, plane: int, volume: int, depth: int) -> None:
    """Presets have the stated number of features, all of different names, and the stated depth."""
    for spec, count in ((PLANE, plane), (VOLUME, volume)):
        stack = Features(preset=preset).stack(spec)  # type: ignore[arg-type]
        assert len(set(stack.names)) == len(stack.names) == count
        assert stack.depth() == (depth,) * spec.ndim
    assert len(names(VOLUME, preset=preset, slices=True)) == plane + (preset == "course")


def test_sixty_one_features_of_a_large_block_fit() -> None:
    """61 features to sigma 10 of a block of 256^3, its image with halo and a label image too, take 0.5 GiB."""
    stack = Features(preset="ilastik").stack(VOLUME.but(shape=(1000, 1000, 1000)))
    outer = tuple(256 + 2 * d for d in stack.depth())
    assert stack.memory(outer, (256, 256, 256), ["uint16"]) + 2 * np.prod(outer) + 256**3 < 512 << 20


def test_presets_take_other_scales_and_more_features() -> None:
    """Scales of its own replace a preset's; lists beside it add, without doubles."""
    assert names(PLANE, preset="basic", scales=2) == (
        "gaussian-2.0",
        "edges-2.0",
        "hessian_eigenvalue-0-2.0",
        "hessian_eigenvalue-1-2.0",
    )
    assert len(names(PLANE, preset="basic", scales=2, gaussian=[2, 3], intensity=True)) == 6


@pytest.mark.parametrize("shape", [(40, 50), (26, 28, 30)])
def test_basic_is_that_of_scikit_image(shape: Any) -> None:
    """Away from the edge, where the modes differ, each feature is multiscale_basic_features' in its order."""
    x = textured(shape) / np.float32(255)
    spec = PLANE if len(shape) == 2 else VOLUME.but(shape=shape)
    stack = Features(preset="basic", scales=[0.5, 1, 2]).stack(spec)
    found = features_of(stack, [x], whole(shape))
    expected = multiscale_basic_features(x, sigma_min=0.5, sigma_max=2, workers=1)
    inside = tuple(slice(10, -10) for _ in shape)
    assert expected.shape[-1] == len(stack.names)
    for place, name in enumerate(stack.names):
        wanted = expected[..., place][inside]
        assert np.abs(found[place][inside] - wanted).max() <= max(1e-5 * np.ptp(wanted), 1e-6), name


def test_a_description_survives_json() -> None:
    """What a model keeps of it comes back equal, and it can be hashed."""
    made = Features(preset="course", scales=["1 um", 2], position={"z": 3}, neighbours=(0, 1, 1), polynomial=2)
    again = Features(**made.model_dump(mode="json"))
    assert again == made
    assert hash(again) == hash(made)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({}, "at least one feature"),
        ({"scales": [1]}, "belong to a preset"),
        ({"preset": "napari"}, "'course', 'basic' or 'ilastik'"),
        ({"intensity": True, "polynomial": 0}, "greater than or equal to 1"),
        ({"neighbours": -1}, "0 or more"),
        ({"position": 0}, "greater than 0"),
        ({"position": {"w": 1}}, "not permitted"),
        ({"position": {}}, "one axis at least"),
        ({"gaussian": 1, "narrow": 1.5}, "less than 1"),
        ({"gaussians": 1}, "not permitted"),
    ],
)
def test_parameters_that_cannot_be(parameters: Any, said: str) -> None:
    """Values that no volume could take are refused with what was expected."""
    with pytest.raises(ValidationError, match=said):
        Features(**parameters)


@pytest.mark.parametrize(
    ("parameters", "spec", "said"),
    [
        ({"gaussian": [[1, 2]]}, VOLUME, "expected one value or 3"),
        ({"gaussian": "2 um"}, PLANE.but(unit=""), "um"),
        ({"gaussian": -1}, PLANE, "0 or more"),
        ({"laplacian_of_gaussian": "0.2 um"}, VOLUME, "0.125"),
        ({"difference_of_gaussians": 0}, VOLUME, "above 0"),
        ({"position": {"z": 2}}, PLANE, "leave z out"),
        ({"neighbours": (1, 1, 1)}, PLANE, "expected one number or 2"),
    ],
)
def test_parameters_that_do_not_fit_the_volume(parameters: Any, spec: Spec, said: str) -> None:
    """Axes, units and sigmas that the volume cannot have are refused before anything is computed."""
    with pytest.raises(ParameterError, match=said):
        Features(**parameters).stack(spec)
