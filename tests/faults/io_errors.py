"""R5: calls of the system that fail, by call, kind of file and error; each is reported, none is taken for success.

Our own files (partial results, tables, journal, records) are written by Python, so the calls are replaced there.
TensorStore writes a shard's temporary file itself: for that the limit of a file's size is lowered (EFBIG), or the
folder replaced by a file (ENOTDIR); what follows, fsync and rename, is Python's again.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import random
import resource
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

from bigseg.engine.damage import find_damage
from bigseg.errors import BigsegError
from tests.faults import chain
from tests.faults.driver import Watched, fast_folder
from tests.faults.run import Row

TESTS = ("R5",)
BESIDE = True
SHAPE, BLOCK = (20, 24, 136), 20
ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EACCES)
CALLS = ("open", "write", "fsync", "close", "rename", "readdir", "read")
KINDS = ("shard", "journal", "record", "metadata", "part", "table")
Fault = tuple[str, str, int, int]
"""Call, kind of file, error, and the how manieth such call fails."""


def kind_of(path: str) -> str:
    """What kind of file of a run a path names; folders count as what they hold."""
    parts = Path(path).parts
    name = parts[-1] if parts else ""
    if "journal" in name or "fingerprint" in name or (len(parts) > 1 and parts[-2] == "journal"):
        return "journal"
    if "run.json" in name or "pipeline.yaml" in name:
        return "record"
    if "zarr.json" in name:
        return "metadata"
    if any(part.endswith(".partial") for part in parts) or "c" in parts[-4:]:
        return "metadata" if ".ome.zarr.partial" in path else "shard"
    if "tables" in parts:
        return "table"
    if "scratch" in parts:
        return "part"
    return "metadata" if ".ome.zarr" in path else "record"


@dataclass
class Refusal:
    """Replaces calls of the system by ones that fail once.

    Parameters
    ----------
    root : only files below it.
    fault : which call fails.
    """

    root: Path
    fault: Fault
    hit: str = ""
    """The path that it failed for; empty: not yet."""
    seen: int = 0
    handles: dict[int, str] = field(default_factory=dict)

    def refuse(self, call: str, path: Any) -> None:
        """Raise if this is the one."""
        wanted, kind, number, count = self.fault
        text = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else self._of(path)
        if self.hit or call != wanted or not text.startswith(str(self.root)) or kind_of(text) != kind:
            return
        self.seen += 1
        if self.seen == count:
            self.hit = text
            raise OSError(number, os.strerror(number), text)

    @staticmethod
    def _of(handle: Any) -> str:
        try:
            return os.readlink(f"/proc/self/fd/{handle}")
        except OSError:
            return ""

    @contextmanager
    def active(self) -> Iterator[Refusal]:
        """While it is on."""
        with (
            mock.patch.multiple(
                os,
                open=self._before("open", os.open),
                write=self._before("write", os.write),
                fsync=self._before("fsync", os.fsync),
                close=self._closing(os.close),
                replace=self._before("rename", os.replace, 1),
                rename=self._before("rename", os.rename, 1),
                scandir=self._before("readdir", os.scandir),
                listdir=self._before("readdir", os.listdir),
            ),
            mock.patch.object(builtins, "open", self._before("read", builtins.open)),
            mock.patch.object(io, "open", self._before("read", io.open)),
        ):
            yield self

    def _before(self, call: str, original: Callable[..., Any], place: int = 0) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if len(args) > place:
                self.refuse(call, args[place])
            return original(*args, **kwargs)

        return wrapped

    def _closing(self, original: Callable[[int], None]) -> Callable[[int], None]:
        """A close that fails has closed."""

        def wrapped(handle: int) -> None:
            text = self._of(handle)
            original(handle)
            self.refuse("close", text)

        return wrapped


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """Lower the limit of a file's size for this process: EFBIG for TensorStore's files too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@dataclass
class Bench:
    """A run that meets one fault after the other."""

    folder: Path

    def __post_init__(self) -> None:
        self.volume = chain.make_volume(self.folder / "volume.zarr", SHAPE, chunk=BLOCK)
        chain.run(self.volume, self.folder / "golden", 0, BLOCK)
        self.golden = chain.golden(self.folder / "golden")
        self.number = 0

    def meet(self, faults: Sequence[Fault]) -> tuple[int, list[Fault], list[str]]:
        """One run through many faults, each continuing where the one before ended it.

        Returns
        -------
        How many calls failed, the faults whose call is never made, and what went wrong.
        """
        run, hits, missed, wrong = self._new(), 0, [], []
        for fault in faults:
            for _ in range(2):
                refusal = Refusal(run.out, fault)
                error: BaseException | None = None
                try:
                    with refusal.active():
                        chain.run(self.volume, run.out, 0, BLOCK)
                except BaseException as caught:  # whatever it is
                    error = caught
                if refusal.hit or error is not None:
                    break
                self._end(run)
                run = self._new()
            if not refusal.hit:
                missed.append(fault)
                if error is not None:
                    wrong.append(f"{fault}: {error!r} without a fault")
                continue
            hits += 1
            problem = self._judge(run, fault, refusal.hit, error)
            wrong += [f"{fault} at {refusal.hit}: {problem}"] if problem else []
        chain.run(self.volume, run.out, 0, BLOCK)
        self._end(run)
        return hits, missed, wrong

    def _judge(self, run: Watched, fault: Fault, hit: str, error: BaseException | None) -> str:
        """What is wrong after a fault; nothing: an empty text."""
        said = os.strerror(fault[2])
        if error is None:  # harmless only if everything is there
            if chain.status(run.out) != "complete" or chain.golden(run.out) != self.golden:
                return "taken for success"
            return "" if fault[0] in HARMLESS or hit.endswith(".partial") else "not reported"
        if not isinstance(error, BigsegError):
            return f"not an error for the user: {error!r}"
        if said not in str(error):
            return f"the message does not say {said!r}: {error}"
        if str(run.out) not in str(error):
            return f"the message names no path: {error}"
        if chain.status(run.out) == "complete" and chain.golden(run.out) != self.golden:
            return "says complete"
        try:
            run.after_kill()
            if (run.out / "run.json").exists() and (run.out / "journal" / "journal.jsonl").exists():
                assert not find_damage(run.out).damaged, "a torn file"
        except Exception as problem:
            return repr(problem)
        return ""

    def _new(self) -> Watched:
        self.number += 1
        return Watched(self.folder / f"run-{self.number}", self.golden)

    def _end(self, run: Watched) -> None:
        run.after_end()
        shutil.rmtree(run.out)

    def limited(self, size: int) -> str:
        """A run where no file may be longer; gives back what it said."""
        run = self._new()
        try:
            with no_file_longer_than(size):
                chain.run(self.volume, run.out, 0, BLOCK)
        except BigsegError as error:
            said = str(error)
        else:
            raise AssertionError(f"nothing was longer than {size} bytes")
        assert chain.status(run.out) != "complete"
        assert "bytes" in said, said
        assert str(run.out) in said, said
        run.after_kill()
        if (run.out / "run.json").exists():
            assert not find_damage(run.out).damaged
        chain.run(self.volume, run.out, 0, BLOCK)
        self._end(run)
        return said


HARMLESS = ("readdir",)
"""Calls that may fail without harm where only leftovers are looked for or removed, as a temporary folder is."""


def faults(counts: Sequence[int], seed: int) -> list[Fault]:
    """Every call, kind and error, in a random order."""
    found = [(call, kind, error, n) for call, kind, error, n in product(CALLS, KINDS, ERRORS, counts)]
    random.Random(seed).shuffle(found)
    return found


def full() -> Iterator[Row]:
    """All of it."""
    folder = fast_folder()
    try:
        bench = Bench(folder)
        for error in ERRORS:
            chosen = [fault for fault in faults((1, 2, 5), error) if fault[2] == error]
            hits, missed, wrong = bench.meet(chosen)
            for item in wrong:
                print("  wrong:", item)
            note = f"{len(missed)} combinations are calls that are never made"
            yield Row("R5", f"{errno.errorcode[error]} from open, write, fsync, …", hits, hits - len(wrong), note)
        sizes = [200, 400, 800, 1500, 2500, 3500]
        for size in sizes:
            bench.limited(size)
        yield Row("R5", "EFBIG from whoever writes the file", len(sizes), len(sizes))
    finally:
        shutil.rmtree(folder)
