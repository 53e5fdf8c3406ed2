"""Storing what was opened or made as an image, with progress and a line of what it is."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bigseg.cli.progress import Progress
from bigseg.pipeline.ingest import prepare_ingest
from bigseg.pipeline.prepared import Settings
from bigseg.report.wording import by
from bigseg.storage.sources.opening import Origin
from bigseg.storage.volume import Volume


def store(origin: Origin, target: Path, settings: Mapping[str, Any], as_json: bool) -> Volume:
    """Store a volume as an image, or continue; ``as_json`` leaves the talking to the command."""
    prepared = prepare_ingest(origin, target, Settings(**settings, report=False))
    if not as_json:
        print(f"{target}: {prepared.found}", file=sys.stderr)
    with Progress(prepared.plan, as_json) as progress:
        volume = prepared.run(progress)
    if not as_json:
        spec = volume.spec
        size = f"{by(spec.shape)} {spec.dtype}, {by(spec.spacing)} {spec.unit or '(no unit)'}"
        print(f"{target}: {size}, {volume.levels} levels")
    return volume
