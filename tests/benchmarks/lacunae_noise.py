"""Lacunae with canaliculi over real shapes: a forest and hysteresis against noise, with an exact truth.

    python -m tests.benchmarks.lacunae_noise --out DIR

writes LACUNAE.md and LACUNAE.json beside this file (or to --page), lacunae.png to DIR. The shapes of a crop of
bone_7H6A_B2.tif are the lacunae; winding tubes are drawn between neighbours. Grey values are blurred, then cupping,
rings and noise of bigseg's phantoms are added. Both methods choose everything on the lower half of the planes and are
judged on the upper one, at every strength of the noise anew.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import tifffile
from scipy import ndimage
from skimage.filters import apply_hysteresis_threshold, threshold_otsu
from sklearn.ensemble import RandomForestClassifier

import bigseg
from bigseg.local.phantom.imaging import Scanner, expose
from bigseg.local.phantom.shapes import paint_rod

from .halves import DATA, Array, curve, dice, predict, sample
from .measure import with_one_thread
from .page import HERE, begun, circumstances, table, write

CORNER, SIDE = (32, 256, 192), 128
LEAST = 500
"""Voxels of the smallest lacuna; the mask's specks are left out."""
RADIUS, REACH, TUBES = 1.5, 80.0, 9
"""Of a canaliculus; how far it goes from lacuna to lacuna; to how many neighbours."""
BONE, VOID = 150.0, 60.0
BLUR, CUPPING, RINGS = 0.8, 0.15, 3.0
NOISES = (0, 10, 20, 30, 45, 60)
FEATURES = {
    "gaussian": (0.7, 1, 1.6, 3.5),
    "gaussian_gradient_magnitude": (1, 1.6),
    "hessian_eigenvalues": (1, 1.6, 3.5),
}
TREES, YES, NO = 50, 8_000, 16_000
SIGMAS, SHARES = (0.0, 0.7, 1.0, 1.5), (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
"""Smoothings, and thresholds as shares of the way from the voids' grey to that of bone."""


class Truth(NamedTuple):
    """Class of each voxel: 0 bone, 1 lacuna, 2 canaliculus; and how many lacunae."""

    classes: Array
    lacunae: int


def truth(folder: Path = DATA, seed: int = 0) -> Truth:
    """The real lacunae, and tubes along bent lines between the middles of neighbours."""
    crop = tuple(slice(start, start + SIDE) for start in CORNER)
    void = tifffile.imread(folder / "volumes" / "bone_7H6A_B2.tif")[crop] == 0
    labels, _ = ndimage.label(void, np.ones((3, 3, 3)))
    sizes = np.bincount(labels.reshape(-1))
    kept = np.flatnonzero(sizes >= LEAST)[1:]  # 0 is bone
    classes = np.isin(labels, kept).astype(np.uint8)
    middles = np.array(ndimage.center_of_mass(classes, labels, kept))
    chance = np.random.default_rng(seed)
    start = np.zeros(3, np.int64)
    done = set()
    for here, middle in enumerate(middles):
        away = np.linalg.norm(middles - middle, axis=1)
        for there in np.argsort(away)[1 : TUBES + 1].tolist():
            pair = min(here, there), max(here, there)
            if away[there] > REACH or pair in done:
                continue
            done.add(pair)
            bend = chance.normal(0, 0.15 * away[there], (2, 3))
            a, d = middle, middles[there]
            points = [a, (2 * a + d) / 3 + bend[0], (a + 2 * d) / 3 + bend[1], d]
            for p, q in _pieces(points):
                paint_rod(classes, start, tuple(p), tuple(q), RADIUS, np.uint8(2))
    return Truth(classes, kept.size)


def _pieces(points: list[Array], count: int = 14) -> list[tuple[Array, Array]]:
    """Straight pieces of a cubic Bezier curve."""
    t = np.linspace(0, 1, count + 1)[:, np.newaxis]
    a, b, c, d = points
    points_on = (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d
    return list(pairwise(points_on))


def image_of(classes: Array, noise: float, seed: int = 0) -> Array:
    """What a scanner makes of it, uint8."""
    grey = np.where(classes > 0, np.float32(VOID), np.float32(BONE))
    grey = bigseg.gaussian(grey, sigma=BLUR)
    real = map(np.float32, (CUPPING, 0, 1, 0, RINGS, 0, noise))
    found = np.empty(grey.shape, np.uint8)
    expose(grey, (0, 0, 0), grey.shape, Scanner(seed, *real), found)
    return found


def hysteresis(image: Array, mask: Array, lower: slice, upper: slice) -> tuple[Array, dict[str, float]]:
    """The best smoothing and two thresholds of the lower half, applied to the upper half by bigseg.

    The smoothing is the one whose best single threshold has the greatest Dice; then pairs of thresholds are tried.
    """
    smooth = {sigma: _smooth(image[lower], sigma) for sigma in SIGMAS}
    sigma = max(SIGMAS, key=lambda s: curve(-smooth[s], mask[lower]).best()[1])
    x = smooth[sigma]
    dark, bright = (float(np.median(x[part])) for part in (mask[lower], ~mask[lower]))
    levels = [dark + share * (bright - dark) for share in SHARES]
    tried = {}
    for place, low in enumerate(levels):
        for high in levels[place:]:
            tried[low, high] = dice(apply_hysteresis_threshold(-x, -high, -low), mask[lower])
    low, high = max(tried, key=lambda pair: tried[pair])
    found = bigseg.hysteresis(_smooth(image[upper], sigma), low=low, high=high, polarity="below")
    return found, {"sigma": sigma, "low": low, "high": high, "lower": tried[low, high]}


def _smooth(image: Array, sigma: float) -> Array:
    return bigseg.gaussian(image.astype(np.float32), sigma=sigma) if sigma else image.astype(np.float32)


def forest(image: Array, mask: Array, lower: slice, upper: slice, seed: int) -> tuple[Array, dict[str, float]]:
    """A forest of the lower half: one half of its planes learned from, the other for the threshold."""
    middle = (lower.start + lower.stop) // 2
    learned, held = slice(lower.start, middle), slice(middle, lower.stop)

    def planes(part: slice) -> Array:
        found = bigseg.features(image[part], intensity=True, **FEATURES)
        return found.reshape(len(found), -1)

    table, flat = planes(learned), mask[learned]
    places = np.concatenate([sample(flat, YES, seed), sample(~flat, NO, seed)])
    model = RandomForestClassifier(TREES, min_samples_leaf=5, random_state=seed, n_jobs=1)
    model.fit(np.ascontiguousarray(table[:, places].T), flat.reshape(-1)[places])
    threshold, best = curve(predict(model, planes(held)), mask[held].reshape(-1)).best()
    scores = predict(model, planes(upper)).reshape(mask[upper].shape)
    return scores > threshold, {"threshold": threshold, "lower": best}


def measure(true: Truth, noise: float, seed: int) -> dict[str, Any]:
    """Dice of three methods, and what share of the canaliculi they find."""
    image, mask = image_of(true.classes, noise, seed), true.classes > 0
    lower, upper = slice(0, SIDE // 2), slice(SIDE // 2, SIDE)
    wanted, thin = mask[upper], true.classes[upper] == 2
    dark, how = hysteresis(image, mask, lower, upper)
    learned, with_ = forest(image, mask, lower, upper, seed)
    otsu = image[upper] <= threshold_otsu(image[lower])
    methods = {"otsu": otsu, "hysteresis": dark, "forest": learned}
    row: dict[str, Any] = {"noise": noise, "seed": seed, "hysteresis": how, "forest": with_}
    row["dice"] = {name: dice(found, wanted) for name, found in methods.items()}
    row["canaliculi"] = {name: float(found[thin].mean()) for name, found in methods.items()}
    return row


def render(record: Mapping[str, Any]) -> str:
    """The page."""
    rows = record["rows"]
    lines = [
        "# Lacunae and canaliculi against noise",
        "",
        f"{circumstances(record)}; {record['seconds']:.0f} s with one thread. "
        f"{SIDE}^3 voxels of bone_7H6A_B2 from {CORNER} with {record['lacunae']} real lacunae, canaliculi of radius "
        f"{RADIUS:g} drawn between them ({record['lacuna share']:.1%} and {record['canaliculus share']:.1%} of the "
        f"voxels). Bone {BONE:g}, voids {VOID:g}; blur {BLUR:g}, cupping {CUPPING:.0%}, rings {RINGS:g}, Gaussian "
        f"noise; uint8. Means (and least to greatest) of {record['seeds']} realisations of rings and noise.",
        "",
        "Everything is chosen on the lower 64 planes at each noise: smoothing and two thresholds of hysteresis by "
        f"Dice; a forest of {TREES} trees on {record['features']} features learned from 32 planes, its "
        "threshold from the other 32. Otsu's threshold for comparison. Dice of voids (lacunae and canaliculi), and "
        "share of the canaliculi's voxels found, on the upper 64 planes.",
        "",
    ]
    means = []
    for noise in sorted({row["noise"] for row in rows}):
        here = [row for row in rows if row["noise"] == noise]
        ratio = f"{(BONE - VOID) / noise:.1f}" if noise else "-"
        cells = [f"{noise}", ratio]
        for key in ("dice", "canaliculi"):
            for name in ("otsu", "hysteresis", "forest"):
                values = [row[key][name] for row in here]
                spread = f" ({min(values):.3f}-{max(values):.3f})" if key == "dice" else ""
                cells.append(f"{np.mean(values):.3f}{spread}")
        means.append(cells)
    head = ("noise", "contrast / noise", "Otsu", "hysteresis", "forest", "canaliculi: Otsu", "hysteresis", "forest")
    return "\n".join([*lines, *table(head, means)]) + "\n"


def picture(record: Mapping[str, Any], true: Truth, path: Path) -> None:
    """Dice against noise, and one plane at several strengths."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = record["rows"]
    figure, axes = plt.subplots(1, 4, figsize=(15, 4), layout="constrained", width_ratios=(1.4, 1, 1, 1))
    for name, colour in (("forest", "#4477aa"), ("hysteresis", "#ee6677"), ("otsu", "#bbbbbb")):
        means = [np.mean([row["dice"][name] for row in rows if row["noise"] == noise]) for noise in NOISES]
        axes[0].plot(NOISES, means, marker="o", label=name, color=colour)
        axes[0].plot([row["noise"] for row in rows], [row["dice"][name] for row in rows], ".", color=colour, alpha=0.5)
    axes[0].set(xlabel=f"noise (contrast {BONE - VOID:g})", ylabel="Dice, upper half", ylim=(0.8, 1.005))
    axes[0].legend(title="Otsu: 0.16 and less from noise 20")
    plane = SIDE // 2 + int(np.argmax((true.classes[SIDE // 2 :] == 2).sum(axis=(1, 2))))
    for axis, noise in zip(axes[1:], (10, 30, 60), strict=True):
        axis.imshow(image_of(true.classes, noise)[plane], cmap="gray", vmin=0, vmax=255)
        axis.set_title(f"plane {plane}, noise {noise}")
        axis.set_axis_off()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.lacunae_noise", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the plot")
    parser.add_argument("--page", type=Path, default=HERE, help="folder of the page")
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args(arguments)
    with_one_thread("lacunae_noise")
    start, begin = begun("lacunae_noise", ["--out", "DIR"]), time.perf_counter()
    true = truth()
    rows = []
    for noise in NOISES:
        for seed in range(given.seeds):
            rows.append(measure(true, noise, seed))
            print({key: rows[-1][key] for key in ("noise", "seed", "dice", "canaliculi")}, flush=True)
    record: dict[str, Any] = {
        **start,
        "seconds": time.perf_counter() - begin,
        "lacunae": true.lacunae,
        "lacuna share": float((true.classes == 1).mean()),
        "canaliculus share": float((true.classes == 2).mean()),
        "features": len(bigseg.features(np.zeros((5, 5, 5), np.uint8), intensity=True, **FEATURES)),
        "seeds": given.seeds,
        "rows": rows,
    }
    given.out.mkdir(parents=True, exist_ok=True)
    write(given.page, "LACUNAE", record, render)
    picture(record, true, given.out / "lacunae.png")


if __name__ == "__main__":
    main()
