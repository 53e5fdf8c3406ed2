"""What a volume is: plain facts for machines, lines for people."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from bigseg.engine.source import stored
from bigseg.report.wording import by, size
from bigseg.storage.chunks import missing_chunks, missing_in_shards
from bigseg.storage.sources.opening import Origin
from bigseg.storage.volume import Volume


def volume_facts(origin: Origin) -> dict[str, Any]:
    """What a volume is, from its metadata; which chunks are missing, from its folder."""
    spec = origin.spec
    facts: dict[str, Any] = {
        **origin.describe(),
        "kind": spec.kind,
        "shape": list(spec.shape),
        "axes": list(spec.axes),
        "dtype": str(spec.dtype),
        "spacing": list(spec.spacing),
        "unit": spec.unit,
        "origin": list(spec.origin),
        "bytes": prod(spec.shape) * spec.dtype.itemsize,
    }
    volume, box = stored(origin)
    if isinstance(volume, Volume):
        count, first = missing_chunks(volume, box=box)
        if not count:
            count, first = missing_in_shards(volume, box=box)
        facts |= {"missing_chunks": count, "first_missing": first}
    return facts


def volume_lines(facts: Mapping[str, Any]) -> str:
    """The same for people."""
    unit = facts["unit"] or "(no unit)"
    shown: dict[str, Any] = {
        **{name: value for name, value in facts.items() if isinstance(value, str) and name not in ("unit", "dtype")},
        "shape": f"{by(facts['shape'])} ({', '.join(facts['axes'])})",
        "voxels": f"{facts['dtype']}, {size(facts['bytes'])}",
        "spacing": f"{by(facts['spacing'])} {unit}",
        "extent": f"{by([n * s for n, s in zip(facts['shape'], facts['spacing'], strict=True)])} {unit}",
    }
    if "missing_chunks" in facts:
        some = f": {', '.join(facts['first_missing'])} …" if facts["missing_chunks"] else ""
        shown["missing"] = f"{facts['missing_chunks']} chunks{some}"
    return "\n".join(f"{name:16s}{value}" for name, value in shown.items())
