"""Tables that commands write, as their names say: CSV or Parquet."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from bigseg.cli.outputs import refuse_output

if TYPE_CHECKING:
    import pandas as pd


def refuse_table(path: Path, inputs: Iterable[str | Path | None]) -> None:
    """`refuse_output` for a table, whose name says CSV or Parquet."""
    refuse_output("--table", path, inputs, (".csv", ".parquet"))


def write_rows(rows: pd.DataFrame, path: Path) -> None:
    """Store a table under a name that `refuse_table` let pass, whole or not at all."""
    from bigseg.storage.durable import write_file

    buffer = io.BytesIO()
    if path.suffix.lower() == ".csv":
        rows.to_csv(buffer, index=False)
    else:
        rows.to_parquet(buffer, index=False)
    write_file(path, buffer.getvalue())
