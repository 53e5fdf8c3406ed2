"""Running a prepared pipeline in its folder: lock, journal, stages, record, report, in this order."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from bigseg.engine.cluster import attach, local_cluster
from bigseg.engine.field import Values
from bigseg.engine.folder import RunFolder, check_same, fingerprint, versions
from bigseg.engine.journal import Journal
from bigseg.engine.lock import Lock
from bigseg.engine.plan import Plan
from bigseg.engine.run import Executor, Observer, Summary, driver_memory, execute
from bigseg.engine.serial import SerialExecutor
from bigseg.engine.source import identity
from bigseg.errors import BigsegError
from bigseg.pipeline.build import Built
from bigseg.pipeline.planning import Resources, local_resources
from bigseg.report.page import write_report
from bigseg.storage.lazy import open_volume
from bigseg.storage.sources.opening import Origin
from bigseg.storage.volume import mark_complete


@dataclass(frozen=True)
class Settings:
    """How to run, as opposed to what: none of it changes a result.

    Parameters
    ----------
    block : voxels per axis computed at a time; one size or one per axis; default: the plan's choice.
    workers : processes on this machine; 0 computes in the calling process.
    memory : bytes a worker may use.
    scheduler, scheduler_file : a running Dask cluster.
    restart : remove what an earlier run left in the folder.
    report : write report.html.
    """

    block: tuple[int, ...] | None = None
    workers: int | None = None
    memory: int | None = None
    scheduler: str | None = None
    scheduler_file: str | None = None
    restart: bool = False
    report: bool = True


@dataclass
class Prepared:
    """A pipeline joined to its inputs: the graph, and the plan for some resources."""

    built: Built
    origins: dict[str, Origin]
    plan: Plan
    folder: RunFolder
    resources: Resources
    settings: Settings


@dataclass(frozen=True)
class Run:
    """A finished run: where it lies, and its record (run.json)."""

    path: Path
    record: dict[str, Any] = field(repr=False)

    @property
    def outputs(self) -> dict[str, Any]:
        """Each saved step as a lazy DataArray."""
        return {name: open_volume(self.path / f"{name}.ome.zarr") for name in self.record["saved"]}

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Each table as a DataFrame."""
        return {path.stem: pd.read_parquet(path) for path in sorted((self.path / "tables").glob("*.parquet"))}

    @property
    def values(self) -> dict[str, Any]:
        """What steps computed: thresholds, counts."""
        return dict(self.record["values"])

    @property
    def report(self) -> Path:
        """The report's file."""
        return self.path / "report.html"


Start = Callable[[], Executor]


def choose_executor(settings: Settings) -> tuple[Resources, Start]:
    """Where to run, first found wins: address, file, Dask's configuration, a current Client, this machine.

    A local cluster is started only by the function given back, when everything else has been checked.
    """
    if settings.workers == 0:
        return local_resources(0, settings.memory), SerialExecutor
    named = settings.scheduler or settings.scheduler_file
    found = attach(settings.scheduler, settings.scheduler_file) if named or settings.workers is None else None
    if found is not None:
        fallback = local_resources(found.workers, settings.memory)
        return Resources(found.workers, settings.memory or found.memory or fallback.memory), lambda: found
    resources = local_resources(settings.workers, settings.memory)
    return resources, lambda: local_cluster(resources.workers, resources.memory)


def run_prepared(pipeline: Mapping[str, Any], prepared: Prepared, start: Start, observe: Observer) -> Run:
    """Run to the end, or continue; ``complete`` is the very last thing written.

    Raises
    ------
    BigsegError
        run.json then says ``failed`` and why; finished blocks are kept for the next try.
    """
    folder, plan = prepared.folder, prepared.plan
    content = {
        "pipeline": dict(pipeline),
        "inputs": {name: identity(origin) for name, origin in prepared.origins.items()},
        "block": list(plan.grid.block),
        "versions": versions(),
    }
    earlier = folder.read()
    if earlier is not None and earlier["status"] == "complete":
        check_same(folder, content)
        return Run(folder.path, earlier)
    folder.probe(sum(stage.writes for stage in plan.stages))
    with Lock(folder.lock) as lock:
        check_same(folder, content)
        record = _new_record(pipeline, prepared, content, earlier)
        folder.write(record)
        (folder.path / "pipeline.yaml").write_text(yaml.safe_dump(dict(pipeline), sort_keys=False), encoding="utf-8")
        journal = Journal(folder.journal, fingerprint(content), folder.path)
        began = time.perf_counter()
        try:
            executor = start()
            try:
                record["where"] = executor.where
                summaries, values = execute(plan, executor, journal, lock, observe)
            finally:
                executor.close()
        except BigsegError as error:
            folder.write({**record, "status": "failed", "error": str(error)})
            raise
        finally:
            journal.close()
        _finish(record, prepared, summaries, values, time.perf_counter() - began)
        lock.check()
        for write in prepared.built.writes:
            mark_complete(write.path)
        folder.write(record)
        if prepared.settings.report:
            write_report(folder.path, record)
        shutil.rmtree(folder.scratch, ignore_errors=True)
        record["status"] = "complete"
        folder.write(record)
    return Run(folder.path, record)


def _new_record(
    pipeline: Mapping[str, Any], prepared: Prepared, content: Mapping[str, Any], earlier: Mapping[str, Any] | None
) -> dict[str, Any]:
    """run.json as it stands while the run is on."""
    spec = next(iter(prepared.origins.values())).spec
    return {
        "status": "incomplete",
        "fingerprint": fingerprint(content),
        "pipeline": dict(pipeline),
        "inputs": {name: str(origin.path) for name, origin in prepared.origins.items()},
        "volume": {
            "shape": list(spec.shape),
            "dtype": str(spec.dtype),
            "axes": list(spec.axes),
            "spacing": list(spec.spacing),
            "unit": spec.unit,
        },
        "block": list(prepared.plan.grid.block),
        "blocks": len(prepared.plan.grid),
        "saved": [write.field.name for write in prepared.built.writes if write.pyramid],
        "stored": [list(item) for item in prepared.plan.stored],
        "workers": prepared.resources.workers,
        "memory_a_worker": prepared.resources.memory,
        "began": (earlier or {}).get("began") or datetime.now(UTC).isoformat(timespec="seconds"),
        "starts": int((earlier or {}).get("starts", 0)) + 1,
        "versions": content["versions"],
    }


def _finish(
    record: dict[str, Any], prepared: Prepared, summaries: list[Summary], values: Values, seconds: float
) -> None:
    """Add what is known only at the end."""
    steps = prepared.built.results
    record |= {
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "values": {name: dict(found) for name, found in values.items() if name in steps and found},
        "stages": [asdict(summary) for summary in summaries],
        "driver_memory_peak": driver_memory(),
    }


def describe_existing(folder: RunFolder) -> str:
    """In one line, what a run finds in its folder: nothing, finished, or where it continues."""
    record = folder.read()
    if record is None:
        return "new run"
    if record["status"] == "complete":
        return "finished already: nothing to do"
    return f"continues a run that is {record['status']} (start {record.get('starts', 0) + 1})"
