"""Tables as Parquet files, written durably."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bigseg.storage.durable import write_file


def write_table(path: Path, columns: Mapping[str, np.ndarray], notes: Mapping[str, str] | None = None) -> None:
    """Store columns of one length as a Parquet file; ``notes`` become the file's key-value metadata."""
    table = pa.table({name: pa.array(np.ascontiguousarray(column)) for name, column in columns.items()})
    table = table.replace_schema_metadata(dict(notes or {}))
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_file(path, buffer.getvalue())
