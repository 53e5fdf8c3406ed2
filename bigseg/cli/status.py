"""Where a run is, judged from its folder without disturbing it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bigseg.engine.folder import RunFolder, ingest_folder
from bigseg.engine.journal import read_lines
from bigseg.engine.lock import holder
from bigseg.errors import CorruptChunkError, OutputError
from bigseg.report.wording import number
from bigseg.storage.layout import read_node


def status_facts(folder: Path) -> dict[str, Any]:
    """Where a run or an ingest is, without disturbing it: the lock is not needed.

    Raises
    ------
    OutputError
        When there is neither a run nor an image of bigseg.
    """
    run = RunFolder(folder)
    if run.read() is None and ingest_folder(folder).is_dir():
        run = RunFolder(ingest_folder(folder))
    record = run.read() or _image(folder)
    if record is None:
        raise OutputError(
            f"{folder} holds no run (no run.json): expected a folder made by `bigseg run`, or an image made by "
            "`bigseg ingest`"
        )
    status, owner = record["status"], holder(run.lock)
    done: dict[str, set[int]] = {}
    if status != "complete":
        done = _finished(run.journal)
    stages = [
        {
            "name": stage["name"],
            "done": stage["blocks"] if status == "complete" else len(done.get(stage["name"], ())),
            "blocks": stage["blocks"],
        }
        for stage in record.get("stages", [])
    ]
    return {
        "folder": str(folder),
        "status": status,
        "running": owner is not None and status != "complete",
        "holder": owner,
        "began": record.get("began"),
        "ended": record.get("ended"),
        "starts": record.get("starts"),
        "blocks_done": sum(stage["done"] for stage in stages),
        "blocks": sum(stage["blocks"] for stage in stages),
        "stages": stages,
        "values": record.get("values", {}),
        "error": record.get("error") if status == "failed" else None,
        "to_do": _to_do(folder, status, owner),
    }


def _image(folder: Path) -> dict[str, Any] | None:
    """What an image of bigseg says of itself: a finished ingest leaves no other record."""
    node = read_node(folder) if folder.is_dir() else None
    return None if node is None or node.status is None else {"status": node.status}


def _finished(journal: Path) -> dict[str, set[int]]:
    """Units of each stage in the journal; a line that its writer is just adding may look damaged."""
    found: dict[str, set[int]] = {}
    try:
        for _, line in read_lines(journal):
            if "u" in line:
                found.setdefault(line["s"], set()).add(line["u"])
    except (CorruptChunkError, OSError):
        pass
    return found


def _to_do(folder: Path, status: str, owner: Mapping[str, Any] | None) -> str:
    if status == "complete":
        return f"nothing; look at {folder / 'report.html'}" if (folder / "report.html").exists() else "nothing"
    if owner is not None:
        return f"wait: process {owner.get('pid')} on {owner.get('host')} is at it"
    cause = "mend the cause, then run" if status == "failed" else "run"
    return f"{cause} the same command again: finished blocks are kept"


def status_lines(facts: Mapping[str, Any]) -> str:
    """The same for people."""
    state = facts["status"] + (", running" if facts["running"] else "")
    share = f", {facts['blocks_done']} of {facts['blocks']} blocks done" if facts["blocks"] else ""
    lines = [f"{facts['folder']}: {state}{share}"]
    width = max((len(stage["name"]) for stage in facts["stages"]), default=0)
    for stage in facts["stages"]:
        if stage["done"] < stage["blocks"]:
            lines.append(f"  {stage['name']:{width}s}  {stage['done']} of {stage['blocks']}")
    lines += [f"values    {text}" for text in value_lines(facts["values"])]
    if facts["error"]:
        lines.append(f"error     {facts['error']}")
    lines.append(f"to do     {facts['to_do']}")
    return "\n".join(lines)


def value_lines(values: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Computed values, a line each step."""
    return [
        f"{step}: " + ", ".join(text for key, value in found.items() for text in _value_words(key, value))
        for step, found in values.items()
    ]


def _value_words(key: str, value: Any) -> list[str]:
    """A computed value; of several under one key only what failed."""
    if isinstance(value, Mapping):
        return [f"no {name}" for name in value] if key == "failed" else []
    if isinstance(value, list) and any(isinstance(item, list) for item in value):
        return []  # a confusion: it stands in the report
    return [f"{key} {number(value)}"]
