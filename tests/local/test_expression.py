"""The grammar of expressions: what may be said, what it is worth, and how it is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigseg.errors import ParameterError, ValuesError
from bigseg.local import formula
from bigseg.local.expression import MOST_DEPTH, parse, references
from bigseg.local.formula import evaluate, evaluate_volume, fit, power_of, tiles

RNG = np.random.default_rng(5)
VALUES = {
    "a": RNG.integers(0, 200, 50).astype("uint8"),
    "b": RNG.normal(0, 30, 50).astype("float32"),
    "m": RNG.random(50) < 0.5,
    "bbox-0": np.arange(50),
    "${levels.otsu}": 12.5,
}
NAMES = [name for name in VALUES if not name.startswith("$")]


def worth(text: str, real: type = np.float32) -> np.ndarray:
    return evaluate(parse(text, NAMES), VALUES, real)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a + b * 2", lambda a, b, m: a.astype("f4") + b * np.float32(2)),
        ("-b ** 2", lambda a, b, m: -(b * b)),
        ("2 - 3 - b", lambda a, b, m: np.float32(-1) - b),
        ("b ** 0 + b ** 1", lambda a, b, m: 1 + b),
        ("20 < a <= 100", lambda a, b, m: (a > 20) & (a <= 100)),
        ("a > 20 & b > 0 | m", lambda a, b, m: ((a > 20) & (b > 0)) | m),
        ("not m and not a > 50", lambda a, b, m: ~m & (a <= 50)),
        ("~m & ~(a > 50)", lambda a, b, m: ~m & (a <= 50)),
        ("a * m", lambda a, b, m: (a * m).astype("f4")),
        ("where(m, a, 0)", lambda a, b, m: np.where(m, a, 0).astype("uint8")),
        ("where(m, a, -1)", lambda a, b, m: np.where(m, a.astype("i2"), -1).astype("i2")),
        ("where(m, a, b)", lambda a, b, m: np.where(m, a.astype("f4"), b)),
        ("clip(a, 10, 20)", lambda a, b, m: a.clip(10, 20)),
        ("min(a, 300)", lambda a, b, m: a.astype("uint16")),
        ("max(b, 0)", lambda a, b, m: np.maximum(b, 0)),
        ("a > ${levels.otsu}", lambda a, b, m: a > 12.5),
        ("bbox-0 - 1 < bbox-0", lambda a, b, m: np.ones(50, bool)),
        ("m == (a > 20) != m", lambda a, b, m: (m == (a > 20)) & ((a > 20) != m)),
        ("a // 7 * 7 + a % 7", lambda a, b, m: a.astype("f4")),
        ("sqrt(abs(b))", lambda a, b, m: np.sqrt(np.abs(b))),
        ("a < 300", lambda a, b, m: np.ones(50, bool)),
    ],
)
def test_what_expressions_are_worth(text: str, wanted: object) -> None:
    """Values and dtypes are numpy's; arithmetic is in float32, what only chooses keeps integers."""
    expected = wanted(VALUES["a"], VALUES["b"], VALUES["m"])  # type: ignore[operator]
    found = worth(text)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@st.composite
def arithmetic(draw: st.DrawFn, depth: int = 3) -> str:
    """Text that Python and numpy read as we do."""
    if depth == 0:
        return draw(st.sampled_from("abc"))
    text = draw(arithmetic(depth - 1))
    for _ in range(draw(st.integers(0, 2))):
        text += f" {draw(st.sampled_from(['+', '-', '*', '//', '/', '%']))} {draw(arithmetic(depth - 1))}"
    return draw(st.sampled_from([text, f"({text})", f"-{text}", f"-({text}) ** 2", f"({text}) ** 2"]))


