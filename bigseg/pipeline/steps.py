"""A pipeline's definition: steps, what they read, what is saved; from YAML or from Python objects."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from bigseg.errors import PipelineError
from bigseg.ops.base import Op
from bigseg.ops.registry import OPS

NAME = re.compile(r"^[A-Za-z][\w-]{0,63}$")
MOST_BYTES = 1 << 20
KEYS = ("version", "steps", "save", "keep_components")


@dataclass(frozen=True)
class Step:
    """One operation of a pipeline: its id, the operation, and the ids of what it reads (empty: the step before).

    ``mask`` is the id of an input or step: the step is computed only where that is not zero (`bigseg.ops.masked`).
    """

    id: str
    op: Op
    sources: tuple[str, ...] = ()
    mask: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The step as it stands in a pipeline file."""
        found: dict[str, Any] = {"id": self.id, "op": self.op.op}
        if self.sources:
            found["from"] = self.sources[0] if len(self.sources) == 1 else list(self.sources)
        if self.mask:
            found["mask"] = self.mask
        return found | self.op.model_dump(mode="json", exclude_defaults=True)


class Definition(NamedTuple):
    """What a pipeline file says: the steps, the ids of those saved, whether components are kept for `bigseg tune`."""

    steps: list[Step]
    save: list[str]
    keep_components: bool = False


def parse_file(path: Path, changes: Sequence[str] = ()) -> Definition:
    """Read a pipeline file, with ``step.parameter=value`` changes applied.

    Raises
    ------
    PipelineError
        Not a file, not YAML, unknown keys, operations or ids (with the nearest valid name).
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise PipelineError(f"{path}: expected a pipeline file of at most 1 MiB, found {path.stat().st_size} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(f"cannot read the pipeline file {path}: {getattr(error, 'strerror', error)}") from error
    return parse(load_yaml(text, str(path)), str(path), changes)


def load_yaml(text: str, where: str) -> Any:
    """Safe YAML without aliases: a pipeline needs none, and a few can blow up to gigabytes.

    Raises
    ------
    PipelineError
        When the text is no YAML, or uses aliases.
    """
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise PipelineError(f"{where}: YAML aliases (*name) are not allowed in a pipeline: write the value out")
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise PipelineError(f"{where}{place}: not valid YAML ({getattr(error, 'problem', error)})") from error


def parse(data: Any, where: str = "pipeline", changes: Sequence[str] = ()) -> Definition:
    """Steps and what is kept of them, from the content of a pipeline file."""
    if not isinstance(data, Mapping):
        raise PipelineError(f"{where}: expected the keys version, steps and save, found {type(data).__name__}")
    _only(data, KEYS, where)
    if data.get("version") != 1:
        raise PipelineError(f"{where}: expected `version: 1`, found {data.get('version')!r}")
    items = data.get("steps")
    if not isinstance(items, list) or not items:
        raise PipelineError(f"{where}: expected a list of steps under `steps`, found {items!r:.60}")
    raw = [_named(item, number, where) for number, item in enumerate(items)]
    for change in changes:
        _apply(change, raw, where)
    steps = [_step(item, where) for item in raw]
    save = data.get("save", [])
    if not isinstance(save, list) or not all(isinstance(name, str) for name in save):
        raise PipelineError(f"{where}: expected a list of step ids under `save`, found {save!r:.60}")
    keep = data.get("keep_components", False)
    if not isinstance(keep, bool):
        raise PipelineError(f"{where}: expected `keep_components: true` or false, found {keep!r:.60}")
    return Definition(steps, save, keep)


def _named(item: Any, number: int, where: str) -> dict[str, Any]:
    if not isinstance(item, Mapping) or not isinstance(item.get("op"), str):
        raise PipelineError(f"{where}, step {number + 1}: expected keys like id and op, found {item!r:.80}")
    found = {str(key): value for key, value in item.items()}
    found.setdefault("id", found["op"])
    return found


def _apply(change: str, raw: list[dict[str, Any]], where: str) -> None:
    target, equals, value = change.partition("=")
    step, dot, key = target.partition(".")
    if not equals or not dot:
        raise PipelineError(f"--set {change}: expected step.parameter=value, as in --set voids.low=60")
    ids = [str(item["id"]) for item in raw]
    if step not in ids:
        raise PipelineError(f"--set {change}: {unknown('step', step, ids)} in {where}")
    raw[ids.index(step)][key.strip()] = load_yaml(value, f"--set {change}")


def _step(item: dict[str, Any], where: str) -> Step:
    item = dict(item)
    name, kind = item.pop("id"), item.pop("op")
    sources = item.pop("from", ())
    if not isinstance(name, str) or not NAME.match(name):
        raise PipelineError(f"{where}: step id {name!r}: expected a letter, then letters, digits, _ or - (64 at most)")
    if kind not in OPS:
        raise PipelineError(f"{where}, step {name!r}: {unknown('operation', kind, OPS)}; `bigseg ops` lists them")
    if isinstance(sources, str):
        sources = (sources,)
    if not isinstance(sources, (list, tuple)) or not all(isinstance(source, str) for source in sources):
        raise PipelineError(f"{where}, step {name!r}: expected `from` to name a step or a list of steps")
    own = "mask" in OPS[kind].model_fields  # a parameter of the operation, not of the step
    mask = "" if own else item.pop("mask", "")
    if not isinstance(mask, str):
        raise PipelineError(f"{where}, step {name!r}: expected `mask` to name an input or step, found {mask!r:.60}")
    return Step(name, make_op(OPS[kind], item, f"{where}, step {name!r}"), tuple(sources), mask)


def make_op(kind: type[Op], parameters: Mapping[str, Any], where: str) -> Op:
    """An operation with validated parameters.

    Raises
    ------
    PipelineError
        One line a wrong parameter: what was expected, what was found.
    """
    _only(parameters, tuple(kind.model_fields), where, "parameter")
    try:
        return kind(**parameters)
    except ValidationError as error:
        raise PipelineError(f"{where}: {explain(error)}") from error


def explain(error: ValidationError) -> str:
    """A validation error in one line, without the library's own words around it."""
    lines: dict[str, list[str]] = {}
    for item in error.errors():
        place = str(item["loc"][0]) if item["loc"] else ""
        message = item["msg"].removeprefix("Value error, ")
        found = "" if item["type"] in ("missing", "value_error") else f" (found {item['input']!r:.60})"
        lines.setdefault(place, []).append(message + found)
    return "; ".join(f"{place}: {' or '.join(dict.fromkeys(texts))}".lstrip(": ") for place, texts in lines.items())


def _only(found: Mapping[str, Any], allowed: Collection[str], where: str, what: str = "key") -> None:
    for key in found:
        if key not in allowed:
            raise PipelineError(f"{where}: {unknown(what, str(key), allowed)}")


def unknown(what: str, name: str, valid: Collection[str]) -> str:
    """``unknown step 'viods', did you mean 'voids'?``"""
    near = difflib.get_close_matches(name, list(valid), 1)
    hint = f"did you mean {near[0]!r}?" if near else f"valid are {', '.join(sorted(valid))}"
    return f"unknown {what} {name!r}, {hint}"
