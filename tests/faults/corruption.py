"""R3: bit flips, truncations, empty, deleted, swapped and stale files; all found, no other; mended to golden.

Two kinds of run are damaged: one that is finished (its scratch is gone), and one that was killed before its end,
whose partial results are damaged too. ``stat`` finds what changed a length.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bigseg.engine.damage import find_damage
from bigseg.pipeline.pipeline import Pipeline
from bigseg.pipeline.repairing import repair
from tests.faults import chain, recipes
from tests.faults.driver import fast_folder
from tests.faults.run import Row

TESTS = ("R3",)
BESIDE = True
SHAPE, BLOCK = (40, 48, 144), 16
KINDS = ("flip", "cut", "empty", "gone", "swapped", "stale")
LENGTHS = ("cut", "empty", "gone")
"""Kinds that a comparison of lengths finds for certain."""


class _Stopped(Exception):
    """Ends a run from its observer, with everything finished so far kept."""


@dataclass
class Corruptor:
    """Damages files of a run in every way.

    Parameters
    ----------
    out : the run's folder.
    stale : a folder with the same files as another run made them.
    seed : of what is damaged, and how.
    """

    out: Path
    stale: Path
    seed: int

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def journalled(self) -> list[str]:
        """Names of the files that count, longest first in no case: in a random order."""
        found = find_damage(self.out, "stat")
        assert not found.damaged
        names = []
        for parent, _, files in os.walk(self.out):
            names += [os.path.relpath(os.path.join(parent, name), self.out) for name in sorted(files)]
        skipped = ("journal", "report.html", "run.json", "pipeline.yaml")
        names = sorted(name for name in names if not name.startswith(skipped) and not name.endswith("zarr.json"))
        assert len(names) == found.files
        self.chance.shuffle(names)
        return names

    def damage(self, count: int) -> dict[str, str]:
        """Damage so many files; gives back how each was."""
        names, done = self.journalled(), {}
        for name in names:
            if len(done) >= count:
                break
            if name not in done:
                kind = KINDS[len(done) % len(KINDS)]
                done |= dict.fromkeys(self._one(name, kind, [n for n in names if n not in done]), kind)
        return done

    def _one(self, name: str, kind: str, others: list[str]) -> list[str]:
        path = self.out / name
        data, state = path.read_bytes(), path.stat()
        if kind == "gone":
            path.unlink()
            return [name]
        if kind == "stale":
            old = self.stale / name
            new = old.read_bytes() if old.exists() else data
            if new == data:
                kind = "flip"
            else:
                path.write_bytes(new)
        if kind == "swapped":
            family = [n for n in others if n != name and n.split("/")[:2] == name.split("/")[:2]]
            other = next((n for n in family if (self.out / n).read_bytes() != data), None)
            if other is None:
                kind = "flip"
            else:
                path.write_bytes((self.out / other).read_bytes())
                (self.out / other).write_bytes(data)
                return [name, other]
        if kind == "flip":
            place = self.chance.randrange(len(data))
            path.write_bytes(data[:place] + bytes([data[place] ^ 1 << self.chance.randrange(8)]) + data[place + 1 :])
        elif kind in ("cut", "empty"):
            path.write_bytes(data[: self.chance.randrange(1, len(data)) if kind == "cut" else 0])
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # the date must not give it away
        return [name]


@dataclass
class Runs:
    """A finished run, one that was killed when its last stage began, and what they must end with."""

    folder: Path

    def __post_init__(self) -> None:
        self.volume = chain.make_volume(self.folder / "volume.zarr", SHAPE, chunk=BLOCK)
        chain.run(self.volume, self.folder / "finished", 0, BLOCK)
        self.golden = chain.golden(self.folder / "finished")
        self._unfinished(self.folder / "unfinished")
        other = {**chain.PIPELINE, "steps": [{"id": "smooth", "op": "gaussian", "sigma": 1.5}]}
        other["steps"] += chain.PIPELINE["steps"][1:]
        self.stale = self.folder / "stale"
        self._unfinished(self.stale, other)

    def _unfinished(self, out: Path, pipeline: dict[str, object] | None = None) -> None:
        """A run that ends by an error when the pyramids begin: its scratch is there."""

        def stop(summary: object, done: int, units: int) -> None:
            if getattr(summary, "kind", "") == "pyramid" and done:
                raise _Stopped

        try:
            Pipeline.from_dict(pipeline or chain.PIPELINE).run(
                self.volume, out, workers=0, block=(BLOCK,), memory=2 << 30, report=False, observe=stop
            )
        except _Stopped:
            return
        raise AssertionError("the run was not stopped")

    def round(self, which: str, count: int, seed: int) -> int:
        """Damage a copy of a run, find all of it and nothing else, mend it; gives back how many files."""
        out = self.folder / f"{which}-{seed}"
        shutil.copytree(self.folder / which, out)
        corruptor = Corruptor(out, self.stale, seed)
        damaged = corruptor.damage(count)
        lengths = find_damage(out, "stat")
        found = find_damage(out, "full")
        assert {item.key for item in found.damaged} == set(damaged), "found is not what was damaged"
        certain = {name for name, kind in damaged.items() if kind in LENGTHS}
        assert certain <= {item.key for item in lengths.damaged} <= set(damaged)
        before = chain.recorded(out)
        repair(out, found, workers=0, memory=2 << 30, report=False)
        again = {unit for unit, times in (chain.recorded(out) - before).items() if unit in before}
        assert set(found.blocks) <= again, "a damaged block was not computed again"
        if which == "unfinished":  # its scratch is there: what was sound stays
            assert again == set(found.blocks), "a sound block was computed again"
        assert chain.golden(out) == self.golden
        assert find_damage(out, "full").damaged == []
        assert chain.leftovers(out) == []
        assert chain.status(out) == "complete"
        shutil.rmtree(out)
        return len(damaged)

    def sound(self, which: str) -> None:
        """No false alarm."""
        for level in ("stat", "full"):
            assert find_damage(self.folder / which, level).damaged == []


def recipe(folder: Path, name: str) -> int:
    """Damage one file of every output of a finished ready pipeline, one after the other; each is mended to golden.

    What a damaged block is computed from is gone with the scratch: here it shows whether the plan knows what that is.
    """
    if not (folder / "blobs.npy").exists():
        recipes.make_inputs(folder)
    out = folder / name
    recipes.run(name, folder, out)
    golden = recipes.golden(out)
    assert find_damage(out).damaged == [], name
    last = {str(path.relative_to(out)).split("/c/")[0]: path for path in sorted(out.glob("*.ome.zarr/*/c/**/*"))}
    files = [path for path in last.values() if path.is_file()]
    files += [path for kind in ("tables", "models") for path in sorted((out / kind).glob("**/*")) if path.is_file()]
    for number, path in enumerate(files):
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 8]) if number % 2 else b"")
        found = find_damage(out)
        assert [item.key for item in found.damaged] == [str(path.relative_to(out))], name
        repair(out, found, workers=0, memory=2 << 30, report=False)
        assert recipes.golden(out) == golden, f"{name}: {path}"
        assert find_damage(out).damaged == [], f"{name}: {path}"
        assert chain.leftovers(out) == []
    shutil.rmtree(out)
    return len(files)


def full() -> Iterator[Row]:
    """1,000 damaged files in rounds of 5 to 60."""
    folder = fast_folder()
    try:
        runs = Runs(folder)
        for which in ("finished", "unfinished"):
            runs.sound(which)
            count = seed = 0
            while count < 500:
                count += runs.round(which, (5, 20, 60)[seed % 3], seed)
                seed += 1
            yield Row("R3", f"files damaged in 6 ways, {which} run", count, count, f"{seed} rounds, no false alarm")
        count = sum(recipe(folder, name) for name in recipes.RECIPES)
        yield Row("R3", "one file of each output, every ready pipeline", count, count, "finished runs")
    finally:
        shutil.rmtree(folder)
