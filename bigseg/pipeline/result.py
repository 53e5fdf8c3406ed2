"""A finished run, as Python and notebooks see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Run:
    """A finished run: where it lies, and its record (run.json)."""

    path: Path
    record: dict[str, Any] = field(repr=False)

    @property
    def outputs(self) -> dict[str, Any]:
        """Each saved step as a lazy DataArray."""
        from bigseg.storage.lazy import open_volume

        return {name: open_volume(self.path / f"{name}.ome.zarr") for name in self.record["saved"]}

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Each table as a DataFrame."""
        import pandas as pd

        return {path.stem: pd.read_parquet(path) for path in sorted((self.path / "tables").glob("*.parquet"))}

    @property
    def values(self) -> dict[str, Any]:
        """What steps computed: thresholds, counts."""
        return dict(self.record["values"])

    @property
    def report(self) -> Path:
        """The report's file."""
        return self.path / "report.html"

    def show_report(self, height: int = 600) -> ReportFrame:
        """The report within a notebook, wherever its file lies.

        Parameters
        ----------
        height : of the frame in pixels.
        """
        return ReportFrame(self.report, height)


@dataclass(frozen=True)
class ReportFrame:
    """A report as a notebook shows it: in a frame of its own, which runs no code."""

    path: Path
    height: int = 600

    def _repr_html_(self) -> str:
        page = escape(self.path.read_text(encoding="utf-8"), quote=True)
        return f'<iframe srcdoc="{page}" sandbox width="100%" height="{self.height}" style="border: 0"></iframe>'