@settings(max_examples=150)
@given(arithmetic(), arithmetic(), st.sampled_from(["<", "<=", "==", "!="]))
def test_precedence_is_pythons(left: str, right: str, sign: str) -> None:
    """For any arithmetic and comparison, the value is the one that Python gives the same text."""
    known = {name: RNG.integers(-9, 9, 40).astype(float) for name in "abc"}
    for text in (left, f"{left} {sign} {right}"):
        with np.errstate(all="ignore"):
            wanted = eval(text, {}, dict(known))
        np.testing.assert_array_equal(evaluate(parse(text, known), known, np.float64), wanted)


WORDS = (
    "a b m bbox-0 ( ) , + - * / // % ** < <= > == != & | ~ and or not min max where clip abs sqrt 1 2.5 1e9 100um3 "
    "3um ${levels.otsu} = ^ $ {"
)


@settings(max_examples=300)
@given(
    st.one_of(
        st.text(max_size=60),
        st.lists(
            st.sampled_from(WORDS.split()),
            max_size=25,
        ).map(" ".join),
        st.sampled_from(["(", "-", "not ", "~", "a+", "min(a,", "${", "9", "a<", "a**"]).map(lambda part: part * 400),
    )
)
def test_any_text_is_a_value_or_refused(text: str) -> None:
    """Whatever the text: an array of the names' shape, a constant, or a ParameterError; never anything else."""
    try:
        parsed = parse(text, NAMES, lambda value, unit: (value, 3))
        power_of(parsed, {"a": 3})
        found = evaluate(parsed, VALUES, np.float32)
    except ParameterError:
        pass
    else:
        assert found.shape in ((50,), ())
        assert found.dtype.kind in "biuf"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a +", "column 4: expected a number, a name or a function, found the end"),
        ("volum > 3", "column 1: unknown name 'volum', did you mean 'volume'"),
        ("squrt(a)", "column 1: unknown function 'squrt', did you mean 'sqrt'"),
        ("a = 3", "column 3: .* write =="),
        ("a ^ 2", "column 3: .* write \\*\\*"),
        ("(a > 3", "column 7: expected '\\)', found the end"),
        ("a b", "column 3: expected an operator before 'b'"),
        ("2 a", "column 3: expected an operator between 2 and 'a'"),
        ("a > 3 um", "column 7: .*numbers have no unit here"),
        ("a and m", "column 1: expected a mask or a comparison, found numbers: write a != 0"),
        ("~(a + 1)", "column 5: expected a mask"),
        ("a ** b", "column 6: expected a whole number from 0 to 8"),
        ("where(m, a)", "column 1: where takes 3 values, found 2"),
        ("a; import os", "column 2: unexpected character ';'"),
        ("a.__class__", "column 2: unexpected character '.'"),
        ("__import__('os')", "column 12: unexpected character"),
        ("__import__(a)", "column 1: unknown function"),
        ("(" * 500 + "a", f"at most {MOST_DEPTH}"),
        ("a" + " + a" * 100, f"at most {MOST_DEPTH}"),
        ("a" * 1001, "1001 characters"),
    ],
)
def test_refusals_name_the_column(text: str, said: str) -> None:
    """Each refusal says where, what was expected, and the nearest valid name."""
    with pytest.raises(ParameterError, match=said):
        evaluate(parse(text, [*NAMES, "volume"]), VALUES, np.float32)


def test_names_reach_as_far_as_known_ones() -> None:
    """A hyphen belongs to a name where the longer name is known, else it is a minus."""
    assert parse("smooth-2 - a", ["smooth-2", "a"]).names == ("smooth-2", "a")
    assert parse("smooth-2", ["smooth"]).root.what == "-"
    assert parse("a-b", ["a", "b", "a-b"]).names == ("a-b",)
    assert parse("a-bc", ["a", "bc", "a-b"]).names == ("a", "bc")
    assert references("a > ${x.y} + ${x.y} - ${z-1.p99}") == [("x", "y"), ("z-1", "p99")]


