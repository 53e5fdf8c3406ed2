"""What a run is made of: settings, the pipeline joined to its inputs, and where it will be computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, fields
from numbers import Integral
from typing import Any

from bigseg.engine.damage import Found, find_damage
from bigseg.engine.folder import RunFolder
from bigseg.engine.run import Executor
from bigseg.engine.serial import SerialExecutor
from bigseg.engine.stage import Plan
from bigseg.errors import UsageError, unknown
from bigseg.pipeline.build import Built
from bigseg.pipeline.kept import Kept
from bigseg.pipeline.planning import Resources, local_resources
from bigseg.storage.sources.opening import Origin
from bigseg.storage.units import byte_count


@dataclass(frozen=True)
class Settings:
    """How to run, as opposed to what: none of it changes a result.

    Parameters
    ----------
    block : voxels per axis computed at a time; one size or one per axis; default: the plan's choice.
    workers : processes on this machine; 0 computes in the calling process.
    memory : bytes a worker may use.
    scheduler, scheduler_file : a running Dask cluster.
    insecure : whether that may be another machine without encryption.
    restart : remove what an earlier run left in the folder.
    report : write report.html.
    """

    block: tuple[int, ...] | None = None
    workers: int | None = None
    memory: int | None = None
    scheduler: str | None = None
    scheduler_file: str | None = None
    insecure: bool = False
    restart: bool = False
    report: bool = True

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        """From what a function was given: ``block=128`` and ``memory="2GiB"`` are as good as tuples and bytes.

        Raises
        ------
        UsageError
            When there is no such setting, or it cannot be read.
        """
        known = [item.name for item in fields(cls)]
        for name in given:
            if name not in known:
                raise UsageError(unknown("setting", name, known))
        found = dict(given)
        if (block := found.get("block")) is not None:
            sizes = tuple(block) if isinstance(block, (tuple, list)) else (block,)
            if not all(isinstance(size, Integral) for size in sizes):
                raise UsageError(f"block {block!r}: expected a number of voxels, or one for each axis")
            found["block"] = tuple(map(int, sizes))
        if found.get("memory") is not None:
            found["memory"] = byte_count(found["memory"])
        return cls(**found)


@dataclass
class Prepared:
    """A pipeline joined to its inputs: the graph, and the plan for some resources."""

    built: Built
    origins: dict[str, Origin]
    plan: Plan
    folder: RunFolder
    resources: Resources
    settings: Settings
    kept: Kept | None = None
    """Components of an earlier run that this one continues from."""
    damaged: Found | None = None
    """What was found damaged in the run that lies there, and is computed again."""

    def look(self) -> Found:
        """What is damaged in the finished run that lies there: by lengths, unless somebody has looked already."""
        if self.damaged is None:
            self.damaged = find_damage(self.folder.path, "stat", driver=True)
        return self.damaged


Start = Callable[[], Executor]


def choose_executor(settings: Settings) -> tuple[Resources, Start]:
    """Where to run, first found wins: address, file, Dask's configuration, a current Client, this machine.

    A local cluster is started only by the function given back, when everything else has been checked.
    """
    if settings.workers == 0:
        return local_resources(0, settings.memory), SerialExecutor
    from bigseg.engine.cluster.starting import again, attach, local_cluster  # Dask takes half a second to load

    found = None
    if settings.scheduler or settings.scheduler_file or settings.workers is None:
        found = attach(settings.scheduler, settings.scheduler_file, settings.insecure)
    if found is not None:
        with closing(found):  # a plan that is refused must leave no client behind
            fallback = local_resources(found.workers, settings.memory)
            resources = Resources(found.workers, settings.memory or found.memory or fallback.memory)
        return resources, lambda: again(found)
    resources = local_resources(settings.workers, settings.memory)
    return resources, lambda: local_cluster(resources.workers, resources.memory)
