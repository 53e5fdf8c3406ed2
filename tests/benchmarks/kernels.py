"""Block functions against scipy and scikit-image: one thread each, arrays in memory, turn by turn in one run.

``python -m tests.benchmarks.kernels [--repeats 3] [--rows median,hessian] [--out DIR]`` writes KERNELS.md and
KERNELS.json. A block function is what a worker runs on a block that it has read, so its rate is a core's. Rates are
compared, since a slow peer gets a smaller array; both sides of a row get the same one. What both give is compared as
well: a fast wrong answer is no answer.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from bigseg.ops.base import LocalOp
from bigseg.ops.registry import OPS
from bigseg.storage.spec import Spec

from .measure import turns, with_one_thread
from .page import begun, circumstances, command_line, compared, comparison, said, write

Array = np.ndarray


@dataclass(frozen=True)
class Row:
    """One operation, its peer, and the ratio to reach."""

    name: str
    parameters: Mapping[str, Any]
    peer_name: str
    peer: Callable[[Array], Array]
    goal: float | None
    side: int = 160
    dtype: str = "uint16"
    tolerance: float = 0.0
    """Of the value range of the peer's result."""
    title: str = ""

    @property
    def label(self) -> str:
        """Of the row in the table."""
        return self.title or self.name


def _ball(radius: int) -> Array:
    from skimage.morphology import ball

    return np.asarray(ball(radius), bool)


def _hessian(x: Array) -> Array:
    from skimage.feature import hessian_matrix, hessian_matrix_eigvals

    elements = hessian_matrix(x.astype(np.float32), sigma=1.5, mode="reflect", use_gaussian_derivatives=False)
    return np.asarray(hessian_matrix_eigvals(elements)[0])


def _sobel(x: Array) -> Array:
    x = x.astype(np.float32)
    return np.sqrt(sum(ndimage.sobel(x, axis) ** 2 for axis in range(x.ndim)))


ROWS = (
    Row("gaussian", {"sigma": 2.0}, "scipy", lambda x: ndimage.gaussian_filter(x.astype(np.float32), 2.0), 4.0,
        256, tolerance=1e-5, title="gaussian, sigma 2"),
    Row("median", {"size": 3}, "scipy", lambda x: ndimage.median_filter(x, 3), 4.0, title="median 3^3"),
    Row("median", {"size": 3}, "scipy", lambda x: ndimage.median_filter(x, 3), 4.0, dtype="uint8",
        title="median 3^3"),
    Row("median", {"size": 7}, "scipy", lambda x: ndimage.median_filter(x, 7), 4.0, 64, title="median 7^3"),
    Row("median", {"size": 7}, "scipy", lambda x: ndimage.median_filter(x, 7), 4.0, 64, dtype="uint8",
        title="median 7^3"),
    Row("opening", {"footprint": "ball", "radius": 5}, "scipy",
        lambda x: ndimage.grey_opening(x, footprint=_ball(5)), None, 96, title="grey opening, ball of radius 5"),
    Row("opening", {"footprint": "box", "size": 11}, "scipy", lambda x: ndimage.grey_opening(x, size=11), None,
        title="grey opening, box of 11"),
    Row("sobel", {}, "scipy", _sobel, 4.0, 256, tolerance=1e-5),
    Row("laplacian_of_gaussian", {"sigma": 2.0}, "scipy",
        lambda x: ndimage.gaussian_laplace(x.astype(np.float32), 2.0), 4.0, 160, tolerance=1e-5,
        title="laplacian of gaussian, sigma 2"),
    Row("hessian_eigenvalues", {"sigma": 1.5}, "scikit-image", _hessian, 5.0, 128, tolerance=1e-5,
        title="Hessian eigenvalues, sigma 1.5"),
)  # fmt: skip


def volume(side: int, dtype: str) -> Array:
    """Smooth blobs plus noise over half of the dtype's range, from a fixed seed."""
    rng = np.random.default_rng(3)
    smooth = ndimage.gaussian_filter(rng.standard_normal((side,) * 3), 3.0)
    top = np.iinfo(dtype).max
    values = top * (0.4 + 0.08 * smooth / smooth.std() + 0.02 * rng.standard_normal((side,) * 3))
    return np.rint(values.clip(0, top)).astype(dtype)


def block_function(row: Row, shape: tuple[int, ...]) -> Callable[[Array], Array]:
    """The operation on a whole array."""
    op = OPS[row.name](**row.parameters)
    assert isinstance(op, LocalOp)
    spec = Spec(shape, np.dtype(row.dtype), ("z", "y", "x"), (1.0, 1.0, 1.0))
    whole = tuple(slice(0, n) for n in shape)
    return lambda x: op.compute(x, whole, spec)


def measure(row: Row, repeats: int) -> dict[str, Any]:
    """One row of the table."""
    x = volume(row.side, row.dtype)
    ours = block_function(row, x.shape)
    seconds, found = turns({"bigseg": lambda: ours(x), row.peer_name: lambda: row.peer(x)}, repeats)
    theirs = found[row.peer_name]
    span = float(theirs.max()) - float(theirs.min()) or 1.0
    worst = float(np.abs(found["bigseg"].astype(np.float64) - theirs).max()) / span
    same = "exactly" if worst == 0 else f"within {worst:.0e}"
    same = same if worst <= row.tolerance else f"**no**, {worst:.0e} of the range"
    rates = {who: x.size / statistics.median(runs) / 1e6 for who, runs in seconds.items()}
    data = f"{row.side}^3 {row.dtype}"
    compare = comparison(row.label, data, rates["bigseg"], row.peer_name, rates[row.peer_name], row.goal, same)
    return {**compare, "seconds": seconds}


def render(record: Mapping[str, Any]) -> str:
    """The page as Markdown."""
    lines = [
        "# Block functions, one thread",
        "",
        f"{circumstances(record)}; medians of {record['repeats']} in processor time, both sides turn by turn on the "
        "same array in memory, the first turn of neither counted.",
        "",
        *compared(record["rows"]),
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = command_line("kernels", __doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", default="", help="comma-separated beginnings of names; default: all")
    given = parser.parse_args(arguments)
    with_one_thread("kernels")
    chosen = tuple(name for name in given.rows.split(",") if name)
    record: dict[str, Any] = {**begun("kernels", arguments), "repeats": given.repeats, "rows": []}
    for row in ROWS:
        if not chosen or row.name.startswith(chosen):
            record["rows"].append(measure(row, given.repeats))
            print(said(record["rows"][-1]), flush=True)
            write(given.out, "KERNELS", record, render)


if __name__ == "__main__":
    main()
