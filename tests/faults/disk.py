"""R4: the disk fills up while a run is on, with so much room left at so many sizes; then room is made.

A small file system in memory where it may be mounted, which a large file fills when the run has begun. Elsewhere
the limit of a file's size stands for it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bigseg.engine.damage import find_damage
from bigseg.engine.run import Summary
from bigseg.errors import StorageError
from bigseg.storage.damage import damaged_files
from bigseg.storage.volume import Volume
from tests.faults import chain
from tests.faults.driver import Watched, fast_folder
from tests.faults.io_errors import Bench
from tests.faults.run import Row

TESTS = ("R4",)
BESIDE = True
SHAPE, BLOCK = (20, 24, 136), 20
DISK = 8 << 20


@contextmanager
def small_disk(size: int = DISK) -> Iterator[Path | None]:
    """A file system of so many bytes; None where none may be mounted."""
    place = Path(tempfile.mkdtemp(prefix="bigseg-disk-"))
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield place if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=True)
        shutil.rmtree(place, ignore_errors=True)


class Filled:
    """Fills a disk when a run begins its first stage, but for some bytes."""

    def __init__(self, disk: Path, left: int) -> None:
        self.file = disk / "of-somebody-else"
        self.left = left

    def __call__(self, summary: Summary, done: int, units: int) -> None:
        if not self.file.exists():
            free = os.statvfs(self.file.parent)
            with self.file.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(4096, free.f_bavail * free.f_frsize - self.left))


def torn_shards(out: Path) -> list[str]:
    """Shards under their final names that cannot be decoded."""
    found = []
    for name in chain.OUTPUTS:
        image = out / f"{name}.ome.zarr"
        for level in range(2 if image.is_dir() else 0):
            volume = Volume.open(image, level, missing="fill", allow_incomplete=True)
            found += [item.key for item in damaged_files(volume, "full")]
    return found


def fill(bench: Bench, disk: Path, left: int) -> bool:
    """A run on a disk that fills up, and again when room was made; gives back whether it failed before."""
    run, filled = Watched(disk / "run", bench.golden), Filled(disk, left)
    said = ""
    try:
        chain.run(bench.volume, run.out, 0, BLOCK, filled)
    except StorageError as error:
        said = str(error)
    if said:
        assert "No space left on device" in said, said
        assert str(run.out) in said, said
        assert "bytes" in said, said
        assert "\n" not in said
        assert chain.status(run.out) != "complete"
    run.after_kill()
    assert torn_shards(run.out) == []
    assert find_damage(run.out).damaged == []
    filled.file.unlink()
    chain.run(bench.volume, run.out, 0, BLOCK)
    run.after_end()
    shutil.rmtree(run.out)
    return bool(said)


def needed(bench: Bench, disk: Path) -> int:
    """Bytes that a run takes on a disk beyond what is there when its first stage begins."""
    used = []

    def look(summary: Summary, done: int, units: int) -> None:
        state = os.statvfs(disk)
        used.append((state.f_blocks - state.f_bfree) * state.f_frsize)

    chain.run(bench.volume, disk / "look", 0, BLOCK, look)
    shutil.rmtree(disk / "look")
    return max(used) - used[0]


def at_sizes(shares: Sequence[float]) -> tuple[int, int, str]:
    """Fill a disk but for shares of what a run needs; gives back fillings, failures and how it was done."""
    folder = fast_folder()
    try:
        bench = Bench(folder)
        with small_disk() as disk:
            if disk is None:
                sizes = [int(100 + 3400 * share) for share in shares]
                return len(sizes), sum(bool(bench.limited(size)) for size in sizes), "by RLIMIT_FSIZE"
            most = needed(bench, disk)
            failed = sum(fill(bench, disk, int(share * most)) for share in shares)
            return len(shares), failed, f"a tmpfs with 0 to {most >> 10} KiB left"
    finally:
        shutil.rmtree(folder)


def full() -> Row:
    """At ten sizes."""
    count, failed, how = at_sizes([0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    return Row(
        "R4", "disk full", count, count if failed > count / 2 else 0, f"{how}; {failed} runs failed, all resumed"
    )
