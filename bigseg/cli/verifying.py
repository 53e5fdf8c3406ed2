"""The command that compares a run, or a volume, with what was written: verify."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from bigseg.cli import options
from bigseg.cli.options import Command
from bigseg.errors import UsageError

DAMAGED = 8
"""Exit code where damage was found and not mended."""
MOST = 20
"""Lines of damage on a screen."""


def verify(
    target: Annotated[Path, typer.Argument(help="the folder of a run; or a volume: OME-Zarr, Zarr")],
    level: Annotated[
        str, typer.Option(metavar="stat|full", help="compare lengths, or every byte and every decoded block")
    ] = "full",
    repair: Annotated[
        bool, typer.Option("--repair", help="compute the damaged blocks of a run again; with none, nothing is run")
    ] = False,
    allow_code: options.AllowCode = False,
    workers: options.Workers = None,
    memory: options.Memory = None,
    scheduler: options.Scheduler = None,
    scheduler_file: options.SchedulerFile = None,
    insecure: options.Insecure = False,
    missing: options.Missing = "error",
    as_json: options.Json = False,
) -> int:
    """Find damaged blocks: gone, cut, flipped bits, files of other blocks or of earlier runs. Leaves with 8 if any."""
    if level not in ("stat", "full"):
        raise UsageError(f"--level {level}: expected stat or full")
    chosen = options.settings(None, workers, memory, scheduler, scheduler_file, insecure=insecure)
    chosen.pop("block")
    chosen.pop("restart")

    from bigseg.engine.folder import RunFolder

    if RunFolder(target).read() is not None:
        facts = _run(target, cast('Literal["stat", "full"]', level), repair, allow_code, chosen, as_json)
    elif repair:
        raise UsageError(
            f"--repair: {target} holds no run, and only a run knows how its blocks were made; give the run's folder, "
            "or make the volume again"
        )
    else:
        facts = _volume(target, cast('Literal["stat", "full"]', level), missing)
    print(json.dumps(facts) if as_json else _lines(facts))
    return DAMAGED if facts["damaged"] and not facts["repaired"] else 0


def _run(
    folder: Path, level: Literal["stat", "full"], repair: bool, allow_code: bool, settings: dict[str, Any], quiet: bool
) -> dict[str, Any]:
    """What was found in a run, and, after a repair, what was done."""
    from bigseg.engine.damage import find_damage
    from bigseg.engine.folder import RunFolder

    found = find_damage(folder, level)
    facts = {
        "target": str(folder),
        "status": (RunFolder(folder).read() or {})["status"],
        "level": level,
        "blocks": found.units,
        "files": found.files,
        "bytes": found.size,
        "damaged": [item._asdict() for item in found.damaged],
        "repaired": False,
        "computed": None,
    }
    if repair and found.damaged:
        from bigseg.cli.progress import Progress
        from bigseg.pipeline.repairing import prepare_repair
        from bigseg.pipeline.running import run_prepared

        pipeline, prepared, start = prepare_repair(folder, found, allow_code=allow_code, **settings)
        before = _recorded(RunFolder(folder).journal)
        with Progress(prepared.plan, quiet) as progress:
            done = run_prepared(pipeline.as_dict(), prepared, start, progress)
        facts |= {
            "repaired": True,
            "status": done.record["status"],
            "computed": _recorded(RunFolder(folder).journal) - before,
        }
    return facts


def _recorded(journal: Path) -> int:
    """How often a block was finished."""
    from bigseg.engine.journal import read_lines

    return sum("f" in line for _, line in read_lines(journal))


def _volume(path: Path, level: Literal["stat", "full"], missing: str) -> dict[str, Any]:
    """What was found in a volume, or in the image of a run, which knows more of it."""
    from bigseg.engine.damage import Damage, find_damage
    from bigseg.engine.folder import RunFolder
    from bigseg.storage.damage import damaged_files
    from bigseg.storage.volume import Volume

    run = RunFolder(path.absolute().parent)
    facts: dict[str, Any] = {"target": str(path), "level": level, "repaired": False, "computed": None}
    if (
        run.record.exists()
        and run.journal.exists()
        and f"{path.name}".removesuffix(".ome.zarr") in (run.read() or {}).get("saved", [])
    ):
        found = find_damage(run.path, level, below=f"{path.name}/")
        damaged = [item._asdict() for item in found.damaged]
        return facts | {"blocks": found.units, "files": found.files, "bytes": found.size, "damaged": damaged}
    first = options.opened(str(path), 0, None, missing, None)
    if not isinstance(first, Volume):
        raise UsageError(f"{path} is no Zarr: only these say of each chunk what belongs there")
    items: list[Damage] = []
    files = 0
    for number in range(first.levels):
        volume = first if number == 0 else Volume.open(path, number, first.prefix or None, first.missing)

        def watch(done: int, total: int) -> None:
            nonlocal files
            files += 1

        items += [Damage("", -1, key, cause) for key, cause in damaged_files(volume, level, watch)]
    return facts | {"blocks": files, "files": files, "bytes": None, "damaged": [item._asdict() for item in items]}


def _lines(facts: dict[str, Any]) -> str:
    """The same for people."""
    how = "compared byte by byte and decoded" if facts["level"] == "full" else "compared by their lengths"
    count = len(facts["damaged"])
    lines = [f"{facts['target']}: {facts['files']:,} files of {facts['blocks']:,} blocks {how}: "]
    lines[0] += f"{count} damaged" if count else "all as they were written"
    for item in facts["damaged"][:MOST]:
        where = f"  ({item['stage']}, block {item['unit']})" if item["stage"] else ""
        lines.append(f"  {item['key']}  {item['cause']}{where}")
    if count > MOST:
        lines.append(f"  … and {count - MOST:,} more (--json lists all)")
    if facts["repaired"]:
        lines.append(f"repaired: {facts['computed']:,} blocks computed again; the run is {facts['status']}")
    elif count and "status" in facts:
        lines.append("to do     bigseg verify --repair computes them again, and nothing else that is there")
    elif count:
        lines.append("to do     copy these files again from the original, or make the volume again")
    if facts.get("status") not in (None, "complete"):
        lines.append(f"the run is {facts['status']}: run the same command again to finish it")
    return "\n".join(lines)


COMMANDS = (Command(verify, "bigseg verify runs/cement --level full --repair"),)
