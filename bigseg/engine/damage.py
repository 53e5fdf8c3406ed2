"""Which finished blocks of a run are no longer what the journal says.

The journal names every file of every finished unit with its length and CRC-32, and the digest of the decoded
voxels. ``stat`` compares lengths: a file that is gone, cut, empty or longer. ``full`` reads every file, which
finds any change of its bytes (a flipped bit, a file swapped for another or for one of an earlier run), and
decodes every block, which finds what was already wrong when it was written.
"""

from __future__ import annotations

import json
import os
import re
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bigseg.engine.folder import COMPONENTS, RunFolder
from bigseg.engine.journal import Unit, read_lines
from bigseg.engine.lock import refuse_held
from bigseg.errors import BigsegError, OutputError, StorageError
from bigseg.grid import Box
from bigseg.local.digest import crc32_file, digest
from bigseg.storage import blocks
from bigseg.storage.durable import names_in
from bigseg.storage.layout import read_node
from bigseg.storage.scratch import LIST
from bigseg.storage.volume import Volume

Level = Literal["stat", "full"]
Watch = Callable[[int, int], None]
"""Called now and then with the units looked at and all units."""
_SHARD = re.compile(r"(.*)/(\d+)/c/(\d+(?:/\d+)*)")
_BATCH = 256


class Damage(NamedTuple):
    """One file of a run that is not as it should be."""

    stage: str
    """Whose unit wrote it; empty for what belongs to no block: metadata."""
    unit: int
    key: str
    """Of the file, relative to the run's folder."""
    cause: str


@dataclass
class Found:
    """What a look at a run found.

    Parameters
    ----------
    units, files, size : what was looked at, in bytes.
    damaged : every file that is not as it should be.
    """

    units: int = 0
    files: int = 0
    size: int = 0
    damaged: list[Damage] = field(default_factory=list)

    @property
    def blocks(self) -> list[Unit]:
        """The units that must be computed again."""
        return sorted({(item.stage, item.unit) for item in self.damaged if item.stage})


def find_damage(
    folder: Path,
    level: Level = "full",
    watch: Watch = lambda done, units: None,
    below: str = "",
    *,
    driver: bool = False,
) -> Found:
    """Compare a run's files with its journal.

    Parameters
    ----------
    folder : of the run.
    level : ``"stat"`` compares lengths; ``"full"`` also the bytes and the decoded voxels.
    watch : is told how far it is.
    below : only files whose names begin so, relative to the folder.
    driver : who asks holds the run's lock, or is about to take it.

    Returns
    -------
    Found : files of scratch count where they are there; a finished run has none.

    Raises
    ------
    OutputError
        When there is no run, or no journal of it.
    LockedError
        When the run is still running: its files change while they are compared.
    CorruptChunkError
        When the journal itself is damaged.

    Notes
    -----
    ``stat``: 10 us a file. ``full``: as fast as the disk, or 400 million voxels a second and core. Holds 8 bytes a
    unit.
    """
    run = RunFolder(folder)
    record = run.read()
    if record is None:
        raise OutputError(f"{folder} holds no run: expected a folder made by `bigseg run`")
    if not run.journal.exists():
        raise OutputError(f"{run.journal} is gone, and with it what the run has written: begin again with --restart")
    if not driver:
        refuse_held(run.lock)
    last, finished = _last_lines(run.journal)
    units = sum(len(places) - places.count(0) for places in last.values())
    kept = {*record.get("kept", []), *names_in(run.components)}
    looks = _Looks(folder, level, finished, below, _images(run, record), kept)
    metadata = list(looks.metadata(record))
    looks.unreadable = {os.path.dirname(key) for key, _ in metadata}
    found = Found(damaged=[Damage("", -1, key, cause) for key, cause in metadata if key.startswith(below)])
    lines = _counting(run.journal, last)
    with ThreadPoolExecutor(max(1, len(os.sched_getaffinity(0)))) as pool:
        while batch := list(islice(lines, _BATCH)):
            for line, (files, size, damaged) in zip(batch, pool.map(looks.at, batch), strict=True):
                found.units += 1
                found.files += files
                found.size += size
                found.damaged += [Damage(line["s"], line["u"], key, cause) for key, cause in damaged]
            watch(found.units, units)
    if found.damaged and not driver:
        refuse_held(run.lock)  # a driver that has begun meanwhile changes what was compared
    return found


