"""Notebooks are run as tests where the images that they show are there."""

from __future__ import annotations

import os
from pathlib import Path

DATA = Path(os.environ.get("BIGSEG_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
collect_ignore_glob = [] if DATA.is_dir() else ["*.ipynb"]
