"""Rows of the table of regions."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from bigseg.pipeline.steps import Step
from tests.ops.objects import table_of
from tests.ops.rows import Case, op, structure


def labels_of(image: np.ndarray, connectivity: int = 1) -> np.ndarray:
    return ndimage.label(image > 140, structure(image, min(connectivity, image.ndim)))[0]


CASES = [
    Case(
        "regions",
        lambda n: [
            Step("dull", op("threshold", below=165), ("input",)),
            Step("bright", op("threshold", above=140), ("input",)),
            Step("objects", op("label"), ("bright",)),
            Step("result", op("regions", intensity="input"), ("objects",), "dull"),
        ],
        lambda x: table_of(np.where(x < 165, labels_of(x), 0), x),
        dtypes=("uint8", "float32"),
        tolerance=1e-8,  # as below
        name="under a mask: of the voxels inside, whether it parts them or not",
    ),
    Case(
        "regions",
        lambda n: [op("threshold", above=140), op("label"), op("regions", intensity="input")],
        lambda x: table_of(labels_of(x), x),
        tolerance=1e-8,  # the oracle adds float64; ours are exact integers, floats rounded to 30 bits of the range
        name="intensities and axes",
    ),
    *(
        Case(
            "regions",
            lambda n, c=c: [
                op("threshold", above=140),
                op("label", connectivity=min(c, n)),
                op("regions", axes=False, surface=True),
            ],
            lambda x, c=c: table_of(
                labels_of(x, c),
                axes=False,
                apart=x > 140 if min(c, x.ndim) < x.ndim else labels_of(x, c),
                connectivity=min(c, x.ndim),
            ),
            dtypes=("uint8", "float32"),
            tolerance=1e-11,
            name=f"surfaces, connectivity {c}",
        )
        for c in (1, 2, 3)
    ),
    Case(
        "regions",
        lambda n: [op("multi_threshold", values=(120, 140)), op("regions", intensity="input", surface=True)],
        lambda x: table_of(np.digitize(x, (120, 140)), x, apart=np.digitize(x, (120, 140))),
        dtypes=("uint16", "int16"),
        tolerance=1e-8,
        name="of classes",
    ),
]