def _last_lines(journal: Path) -> tuple[dict[str, array[int]], bool]:
    """Behind which offset each unit's valid line ends, 0 where there is none; whether all was ever finished."""
    last: dict[str, array[int]] = {}
    finished = False
    for offset, line in read_lines(journal):
        finished |= "finished" in line
        if "u" in line:
            places = last.setdefault(line["s"], array("Q"))
            if line["u"] >= len(places):
                places.frombytes(bytes(8 * (line["u"] + 1 - len(places) + len(places) // 8)))
            places[line["u"]] = 0 if "void" in line else offset
    return last, finished


def _counting(journal: Path, last: Mapping[str, array[int]]) -> Iterator[dict[str, Any]]:
    """The lines that count; not those of a driver that has begun meanwhile."""
    end = max((max(places) for places in last.values()), default=0)
    for offset, line in read_lines(journal):
        if offset > end:
            return
        if "u" in line and last[line["s"]][line["u"]] == offset:
            yield line


def _images(run: RunFolder, record: Mapping[str, Any]) -> list[str]:
    """Folders of the run's images, relative to its own."""
    return [f"{name}.ome.zarr" for name in record.get("saved", []) if (run.path / f"{name}.ome.zarr").is_dir()]


@dataclass
class _Looks:
    """How one unit is looked at."""

    folder: Path
    level: Level
    finished: bool
    below: str
    images: list[str]
    kept: set[str]
    """Stages whose rows were moved out of scratch."""
    unreadable: set[str] = field(default_factory=set)
    """Images and levels whose metadata are damaged: their files are compared, but cannot be decoded."""

    def metadata(self, record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Metadata of images that cannot be read, or is not what the finished run left."""
        known = record.get("metadata", {})
        for image in self.images:
            root = self.folder / image
            names = [f"{image}/zarr.json"]
            names += [f"{image}/{name}/zarr.json" for name in names_in(root) if name.isdecimal()]
            for name in dict.fromkeys([*names, *(name for name in known if name.startswith(f"{image}/"))]):
                if cause := _metadata(self.folder / name, known.get(name)):
                    yield name, cause
        for name in (name for name in known if name.startswith(f"{COMPONENTS}/")):
            if cause := _changed(self.folder / name, known[name]):
                yield name, cause
        if "components_in" in record:  # the files of these are in the journal of another run
            for name in (f"{COMPONENTS}/{name}" for name in record.get("kept", [])):
                if not (self.folder / name).is_dir():
                    yield name, "is gone"

    def at(self, line: Mapping[str, Any]) -> tuple[int, int, list[tuple[str, str]]]:
        """Files and bytes looked at, and what is wrong with which file of one unit."""
        files, size = 0, 0
        damaged: list[tuple[str, str]] = []
        for name, length, crc in self._files(line["f"]):
            if not name.startswith(self.below):
                continue
            place = self._place(name)
            if place is None:
                continue
            files += 1
            size += length
            if cause := self._file(self.folder / place, length, crc):
                damaged.append((place, cause))
        if not damaged and self.level == "full":
            damaged += self._decoded(line)
        return files, size, damaged

    def _files(self, files: Sequence[tuple[str, int, int]]) -> Iterator[tuple[str, int, int]]:
        """A unit's files, lists of files followed."""
        for name, length, crc in files:
            yield name, length, crc
            if name.endswith(LIST) and (place := self._place(name)):
                try:
                    yield from self._files(json.loads((self.folder / place).read_bytes()))
                except (OSError, ValueError):
                    continue  # the list itself is found damaged

    def _place(self, name: str) -> str | None:
        """Where a file lies now, relative to the run's folder; None where it may be gone."""
        if self.finished and name.startswith("scratch/") and not (self.folder / name).exists():
            below = name.removeprefix("scratch/")
            return f"{COMPONENTS}/{below}" if below.partition("/")[0] in self.kept else None
        return name

    def _file(self, path: Path, length: int, crc: int) -> str:
        """What is wrong with a file; nothing: an empty text."""
        try:
            found = os.stat(path).st_size
        except OSError as error:
            return "is gone" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        if not path.is_file():
            return "is no file"
        if found != length:
            return "is empty" if not found else f"has {found} bytes, {length} were written"
        if self.level == "full":
            try:
                _, now = crc32_file(path)
            except StorageError as error:
                return f"cannot be read ({error})"
            if now != crc:
                return f"holds other bytes than were written (CRC-32 {now:08x}, was {crc:08x})"
        return ""

    def _decoded(self, line: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Volumes of a unit whose decoded voxels have another digest than those that were computed."""
        boxes: dict[tuple[str, str], list[tuple[int, ...]]] = {}
        for name, _, _ in line["f"]:
            if (shard := _SHARD.fullmatch(name)) and name.startswith(self.below):
                boxes.setdefault((shard[1], shard[2]), []).append(tuple(map(int, shard[3].split("/"))))
        digests = line["d"].split("-")
        others = any(not _SHARD.fullmatch(name) for name, _, _ in line["f"])
        if len(digests) != len(boxes) + others:
            return []  # a line of an earlier version: its bytes were compared
        wrong = []
        for (image, level), digested in zip(boxes, digests[others:], strict=True):
            root = self.folder / image
            if {image, f"{image}/{level}"} & self.unreadable or not (root / "zarr.json").exists():
                continue  # the latter is scratch that is gone
            try:
                volume = Volume.open(root, int(level), allow_incomplete=True)
                cells = boxes[image, level]
                assert volume.shard is not None
                low = tuple(min(at) * s for at, s in zip(zip(*cells, strict=True), volume.shard, strict=True))
                high = tuple((max(at) + 1) * s for at, s in zip(zip(*cells, strict=True), volume.shard, strict=True))
                box = Box(low, tuple(map(min, high, volume.spec.shape)))
                if digest(blocks.read(volume, box)) != digested:
                    cause = f"decodes to other voxels than were computed in unit {line['u']}"
                    wrong.append((f"{image}/{level}", cause))
            except BigsegError as error:
                wrong.append((f"{image}/{level}", str(error)))
        return wrong


def _metadata(path: Path, known: Sequence[int] | None) -> str:
    """What is wrong with a metadata file; nothing: an empty text."""
    if cause := _changed(path, known):
        return cause
    try:
        return "" if read_node(path.parent) is not None else "is no metadata"
    except BigsegError as error:
        return str(error)


def _changed(path: Path, known: Sequence[int] | None) -> str:
    """Whether a file is not what the finished run left, where that is known."""
    try:
        found = list(crc32_file(path))
    except BigsegError as error:
        return "is gone" if not path.exists() else str(error)
    return "" if known is None or found == list(known) else "holds other metadata than the finished run left"


def metadata_of(folder: Path, images: Sequence[Path]) -> dict[str, list[int]]:
    """Length and CRC-32 of every metadata file of finished images, and of what lists the kept components, by its name
    relative to a run's folder.
    """
    paths = sorted(RunFolder(folder).components.glob("*.json"))
    for image in images:
        levels = [name for name in names_in(image) if name.isdecimal()]
        paths += [image / "zarr.json", *(image / name / "zarr.json" for name in levels)]
    return {os.path.relpath(path, folder): list(crc32_file(path)) for path in paths}
