"""Pipeline files with mistakes of every kind: each is planned, or refused in one clear message (R14).

A drawn file is a valid one (a recipe, or an operation's own example) with some of its values, keys and steps replaced
by what nobody should write, or with letters changed anywhere. ``python -m tests.faults.fuzz [COUNT] [SEED]`` draws
2,000 and prints those that were not refused as they should be.
"""

from __future__ import annotations

import contextlib
import copy
import io
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from bigseg.cli.main import run
from bigseg.ops.registry import OPS
from bigseg.pipeline.recipes import recipes
from tests.faults.run import Row
from tests.volumes import store

TESTS = ("R14",)
FULL = 2000
CODES = (0, 2, 3, 4)
"""Planned, or refused: the pipeline, the input (a model file), the memory."""
SECONDS, MOST_LINES, MOST_LETTERS = 2.0, 24, 4000
EVIL: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**64, -(10**30), 10**300, 0.5, -0.0, 1e-320, 1e300, float("nan")),
    *(
        float("inf"),
        "",
        " ",
        "x" * 3000,
        "\x7f\u202e\ud7ff",
        "../../x",
        "/dev/zero",
        "~",
        "on",
        "nan",
        "1e999",
        "9" * 400,
    ),
    *("${", "${a.b}", "${input.x}", "${levels.otsu}", "5 um", "-5 um", "1e400 um", "5 parsec", "100 um3", "__class__"),
    *([], {}, [[]], [1, 2], [0] * 2000, ["x"], [None], {"x": {"y": []}}, {1: 2}, [[1, 0, 1]] * 3, [float("nan")] * 3),
    *("input", "smooth", "uint8", "object", "O", "os:system", "lambda: 0", "1 + 1", "input ** 9", "(" * 900, "M8[s]"),
)
LIKELY: tuple[Any, ...] = (
    *(
        0,
        1,
        2,
        3,
        5,
        7,
        255,
        1000,
        10**6,
        10**9,
        0.0,
        0.5,
        1.5,
        100.0,
        -1.0,
        1e-9,
        1e9,
        "2",
        "1.5",
        "50%",
        "box",
        "ball",
    ),
    *("smooth", "dark", "grains", "input", "above", "below", "uint8", "float32", "int64", "linear", "otsu", "all"),
    *([1, 1, 1], [1, 3, 5], [0.5, 1.0], [[1]], ["otsu", "li"], ["smooth"], [1, -2], {"gaussian": [1, 2]}, {1: "pore"}),
    *({"intensity": True}, {"preset": "ilastik"}, {"preset": "basic", "scales": [1e6]}, {"neighbours": [99, 99, 99]}),
)
"""Values that some parameter takes."""
NAMES = ("", "id", "op", "from", "mask", "sigma", "size", "model", "digest", "__init__", "x" * 500, "save", "version")


class Bad(NamedTuple):
    """A file that was not refused as it should be."""

    text: str
    why: str


def seeds() -> list[dict[str, Any]]:
    """Valid pipelines: the recipes, and every operation's example after steps that it may refer to."""
    found = [yaml.safe_load(path.read_text()) for path in recipes().values()]
    before = [
        {"id": "smooth", "op": "gaussian", "sigma": 1.0},
        {"id": "levels", "op": "auto_threshold"},
        {"id": "dark", "op": "hysteresis", "from": "smooth", "low": 50, "high": "${levels.otsu}"},
        {"id": "grains", "op": "label"},
    ]
    for kind in OPS.values():
        step = yaml.safe_load(kind.example) or {"op": kind.op}
        found.append({"version": 1, "steps": [*before, {**step, "id": "drawn"}], "save": ["dark"]})
    return found


def drawn(source: random.Random, valid: list[dict[str, Any]]) -> str:
    """A spoilt pipeline file."""
    data = copy.deepcopy(source.choice(valid))
    if source.random() < 0.65:  # a file that is right but for a parameter or two
        step = data["steps"][-1]
        for _ in range(source.randint(1, 2)):
            fields = ["mask", "from"] if source.random() < 0.1 else list(OPS[step["op"]].model_fields)
            step[source.choice(fields or ["id"])] = copy.deepcopy(source.choice(source.choice((EVIL, LIKELY, LIKELY))))
        return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
    for _ in range(source.randint(1, 3)):
        data = _spoilt(source, data)
    text = str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True))
    if source.random() < 0.25:
        for _ in range(source.randint(1, 8)):
            place = source.randrange(len(text) + 1)
            text = text[:place] + source.choice("&*!{}[]:,-?|>'\"%@`\x00\t\n é#") + text[place + source.randint(0, 2) :]
    return text


