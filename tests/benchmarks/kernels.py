"""Block functions against scipy and scikit-image: one thread each, arrays in memory, turn by turn in one run.

``OMP_NUM_THREADS=1 ... python -m tests.benchmarks.kernels [--repeats 3] [--rows median,hessian] [--out DIR]``
writes KERNELS.md and KERNELS.json; the libraries' own threads must be off (it says by which variables). A block
function is what a worker runs on a block that it has read, so its rate is a core's. Rates are compared, since a
slow peer gets a smaller array; both sides of a row get the same one. What both give is compared as well: a fast
wrong answer is no answer.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from bigseg.ops.base import LocalOp
from bigseg.ops.registry import OPS
from bigseg.storage.spec import Spec

from .measure import ONE_THREAD
from .run import machine

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


def timed(function: Callable[[Array], Array], x: Array) -> tuple[float, Array]:
    """Seconds, and what came out."""
    begin = time.perf_counter()
    found = function(x)
    return time.perf_counter() - begin, found


def block_function(row: Row, shape: tuple[int, ...]) -> Callable[[Array], Array]:
    """The operation on a whole array, compiled."""
    op = OPS[row.name](**row.parameters)
    assert isinstance(op, LocalOp)
    spec = Spec(shape, np.dtype(row.dtype), ("z", "y", "x"), (1.0, 1.0, 1.0))
    whole = tuple(slice(0, n) for n in shape)
    small = tuple(slice(0, min(24, n)) for n in shape)
    warm = volume(24, row.dtype)
    op.compute(warm, small, Spec(warm.shape, warm.dtype, spec.axes, spec.spacing))
    return lambda x: op.compute(x, whole, spec)


def measure(row: Row, repeats: int) -> dict[str, Any]:
    """One row of the table."""
    x = volume(row.side, row.dtype)
    ours = block_function(row, x.shape)
    seconds: dict[str, list[float]] = {"bigseg": [], row.peer_name: []}
    worst = 0.0
    for _ in range(repeats):
        spent, mine = timed(ours, x)
        seconds["bigseg"].append(spent)
        spent, theirs = timed(row.peer, x)
        seconds[row.peer_name].append(spent)
        span = float(theirs.max()) - float(theirs.min()) or 1.0
        worst = max(worst, float(np.abs(mine.astype(np.float64) - theirs).max()) / span)
    rates = {who: x.size / statistics.median(runs) / 1e6 for who, runs in seconds.items()}
    return {
        "row": row.label,
        "dtype": row.dtype,
        "side": row.side,
        "peer": row.peer_name,
        "rate": rates["bigseg"],
        "peer_rate": rates[row.peer_name],
        "ratio": rates["bigseg"] / rates[row.peer_name],
        "goal": row.goal,
        "difference": worst,
        "agrees": worst <= row.tolerance,
        "seconds": seconds,
    }


def render(record: Mapping[str, Any]) -> str:
    """The page as Markdown."""
    facts = record["machine"]
    lines = [
        "# Block functions, one thread",
        "",
        f"`{record['command']}`, {record['began']}, {facts['cores']} x {facts['processor']}, load {facts['load']} at "
        f"the start; medians of {record['repeats']}, both sides turn by turn on the same array in memory.",
        "",
        "| operation | array | bigseg, Mvox/s | peer | peer, Mvox/s | ratio | goal | reached | same result |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in record["rows"]:
        goal = f">= {row['goal']:g} x" if row["goal"] else ""
        reached = "" if not row["goal"] else "yes" if row["ratio"] >= row["goal"] else "**no**"
        same = "exactly" if row["difference"] == 0 else f"within {row['difference']:.0e}"
        same = same if row["agrees"] else f"**no**, {row['difference']:.0e} of the range"
        lines.append(
            f"| {row['row']} | {row['side']}^3 {row['dtype']} | {row['rate']:.1f} | {row['peer']} "
            f"| {row['peer_rate']:.2f} | {row['ratio']:.1f} x | {goal} | {reached} | {same} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.kernels", description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", default="", help="comma-separated beginnings of names; default: all")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args(arguments)
    if missing := [name for name in ONE_THREAD if os.environ.get(name) != "1"]:
        parser.error(f"one thread each: set {'=1 '.join(missing)}=1 before the command")
    chosen = tuple(name for name in given.rows.split(",") if name)
    rows = [row for row in ROWS if not chosen or row.name.startswith(chosen)]
    options = " ".join(arguments if arguments is not None else sys.argv[1:])
    record: dict[str, Any] = {
        "command": f"python -m tests.benchmarks.kernels {options}".strip(),
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "repeats": given.repeats,
        "rows": [],
    }
    given.out.mkdir(parents=True, exist_ok=True)
    for row in rows:
        found = measure(row, given.repeats)
        record["rows"].append(found)
        print(f"{found['row']:36} {found['dtype']:7} {found['rate']:8.1f} Mvox/s  {found['ratio']:6.1f} x", flush=True)
        (given.out / "KERNELS.json").write_text(json.dumps(record, indent=1) + "\n")
        (given.out / "KERNELS.md").write_text(render(record))


if __name__ == "__main__":
    main()
