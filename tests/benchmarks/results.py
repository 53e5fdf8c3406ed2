"""RESULTS.md from the record of a run: one table a job, goals, and what to know about the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .jobs import JOBS

OURS, IO = "bigseg", "I/O alone"
CODECS = (
    "- bigseg and I/O alone write integers with zstd level 1 and floats with LZ4 after a byte shuffle, both with a "
    "checksum; dask-image writes zarr's default codec (zstd level 0 without a checksum), for floats too."
)
Row = Mapping[str, Any]


def render(record: Mapping[str, Any]) -> str:
    """The page as Markdown."""
    rows: Sequence[Row] = record["rows"]
    lines = ["# Benchmarks: bigseg and its peers", "", *_circumstances(record), ""]
    missed = _missed(rows)
    lines += [f"Goals not reached: {'; '.join(missed) if missed else 'none of those measured'}.", ""]
    absent = [f"{row['job']} by {row['who']}" for row in rows if row["seconds"] is None]
    if absent:
        lines += [f"**Not measured: {'; '.join(absent)}.**", ""]
    for name in dict.fromkeys(row["job"] for row in rows):
        lines += [f"## {JOBS[name].title}", "", *_table([row for row in rows if row["job"] == name]), ""]
    lines += _notes(rows)
    return "\n".join(lines).rstrip() + "\n"


def _circumstances(record: Mapping[str, Any]) -> list[str]:
    machine, volume = record["machine"], record["volume"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return [
        f"`{record['command']}`, {record['began']} to {record['ended']}.",
        "",
        f"- Machine: {machine['cores']} x {machine['processor']}, {machine['memory_gib']} GiB, "
        f"{machine['system']}; load {machine['load']} at the start; "
        f"disk {machine['disk_mib_s']:.0f} MiB/s with fsync.",
        f"- Python {machine['python']}; {versions}.",
        f"- Volume: {record['size']}^3 uint16, blobs plus noise, Zarr chunks 128^3, in the page cache; "
        f"{100 * volume['weak_fraction']:.1f} % of the voxels above {volume['low']}, "
        f"{100 * volume['strong_fraction']:.1f} % above {volume['high']}. Labels are those of the former.",
        f"- {record['workers']} workers (threads for dask-image); all competitors in one run, turn by turn, "
        f"each in a process of its own; medians of {record['repeats']} runs unless said.",
        "- bigseg, dask-image and cellmap-analyze read from and write to a store; in-memory peers are not "
        "charged for that. bigseg syncs every shard to the disk and checks its own passes; dask-image and "
        "cellmap-analyze leave their output in the page cache.",
        *([CODECS] if any(step.write for row in record["rows"] for step in JOBS[row["job"]].passes) else []),
        "- bigseg's seconds are those of a run on a cluster that is up, as the peers' pools and imports are; "
        "cold figures stand below. Pyramids, which only bigseg makes, are not in them.",
    ]


def _table(rows: Sequence[Row]) -> list[str]:
    ours = next((row for row in rows if row["who"] == OURS), None)
    lines = [
        "| who | seconds | Mvox/s | peak memory, MiB | bigseg's rate to it | goal | reached |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row["seconds"] is None:
            lines.append(f"| {_name(row)} | {_reason(row)} | | | | {_goal(row)} | not measured |")
            continue
        ratio = _ratio(ours, row)
        lines.append(
            f"| {_name(row)} | {_seconds(row)} | {_rate(row):.2f} | {_memory(row)} | {_shown(row, ratio)} "
            f"| {_goal(row)} | {_verdict(row, ratio)} |"
        )
    return lines


def _name(row: Row) -> str:
    place = ", in memory" if row["in_memory"] else ""
    note = f" ({row['note']})" if row["note"] else ""
    return f"{row['who']}{place}{note}"


def _reason(row: Row) -> str:
    return str(row["error"]).split(" | ")[-1].replace("|", "/").strip() or "not run yet"


def _seconds(row: Row) -> str:
    runs = [run["seconds"] for run in row["runs"]]
    size = f" at {row['size']}^3" if row["size"] != _full_size(row) else ""
    count = "1 run" if len(runs) == 1 else f"{min(runs):.2f}-{max(runs):.2f}"
    return f"{row['seconds']:.2f}{size} ({count})"


def _full_size(row: Row) -> int:
    return int(row["full_size"])


def _rate(row: Row) -> float:
    return float(row["size"] ** 3 / row["seconds"] / 1e6)


def _memory(row: Row) -> str:
    peak = max(max(run.get("peak_tree_rss", 0), run.get("peak_rss", 0)) for run in row["runs"])
    return f"{peak / 2**20:.0f}"


def _ratio(ours: Row | None, row: Row) -> float | None:
    """bigseg's rate over the row's; for I/O alone, the row's rate over bigseg's (how many times as long)."""
    if ours is None or ours["seconds"] is None or row["who"] == OURS:
        return None
    ratio = _rate(ours) / _rate(row)
    return 1 / ratio if row["who"] == IO else ratio


def _shown(row: Row, ratio: float | None) -> str:
    if ratio is None:
        return ""
    return f"takes {ratio:.2f} x as long" if row["who"] == IO else f"{ratio:.2f} x"


def _goal(row: Row) -> str:
    if row["who"] == IO:
        return f"<= {JOBS[row['job']].io_goal:g} x as long"
    return "" if row["goal"] is None else f">= {row['goal']:g} x"


def _reached(row: Row, ratio: float | None) -> bool | None:
    """Whether a goal is reached; None where there is no goal or no figure."""
    if ratio is None:
        return None
    if row["who"] == IO:
        return ratio <= JOBS[row["job"]].io_goal
    return None if row["goal"] is None else ratio >= row["goal"]


def _verdict(row: Row, ratio: float | None) -> str:
    return {True: "yes", False: "**no**", None: ""}[_reached(row, ratio)]


def _missed(rows: Sequence[Row]) -> list[str]:
    found = []
    for row in rows:
        ours = next((item for item in rows if item["job"] == row["job"] and item["who"] == OURS), None)
        ratio = _ratio(ours, row) if row["seconds"] is not None else None
        if ratio is not None and _reached(row, ratio) is False:
            found.append(f"{row['job']} against {row['who']} ({ratio:.2f} x, goal {_goal(row)})")
    return found


def _notes(rows: Sequence[Row]) -> list[str]:
    """Cold starts, peers' own circumstances, and whether all got the same result."""
    lines = ["## Beside the tables", ""]
    for row in rows:
        for key, text in (
            ("seconds_cold", "with the start of the cluster, first run"),
            ("seconds_pyramid", "for the pyramids of what it stored"),
            ("seconds_as_run", "by its own command, a cluster for each of its stages"),
        ):
            values = [run[key] for run in row["runs"] if key in run]
            if values:
                lines.append(f"- {row['job']}, {row['who']}: {sorted(values)[len(values) // 2]:.2f} s {text}.")
        steps = [run["answer"]["steps"] for run in row["runs"] if "steps" in run["answer"]]
        if steps:
            parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in steps[0].items())
            lines.append(f"- {row['job']}, {row['who']}: {parts}.")
    for job in dict.fromkeys(row["job"] for row in rows):
        lines += _agreement(job, [row for row in rows if row["job"] == job])
    return lines


def _agreement(job: str, rows: Sequence[Row]) -> list[str]:
    """One line for each quantity that several competitors reported for the same size."""
    answers: dict[tuple[int, str], dict[str, Any]] = {}
    for row in rows:
        for run in row["runs"]:
            for key, value in run["answer"].items():
                if key != "steps":
                    answers.setdefault((row["size"], key), {})[row["who"]] = value
    lines = []
    for (size, key), found in answers.items():
        if len(set(found.values())) == 1:
            lines.append(f"- {job}, {size}^3: {key} {next(iter(found.values()))} by {'; '.join(found)}.")
        else:
            listed = "; ".join(f"{who} {value}" for who, value in found.items())
            lines.append(f"- {job}, {size}^3: **{key} differ**: {listed}.")
    return lines
