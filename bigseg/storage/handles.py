"""TensorStore in this process: one context, a few open arrays, and counters of what was read and written.

Workers call `configure` with what the plan grants them. The cache holds decoded chunks, so that neighbouring
blocks decode their common halo once; it is given up from its least recently used end.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

import tensorstore as ts

from bigseg.errors import InputError, ParameterError
from bigseg.grid import Shape
from bigseg.storage.volume import Volume

_MOST = 64  # open arrays kept; each holds a few kilobytes of metadata
_IO_THREADS = 4  # reads in flight even with one thread: on a parallel file system the wait is latency
_METRIC = "/tensorstore/kvstore/file/bytes_read"

DROP_SECONDS = 0.005
_lock = threading.Lock()
_settings: tuple[int, int] = (0, max(1, os.cpu_count() or 1))
_contexts: dict[str, Any] = {}
_open: OrderedDict[Hashable, Any] = OrderedDict()
_counted = {"read": 0, "written": 0}


def configure(cache_bytes: int, threads: int) -> None:
    """Limit what reading and writing may use in this process; the same again costs nothing.

    Parameters
    ----------
    cache_bytes : memory for decoded chunks, 0 for none. Part of the plan's memory.
    threads : threads that decode and encode, for all threads of the caller together.

    Raises
    ------
    ParameterError
        When the cache is below 0 or there is no thread.
    """
    global _settings
    if cache_bytes < 0 or threads < 1:
        raise ParameterError(f"cache {cache_bytes}, threads {threads}: expected 0 bytes or more and 1 thread or more")
    with _lock:
        if (cache_bytes, threads) != _settings:
            dropped, _settings = _settings[0] and bool(_contexts), (cache_bytes, threads)
            _contexts.clear()
            _open.clear()
            if dropped:  # a thread of TensorStore that ends a read may be the last to hold the cache
                time.sleep(DROP_SECONDS)


def context(purpose: str) -> Any:
    """The context for ``read`` or ``write``, made when it is first asked for.

    Writing has no cache, and leaves the fsync to the caller, who renames the file to its name afterwards.
    """
    with _lock:
        return _context(purpose)


def _context(purpose: str) -> Any:
    if purpose not in _contexts:
        cache, threads = _settings
        _contexts[purpose] = ts.Context(
            {
                "cache_pool": {"total_bytes_limit": cache if purpose == "read" else 0},
                "data_copy_concurrency": {"limit": threads},
                "file_io_concurrency": {"limit": max(_IO_THREADS, threads)},
                "file_io_sync": purpose == "read",
            }
        )
    return _contexts[purpose]


def opened(volume: Volume) -> Any:
    """The volume as an open TensorStore with its own axes z, y, x; kept for the next call.

    Cached chunks of a finished volume are trusted since it was opened. Those of an image that is being
    written are compared with the file's inode and time at every read.
    """
    folder = str(volume.folder)
    metadata = os.path.join(folder, "zarr.json" if volume.format == "zarr3" else ".zarray")
    try:
        state = os.stat(metadata)
    except OSError as error:
        raise InputError(
            f"{metadata} cannot be read ({error.strerror}): the volume was moved, removed or not yet made"
        ) from error
    key = (
        folder,
        state.st_ino,
        state.st_mtime_ns,
        volume.prefix,
        volume.order,
        volume.missing,
        volume.opened if volume.complete else None,
    )
    with _lock:
        if key in _open:
            _open.move_to_end(key)
            return _open[key]
        using = _context("read")
    array = ts.open(
        {
            "driver": "zarr3" if volume.format == "zarr3" else "zarr",
            "kvstore": {"driver": "file", "path": folder + "/"},
            "fill_missing_data_reads": volume.missing == "fill",
            "recheck_cached_data": "open" if volume.complete else True,
        },
        context=using,
        open=True,
        read=True,
    ).result()
    array = _own_axes(array, volume.prefix, volume.order)
    if tuple(array.shape) != volume.spec.shape:
        raise InputError(
            f"{folder} has shape {tuple(array.shape)}, expected {volume.spec.shape}: it was replaced after "
            "it was opened"
        )
    with _lock:
        if _contexts.get("read") is using:
            _open[key] = array
            while len(_open) > _MOST:
                _open.popitem(last=False)
    return array


def _own_axes(array: Any, prefix: Shape, order: Shape) -> Any:
    if prefix:
        array = array[prefix]
    return array.transpose(list(order)) if order else array


def bytes_read() -> int:
    """Bytes that this process has read from files of voxels so far, compressed as they are stored."""
    found = ts.experimental_collect_matching_metrics(_METRIC)
    return _counted["read"] + sum(int(value["value"]) for metric in found for value in metric["values"])


def bytes_written() -> int:
    """Bytes of shards that this process has written so far."""
    return _counted["written"]


def count(read: int = 0, written: int = 0) -> None:
    """Add bytes that did not pass through TensorStore (TIFF, NPY), or were written."""
    with _lock:
        _counted["read"] += read
        _counted["written"] += written
