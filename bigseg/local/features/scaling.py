"""Scaling of features: each minus a centre and divided by a scale, or replaced by its quantile.

Centre and scale are those of scikit-learn's StandardScaler, RobustScaler, MinMaxScaler and QuantileTransformer
(n_quantiles as given, subsample=None) on the whole table. Two ways to find them::

    fit_table(kind, planes)          from one table: the sample on which an estimator is trained
    fit_tiles(kind, read, n)         from every voxel of a volume: ``read()`` yields its tiles, once or three times

The first is exact for the sample, and as the sample is the same for any blocks, so is the scaling. The second is
exact for the volume: counts and sums (`bigseg.local.features.tally`) are integers, so tiles add up in any order, means
are rounded once and quantiles lie between true voxels. `Fit` is the same in steps, for reads spread over blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from bigseg.errors import ParameterError
from bigseg.local.features.tally import POWERS, STEP, UPPER, Counting, Search, Tables, moments
from bigseg.local.filters.linear import Float32
from bigseg.local.thresholds.ordered import between, places

Kind = Literal["standard", "robust", "minmax", "quantile"]
KINDS = ("standard", "robust", "minmax", "quantile")
MOST_QUANTILES = 1000
RANKED = ("robust", "quantile")
"""Kinds that need quantiles."""


@dataclass(frozen=True)
class Scaling:
    """How features are scaled, as it is kept in a model.

    Parameters
    ----------
    kind : standard (mean 0, standard deviation 1), robust (median 0, 1 between the quartiles), minmax (0 to 1) or
        quantile (the share of voxels below, 0 to 1).
    centre, scale : of each feature; of kind quantile ().
    quantiles : of kind quantile, the values at evenly spaced shares of the voxels, a tuple a feature.

    Examples
    --------
    >>> scaling = Scaling("standard", (10.0,), (2.0,))
    >>> planes = np.array([[8, 10, 13]], np.float32)
    >>> scaling.apply(planes)
    >>> planes
    array([[-1. ,  0. ,  1.5]], dtype=float32)
    >>> Scaling.from_dict(scaling.to_dict()) == scaling
    True
    """

    kind: Kind
    centre: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    quantiles: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        lengths = {len(item) for item in self.quantiles}
        linear = self.kind != "quantile"
        fits = bool(self.centre) and len(self.centre) == len(self.scale) and not self.quantiles
        if self.kind not in KINDS or not (fits if linear else lengths and len(lengths) == 1 and min(lengths) > 1):
            raise ParameterError(
                f"scaling {self.kind!r} with {len(self.centre)} centres, {len(self.scale)} scales and "
                f"{len(self.quantiles)} rows of quantiles: expected one of {', '.join(KINDS)}, with a centre and a "
                "scale for each feature, or for quantile a row of two values or more for each"
            )
        if not all(np.isfinite(self.centre)) or not all(np.isfinite(s) and s > 0 for s in self.scale):
            raise ParameterError(f"scaling {self.kind!r}: expected finite centres, and scales above 0")

    @property
    def features(self) -> int:
        """How many features it scales."""
        return len(self.centre) or len(self.quantiles)

    def apply(self, planes: Float32) -> None:
        """Scale a table (features, voxels) where it lies, in float32 as scikit-learn does.

        Raises
        ------
        ParameterError : another number of features.

        Notes
        -----
        0.2 ns a feature and voxel; quantile 50 ns for 100 quantiles.
        """
        if len(planes) != self.features:
            raise ParameterError(f"a scaling of {self.features} features: found {len(planes)}")
        if self.kind == "quantile":
            shares = np.linspace(0, 1, len(self.quantiles[0]))
            for row, known in zip(planes, self.quantiles, strict=True):
                _shares(row, np.array(known), shares)
            return
        for row, centre, scale in zip(planes, self.centre, self.scale, strict=True):
            _scale(row, np.float32(centre), np.float32(scale))

    def to_dict(self) -> dict[str, Any]:
        """As what JSON can hold; floats come back with the same bits."""
        return {key: value for key, value in asdict(self).items() if value}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Scaling:
        """From what `to_dict` gave, also after JSON."""
        rows = tuple(tuple(float(v) for v in row) for row in found.get("quantiles", ()))
        centre, scale = (tuple(float(v) for v in found.get(key, ())) for key in ("centre", "scale"))
        return cls(found["kind"], centre, scale, rows)


def fit_table(kind: Kind, planes: Float32, quantiles: int = 100) -> Scaling:
    """The scaling of one table.

    Parameters
    ----------
    kind : as in `Scaling`.
    planes : (features, voxels) float32, finite.
    quantiles : of kind quantile, how many.

    Raises
    ------
    ParameterError : an unknown kind, or a number of quantiles that cannot be.
    ValuesError : no voxel, NaN or infinite values.

    Examples
    --------
    >>> fit_table("robust", np.array([[1, 2, 3, 4, 100]], np.float32))
    Scaling(kind='robust', centre=(3.0,), scale=(2.0,), quantiles=())
    """
    return fit_tiles(kind, lambda: [planes], len(planes), quantiles)


def fit_tiles(kind: Kind, read: Callable[[], Iterable[Float32]], features: int, quantiles: int = 100) -> Scaling:
    """The scaling of all voxels of a volume, the same for any tiles and blocks.

    Parameters
    ----------
    kind, quantiles : as in `fit_table`.
    read : yields every voxel once, as tables (features, voxels) float32; called once for standard and minmax, three
        times for robust and quantile.
    features : rows of the tables.

    Returns
    -------
    Scaling, of features that do not vary with a scale of 1, as scikit-learn.

    Raises
    ------
    ParameterError, ValuesError : as `fit_table`.

    Notes
    -----
    2 ns a feature and voxel the first read, 0.7 the others; 0.5 MiB a feature for robust and quantile, else 16 KiB.

    Examples
    --------
    >>> halves = [np.array([[0, 4]], np.float32), np.array([[2, 2]], np.float32)]
    >>> fit_tiles("minmax", lambda: halves, 1)
    Scaling(kind='minmax', centre=(0.0,), scale=(4.0,), quantiles=())
    """
    fit: Fit | Scaling = Fit(kind, features, quantiles)
    while isinstance(fit, Fit):
        counting = fit.counting
        tables = counting.empty()
        for planes in read():
            counting.add(tables, planes)
        fit = fit.after(tables)
    return fit


@dataclass(frozen=True)
class Fit:
    """A scaling on the way: what the next read counts, and what follows from its counts.

    Parameters
    ----------
    kind, quantiles : as in `fit_table`; features : how many.
    voxels : counted in the first read; search : where the wanted ranks lie, as far as it is known.
    """

    kind: Kind
    features: int
    quantiles: int = 100
    voxels: int = 0
    search: Search | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS or not 2 <= self.quantiles <= MOST_QUANTILES:
            raise ParameterError(
                f"scaling {self.kind!r} with {self.quantiles} quantiles: expected one of {', '.join(KINDS)}, and 2 to "
                f"{MOST_QUANTILES}"
            )

    @property
    def reads(self) -> int:
        """Reads in all."""
        return 3 if self.kind in RANKED else 1

    def table_bytes(self, read: int) -> int:
        """Bytes of the tables of a read, the first being 1, at most."""
        if read > 1:
            return 8 * STEP * self.features * 2 * self.shares.size
        return self.features * (8 * 4 * POWERS + 8 + (8 * UPPER if self.kind in RANKED else 0))

    @property
    def shares(self) -> NDArray[np.float64]:
        """Percentages that are wanted."""
        return np.linspace(0, 100, self.quantiles) if self.kind == "quantile" else np.array([25.0, 50.0, 75.0])

    @property
    def counting(self) -> Counting:
        """What the next read counts."""
        if self.search is None:
            return Counting(self.features, self.kind in RANKED)
        return Counting(self.features, True, self.search.prefixes, self.search.bits)

    def after(self, tables: Tables) -> Fit | Scaling:
        """The scaling, or the next read, from the tables of all voxels.

        Raises
        ------
        ValuesError : no voxel was counted.
        """
        if self.search is None:
            found = [moments(outline) for outline in tables["outline"]]
            least, greatest = (tables[name].astype(np.float64) for name in ("least", "greatest"))
            if self.kind == "minmax":
                return Scaling(self.kind, tuple((least + 0.0).tolist()), _nonzero(greatest - least))
            if self.kind == "standard":
                return Scaling(self.kind, tuple(mean for _, mean, _ in found), _nonzero([std for *_, std in found]))
            begin, counts = replace(self, voxels=found[0][0]), tables["counts"][:, np.newaxis]
            return replace(begin, search=Search.begin(self.features).narrowed(counts, begin._ranks))
        search = self.search.narrowed(tables["refined"], self._ranks)
        return replace(self, search=search) if search.bits < 32 else self._finished(search)

    def to_dict(self) -> dict[str, Any]:
        """As what JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Fit:
        """From what `to_dict` gave, also after JSON."""
        search = found["search"]
        if search is not None:
            rows = (tuple(tuple(int(n) for n in row) for row in search[key]) for key in ("prefixes", "below"))
            search = Search(search["bits"], *rows)
        return cls(found["kind"], found["features"], found["quantiles"], found["voxels"], search)

    @property
    def _ranks(self) -> NDArray[np.int64]:
        before, after, _ = places(self.voxels, self.shares)
        return np.unique(np.concatenate([before, after]))

    def _finished(self, search: Search) -> Scaling:
        before, after, weight = places(self.voxels, self.shares)
        low, high = search.values(before), search.values(after)
        known = between(low, high, weight)
        if self.kind == "quantile":
            # Rounding between two voxels may turn neighbours round.
            rows = np.maximum.accumulate(known, axis=1)
            return Scaling(self.kind, quantiles=tuple(tuple(row.tolist()) for row in rows))
        return Scaling(self.kind, tuple(known[:, 1].tolist()), _nonzero(known[:, 2] - known[:, 0]))


def _nonzero(scale: ArrayLike) -> tuple[float, ...]:
    """Scales, 1 where a feature does not vary."""
    found = np.asarray(scale, np.float64)
    return tuple(np.where(found > 0, found, 1.0).tolist())


@njit(nogil=True, cache=True)
def _scale(row, centre, scale):  # type: ignore[no-untyped-def]
    for i in range(row.size):
        row[i] = (row[i] - centre) / scale


@njit(nogil=True, cache=True)
def _shares(row, known, shares):  # type: ignore[no-untyped-def]
    """Replace values by the share of voxels below: where several quantiles are equal, the middle of theirs."""
    last = known.size - 1
    for i in range(row.size):
        value = np.float64(row[i])
        if value <= known[0]:
            row[i] = 0
            continue
        if value >= known[last]:
            row[i] = 1
            continue
        low = np.searchsorted(known, value, side="left")
        high = np.searchsorted(known, value, side="right")
        if low == high:
            a, b = known[low - 1], known[low]
            row[i] = shares[low - 1] + (shares[low] - shares[low - 1]) * (value - a) / (b - a)
        else:
            row[i] = (shares[low] + shares[high - 1]) * 0.5