def _spoilt(source: random.Random, data: Any) -> Any:
    """One thing in it replaced, renamed, removed or repeated."""
    places = list(_places(data))
    if not places or source.random() < 0.03:
        return source.choice(EVIL)
    holder, key = source.choice(places)
    what = source.random()
    if what < 0.6:
        holder[key] = copy.deepcopy(source.choice(EVIL))
    elif what < 0.7:
        del holder[key]
    elif what < 0.8 and isinstance(holder, dict):
        holder[source.choice(NAMES)] = holder.pop(key)
    elif what < 0.9 and isinstance(holder, list):
        holder.insert(source.randrange(len(holder) + 1), copy.deepcopy(holder[key]))
    elif what < 0.95 and isinstance(holder, dict):
        holder["op"] = source.choice(list(OPS))
    else:
        holder[key] = [holder[key]]
    return data


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every value in nested lists and mappings, as the holder and the key."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in list(items):
        yield data, key
        yield from _places(value)


def refused(path: Path, volume: Path, text: str) -> str:
    """What is wrong with how a file was planned or refused; "" where all is right."""
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    out, err = io.StringIO(), io.StringIO()
    for _ in range(3):  # again where it was slow: the machine may have been busy
        out, err = io.StringIO(), io.StringIO()
        began = time.perf_counter()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = run(["plan", str(path), "-i", str(volume), "--workers", "0", "--memory", "2GiB"])
            except BaseException as error:
                return f"raised {type(error).__name__}: {error!s:.200}"
        seconds = time.perf_counter() - began
        if seconds < SECONDS:
            break
    said = err.getvalue()
    if code not in CODES:
        return f"left with {code}: {said:.300}"
    if seconds >= SECONDS:
        return f"took {seconds:.1f} s"
    if code and not (said.startswith("bigseg: ") and said.count("\n") <= MOST_LINES and len(said) <= MOST_LETTERS):
        return f"{said.count(chr(10))} lines, {len(said)} letters: {said:.200}"
    return "it printed a traceback" if "Traceback" in said else ""


def fuzz(count: int, seed: int, tell: Callable[[Bad], None] = lambda bad: None) -> list[Bad]:
    """Draw files, and give back those that were not refused as they should be."""
    source, valid = random.Random(seed), seeds()
    folder = Path(tempfile.mkdtemp(prefix="bigseg-fuzz-"))
    before = os.getcwd()
    bad = []
    try:
        volume = store(folder / "v.zarr", np.arange(9 * 10 * 11, dtype=np.uint16).reshape(9, 10, 11))
        os.chdir(folder)
        for text in (drawn(source, valid) for _ in range(count)):
            if why := refused(folder / "p.yaml", volume, text):
                bad.append(Bad(text, why))
                tell(bad[-1])
        if found := {item.name for item in folder.iterdir()} - {"v.zarr", "p.yaml"}:
            bad.append(Bad("", f"made {', '.join(sorted(found))}"))
    finally:
        os.chdir(before)
        shutil.rmtree(folder)
    return bad


def full() -> Row:
    """2,000 of them."""
    began = time.perf_counter()
    bad = fuzz(FULL, 2026)
    note = f"{(time.perf_counter() - began) / FULL * 1e3:.0f} ms each" + "".join(f"; {item.why}" for item in bad[:3])
    return Row("R14", "spoilt pipeline files, each planned or refused in one message", FULL, FULL - len(bad), note)


if __name__ == "__main__":
    wanted, start = (int(item) for item in (*sys.argv[1:3], *("2000", "2026")[len(sys.argv) - 1 :]))
    missed = fuzz(wanted, start, lambda bad: print(f"--- {bad.why}\n{bad.text:.1500}", flush=True))
    print(f"{wanted} pipeline files drawn, {len(missed)} not refused as they should be")
    sys.exit(bool(missed))
