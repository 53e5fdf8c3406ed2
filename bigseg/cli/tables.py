"""Tables that commands write, as their names say: CSV or Parquet."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from bigseg.cli.options import refuse_unwritable
from bigseg.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd


def refuse_table(path: Path) -> None:
    """Refuse, before anything is computed, a table that could not be written afterwards.

    Raises
    ------
    UsageError
        When the name says neither CSV nor Parquet.
    StorageError
        When there is no such folder.
    """
    refuse_unwritable(path)
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise UsageError(f"--table {path}: expected a name that ends in .csv or .parquet")


def write_rows(rows: pd.DataFrame, path: Path) -> None:
    """Store a table under a name that `refuse_table` let pass, whole or not at all."""
    from bigseg.storage.durable import write_file

    buffer = io.BytesIO()
    if path.suffix.lower() == ".csv":
        rows.to_csv(buffer, index=False)
    else:
        rows.to_parquet(buffer, index=False)
    write_file(path, buffer.getvalue())