def test_units_are_of_one_kind() -> None:
    """Volumes are compared with volumes; numbers without unit fit everything."""
    powers = {"volume": 3, "diameter": 1, "num_pixels": 0}

    def read(text: str) -> float | None:
        return power_of(parse(text, powers, lambda value, unit: (value, ["um", "um2", "um3"].index(unit) + 1)), powers)

    assert read("volume / 5 um3 > 2") is None
    assert read("volume / diameter ** 2 + 5 * 1 um") == 1
    assert read("where(volume > 5, diameter, 3)") == 1
    assert read("sqrt(volume * diameter)") == 2
    for text in ("num_pixels > 100 um3", "volume + diameter > 3", "max(volume, 1 um2) > 1", "1 um3 < volume < 2 um2"):
        with pytest.raises(ParameterError, match="cannot be compared or added"):
            read(text)


@pytest.mark.parametrize("shape", [(7,), (3, 5), (70, 700), (5, 300, 200), (1, 1, 100_000), (2, 3, 40_000)])
def test_tiles_cover_every_voxel_once(shape: tuple[int, ...]) -> None:
    """Tiles are disjoint, cover everything, and hold a bounded number of voxels but for a single row."""
    seen = np.zeros(shape, int)
    for tile in tiles(shape):
        seen[tile] += 1
        assert seen[tile].size <= max(formula.TILE, shape[-1])
    assert (seen == 1).all()


def test_volumes_in_tiles_are_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of any size, and views that are not contiguous, give the same bits."""
    a = RNG.normal(0, 1, (9, 31, 47)).astype("float32")
    b = RNG.integers(0, 9, (18, 31, 47)).astype("uint16")[::2]
    parsed = parse("min(a, b, 0) / (b + 1) - a % 3 // 2 + sqrt(b) * where(a > 0, 1, -1.5)", ["a", "b"])
    found = set()
    for size in (1 << 15, 100, 47, 5):
        monkeypatch.setattr(formula, "TILE", size)
        found.add(evaluate_volume(parsed, {"a": a, "b": b}, {}, np.dtype("float32")).tobytes())
    assert len(found) == 1


@pytest.mark.parametrize(
    ("text", "voxel"),
    [
        ("a / b", "(11, 21)"),
        ("b / (a - a)", "(10, 20)"),
        ("sqrt(a - 2 * (b == 0))", "(11, 21)"),
        ("a * 1e30 * (1 - b) * 1e30", "(11, 21)"),
        ("a % b", "(11, 21)"),
        ("a + 1e300", "(10, 20)"),
    ],
)
def test_what_is_infinite_is_refused_with_its_place(text: str, voxel: str) -> None:
    """NaN, Inf and overflow of float32 are errors that name the first such voxel; a guarded division is fine."""
    arrays = {"a": np.ones((2, 3), "float32"), "b": np.array([[1, 1, 1], [1, 0, 1]], "uint8")}
    with pytest.raises(ValuesError, match=re.escape(f"at voxel {voxel}")):
        evaluate_volume(parse(text, arrays), arrays, {}, np.dtype("float32"), (10, 20))
    guarded = evaluate_volume(parse("where(b != 0, a / b, 0)", arrays), arrays, {}, np.dtype("float32"))
    assert guarded.sum() == 5


def test_casting_rounds_and_clips() -> None:
    """Halves go to the even number, what lies outside to the dtype's ends, in every width."""
    values = np.array([-1e9, -1.5, 0.5, 1.5, 254.6, 4e9, 1e30], "float32")
    assert fit(values, np.dtype("uint8")).tolist() == [0, 0, 0, 2, 255, 255, 255]
    assert fit(values, np.dtype("int16")).tolist() == [-32768, -2, 0, 2, 255, 32767, 32767]
    assert fit(values, np.dtype("uint32")).tolist() == [0, 0, 0, 2, 255, 4_000_000_000, 2**32 - 1]
    assert fit(np.array([-5, 70_000]), np.dtype("uint16")).tolist() == [0, 65535]
    assert fit(np.array([True, False]), np.dtype("uint8")).tolist() == [1, 0]
