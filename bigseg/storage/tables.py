"""Tables as Parquet files, written durably."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bigseg.storage.durable import write_file

Columns = Mapping[str, np.ndarray]


def write_table(path: Path, columns: Columns | Iterable[Columns], notes: Mapping[str, str] | None = None) -> None:
    """Store columns of one length as a Parquet file; ``notes`` become the file's key-value metadata.

    Several sets of the same columns become row groups, so that they need not be held together.
    """
    groups = iter([columns] if isinstance(columns, Mapping) else columns)
    first = _group(next(groups))
    schema = first.schema.with_metadata(dict(notes or {}))
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, schema, compression="zstd") as writer:
        writer.write_table(first.cast(schema))
        for group in groups:
            writer.write_table(_group(group).cast(schema))
    write_file(path, buffer.getvalue())


def _group(columns: Columns) -> pa.Table:
    return pa.table({name: pa.array(np.ascontiguousarray(column)) for name, column in columns.items()})
