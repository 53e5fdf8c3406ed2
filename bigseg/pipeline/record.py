"""The record of a run (run.json): what its results depend on, what it was given, what it found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from bigseg.engine.field import Field, Reduction, Values
from bigseg.engine.folder import RunFolder, check_same, differences, fingerprint, versions
from bigseg.engine.journal import tally
from bigseg.engine.lock import holder
from bigseg.engine.run import Summary, driver_memory
from bigseg.engine.source import chosen, identity, place, stored
from bigseg.errors import ChangedError, OutputError
from bigseg.ops.base import Told
from bigseg.ops.components.volume import Seen
from bigseg.pipeline.build import Built
from bigseg.pipeline.geometry import opened_again
from bigseg.pipeline.prepared import Prepared
from bigseg.storage.sources.opening import Origin


def content_of(pipeline: Mapping[str, Any], prepared: Prepared) -> dict[str, Any]:
    """All that the results of a run depend on."""
    content = {
        "pipeline": dict(pipeline),
        "inputs": {name: _described(origin) for name, origin in prepared.origins.items()},
        "block": list(prepared.plan.grid.block),
        "versions": dict(versions()),
    }
    if prepared.kept is not None:
        content["components_of"] = prepared.kept.fingerprint
    return content


def describe_existing(prepared: Prepared, content: Mapping[str, Any] | None = None) -> str:
    """In one line, what a run finds in its folder: nothing, finished, damaged, in use, or where it continues.

    Parameters
    ----------
    prepared : the run.
    content : what the run is to be started with, see `content_of`.

    Raises
    ------
    ChangedError
        When the run that lies there was started with something else.
    """
    folder = prepared.folder
    record = folder.read()
    if record is None:
        return "new run"
    if content is not None:
        check_same(folder, content, look=True)
    if record["status"] == "complete":
        if count := len(prepared.look().damaged):
            return f"finished, but {count} files are gone or damaged: what they held is computed again"
        return "finished already: nothing to do"
    if (owner := holder(folder.lock)) is not None:
        return f"in use by process {owner['pid']} on {owner['host']}"
    done = sum(tally(folder.journal).values()) if folder.journal.exists() else 0
    units = sum(stage["blocks"] for stage in record.get("stages", []))
    return f"{record['status']}: continues at {done} of {units} blocks (start {record.get('starts', 0) + 1})"


def new_record(
    pipeline: Mapping[str, Any], prepared: Prepared, content: Mapping[str, Any], earlier: Mapping[str, Any] | None
) -> dict[str, Any]:
    """run.json as it stands while the run is on."""
    spec = next(iter(prepared.origins.values())).spec
    return {
        "status": "incomplete",
        "fingerprint": fingerprint(content),
        "pipeline": dict(pipeline),
        "inputs": {name: place(origin) for name, origin in prepared.origins.items()},
        "parts": {name: found for name, origin in prepared.origins.items() if (found := _part(origin))},
        **({"components_in": str(prepared.kept.folder.parent)} if prepared.kept is not None else {}),
        "volume": {
            "shape": list(spec.shape),
            "dtype": str(spec.dtype),
            "axes": list(spec.axes),
            "spacing": list(spec.spacing),
            "unit": spec.unit,
            "origin": list(spec.origin),
        },
        "block": list(prepared.plan.grid.block),
        "blocks": len(prepared.plan.grid),
        "stages": [
            asdict(Summary(s.name, s.kind, s.what, s.units, voxels=s.voxels, memory_planned=s.memory))
            for s in prepared.plan.stages
        ],
        "saved": [write.field.name for write in prepared.built.writes if write.pyramid],
        "stored": [list(item) for item in prepared.plan.stored],
        "workers": prepared.resources.workers,
        "memory_a_worker": prepared.resources.memory,
        "began": (earlier or {}).get("began") or datetime.now(UTC).isoformat(timespec="seconds"),
        "starts": int((earlier or {}).get("starts", 0)) + 1,
        "versions": content["versions"],
    }


def add_end(
    record: dict[str, Any], prepared: Prepared, summaries: list[Summary], values: Values, seconds: float
) -> None:
    """Add what is known only at the end."""
    record |= {
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "values": _values(prepared.built, values),
        "stages": [asdict(summary) for summary in summaries],
        "driver_memory_peak": driver_memory(),
    }


def inputs_again(folder: RunFolder, record: Mapping[str, Any]) -> dict[str, Origin]:
    """The inputs of an earlier run, opened as it read them; whether they still hold the same is not looked at.

    Raises
    ------
    OutputError
        When nothing tells what they were, or one was an array in memory and is gone.
    InputError
        When one is there no more.
    """
    known = read_inputs(folder)
    found = {}
    for name, path in record["inputs"].items():
        if path == "memory":
            raise OutputError(
                f"input {name} of {folder.path} was an array in memory: run the same pipeline on it again"
            )
        found[name] = opened_again(path, record.get("parts", {}).get(name, {}), known.get(name))
    return found


def check_inputs(folder: RunFolder, inputs: Mapping[str, Origin]) -> None:
    """Refuse inputs that are no longer what a run has read.

    Raises
    ------
    ChangedError
        With one line for each difference.
    """
    now = {name: _described(origin) for name, origin in inputs.items()}
    if changed := differences(read_inputs(folder), now, "inputs."):
        raise ChangedError(
            f"the run in {folder.path} has read something else:\n  "
            + "\n  ".join(changed)
            + "\nrestore what was, or run its pipeline on what is there now, in another folder"
        )


def read_inputs(folder: RunFolder) -> dict[str, Any]:
    """What a run's results depend on of its inputs, by name."""
    try:
        found: dict[str, Any] = json.loads(folder.fingerprint.read_bytes())["inputs"]
    except (OSError, ValueError, KeyError) as error:
        raise OutputError(
            f"{folder.fingerprint} cannot be read ({error}): what the run has read is not known; begin again with "
            "--restart"
        ) from error
    return found


def _described(origin: Origin) -> dict[str, Any]:
    """All that results depend on of an input: its content, and the description that sizes and tables come from."""
    spec = origin.spec
    found = {"content": identity(stored(origin)[0]), "shape": list(spec.shape)}
    found |= {"dtype": str(spec.dtype), "kind": spec.kind}
    return found | {"spacing": list(spec.spacing), "unit": spec.unit, "origin": list(spec.origin)} | chosen(origin)


def _part(origin: Origin) -> dict[str, Any]:
    """What was chosen of an input, so that it can be opened again."""
    return chosen(origin) | ({"missing": "fill"} if getattr(stored(origin)[0], "missing", "") == "fill" else {})


def _values(built: Built, values: Values) -> dict[str, dict[str, Any]]:
    """What each step computed: thresholds, statistics, the number of objects that it shows."""
    found: dict[str, dict[str, Any]] = {}
    for name, result in built.results.items():
        if isinstance(result, Reduction) and result.keys:
            found[name] = dict(values.get(result.name, {}))
        elif isinstance(result, Field) and isinstance(result.tag, Seen):
            count = result.tag.count(values)
            if count is not None:
                found[name] = {"objects": count}
        elif isinstance(result, Field) and isinstance(result.tag, Told) and (told := result.tag.values(values)):
            found[name] = dict(told)
    return found
