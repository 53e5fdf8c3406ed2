"""Tables as Parquet files, written durably."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bigseg.storage.durable import is_fleeting, write_file
from bigseg.storage.faultpoints import point

if TYPE_CHECKING:
    import pyarrow as pa

Columns = Mapping[str, np.ndarray]


def write_table(path: Path, columns: Columns | Iterable[Columns], notes: Mapping[str, str] | None = None) -> None:
    """Store columns of one length as a Parquet file; ``notes`` become the file's key-value metadata.

    Several sets of the same columns become row groups, so that they need not be held together.
    """
    point("table.begin")
    import pyarrow.parquet as pq  # which takes a quarter of a second to load

    groups = iter([columns] if isinstance(columns, Mapping) else columns)
    first = _group(next(groups))
    schema = first.schema.with_metadata(dict(notes or {}))
    buffer = io.BytesIO()
    # hardly two objects have the same number in a column: with dictionaries files are 12 % longer and made slower
    compression = "none" if is_fleeting() else "zstd"
    with pq.ParquetWriter(buffer, schema, compression=compression, use_dictionary=False) as writer:
        writer.write_table(first.cast(schema))
        for group in groups:
            writer.write_table(_group(group).cast(schema))
    point("table.encoded")
    write_file(path, buffer.getvalue())


def _group(columns: Columns) -> pa.Table:
    import pyarrow as pa

    return pa.table({name: _arrow(np.ascontiguousarray(column)) for name, column in columns.items()})


def _arrow(column: np.ndarray) -> pa.Array:
    """A column as Arrow holds it: of numbers the same memory. `pyarrow.array` would load pandas first, 0.4 s."""
    import pyarrow as pa

    if column.dtype.kind not in "biuf" or not column.dtype.isnative:
        return pa.array(column)
    values = np.packbits(column, bitorder="little") if column.dtype.kind == "b" else column
    return pa.Array.from_buffers(pa.from_numpy_dtype(column.dtype), len(column), [None, pa.py_buffer(values)], 0)
