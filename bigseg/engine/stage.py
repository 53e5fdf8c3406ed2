"""Stages and plans: what will run, in which order, and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bigseg.engine.field import Values
from bigseg.engine.order import Order
from bigseg.engine.work import Limits, ReduceWork, Work
from bigseg.grid import Grid, Shape

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Stage:
    """One line of the plan: a pass, a reduction or a pyramid level."""

    name: str
    kind: str
    what: str
    """In words: what it computes and stores."""
    units: int
    memory: int
    """Bytes a worker needs, all told."""
    reads: int
    """Bytes of voxels decoded, the halo's share included."""
    decode: float
    """How often a chunk of the input is decoded, on average."""
    writes: int
    """Bytes of voxels written, before compression."""
    voxels: int
    """Voxels of the output it covers, for the rate."""
    start: Callable[[Values], Work] = field(repr=False, compare=False)
    """Creates the outputs where they do not exist and gives the work for the workers."""
    order: Order = field(default=(), repr=False, compare=False)
    needs: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """Earlier stages whose partial results it may read: all below it; a pyramid reads none."""
    after: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """Earlier stages whose images it reads: of a pyramid's level, those that write the levels below."""
    outer: float = 1.0
    """Of a pass: voxels of all blocks with their halos, by those of the volume."""
    light: ReduceWork | None = field(default=None, repr=False, compare=False)
    """Of a reduction that takes little: its work before `start`, so that one task can do several stages."""


@dataclass(frozen=True)
class Plan:
    """The costed list of stages, and what is stored between them and why."""

    stages: tuple[Stage, ...]
    grid: Grid
    limits: Limits
    stored: tuple[tuple[str, str], ...]
    brick: Shape

    @property
    def memory(self) -> int:
        """Bytes a worker needs at the worst stage."""
        return max(stage.memory for stage in self.stages)

    @property
    def worst(self) -> Stage:
        """The stage that needs most memory."""
        return max(self.stages, key=lambda stage: stage.memory)

    def table(self) -> pd.DataFrame:
        """One row a stage; sizes in MiB.

        ``decoded`` says how often a chunk of the input is decoded; ``memory`` is what a worker needs, all told.
        """
        import pandas as pd  # which takes half a second to load

        rows = [
            {
                "stage": stage.name,
                "blocks": stage.units,
                "tasks": len(stage.order),
                "read": stage.reads / 2**20,
                "decoded": stage.decode,
                "written": stage.writes / 2**20,
                "memory": stage.memory / 2**20,
                "what it does": stage.what,
            }
            for stage in self.stages
        ]
        return pd.DataFrame(rows).set_index("stage")

    def _repr_html_(self) -> str:
        shape, block = (" x ".join(map(str, item)) for item in (self.grid.shape, self.grid.block))
        needs = f"{self.memory / 2**20:.0f} MiB a worker at most ({self.worst.name})"
        table = self.table().to_html(float_format=lambda value: f"{value:.1f}")
        return f"<p>{shape} in {len(self.grid)} blocks of {block}; {needs}; sizes in MiB</p>{table}"
