"""Tables in one Parquet file or, when large, in a folder of parts: ``NAME.parquet/part-00000.parquet`` ….

pandas.read_parquet, Dask, Polars and DuckDB read either by the same path; parts follow each other in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from bigseg.errors import CorruptChunkError
from bigseg.storage.tables import write_table

BUFFER = 1 << 20
"""Bytes of a file held for each column that is read."""
Columns = dict[str, np.ndarray]


def write_part(folder: Path, number: int, columns: Mapping[str, np.ndarray], notes: Mapping[str, str]) -> None:
    """Store one part of a table; parts are read in the order of their numbers."""
    write_table(folder / f"part-{number:05d}.parquet", columns, notes)


def files_of(table: Path) -> list[Path]:
    """The files of a table, in order.

    Raises
    ------
    CorruptChunkError
        When there is no such table, or a folder without parts.
    """
    found = sorted(table.glob("part-*.parquet")) if table.is_dir() else [table]
    if not found or not found[0].is_file():
        raise CorruptChunkError(f"table {table} is missing: run the same command again, which computes what is gone")
    return found


def row_count(table: Path) -> int:
    """Rows of a table, from the metadata of its files."""
    return sum(int(pq.read_metadata(path).num_rows) for path in files_of(table))


def batches(table: Path, rows: int, names: Sequence[str] | None = None) -> Iterator[Columns]:
    """A table's columns, or those named, some rows at a time.

    Parameters
    ----------
    table : a Parquet file or a folder of parts.
    rows : at most, in a batch; memory is that of one batch and of one part's row group.
    names : columns; default: all.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     for number in range(2):
    ...         write_part(Path(folder, "t.parquet"), number, {"label": np.arange(3) + 3 * number}, {})
    ...     [part["label"].tolist() for part in batches(Path(folder, "t.parquet"), 2)]
    [[0, 1], [2], [3, 4], [5]]
    """
    for path in files_of(table):
        with pq.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=rows, columns=names, use_threads=False):
                yield {
                    name: column.to_numpy(zero_copy_only=False)
                    for name, column in zip(batch.schema.names, batch.columns, strict=True)
                }
