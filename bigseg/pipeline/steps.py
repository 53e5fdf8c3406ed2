"""A pipeline's definition: steps, what they read, what is saved; from YAML or from Python objects."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from bigseg.errors import PipelineError, unknown
from bigseg.ops.base import Op
from bigseg.ops.registry import OPS

NAME = re.compile(r"[A-Za-z][\w-]{0,63}")
MOST_BYTES = 256 << 10
"""Of a file: some 5,000 steps, read in a second."""
MOST_NESTED = 30
"""Lists and mappings in each other: the parser would run out of stack at some ten thousand."""
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
    return parse(read_yaml(path, "pipeline"), str(path), changes)


def read_yaml(path: Path, what: str) -> Any:
    """The content of a small YAML file.

    Raises
    ------
    PipelineError
        When it cannot be read, is larger than 256 KiB, or is not the YAML that `load_yaml` takes.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise PipelineError(f"{path}: expected a {what} file of at most {MOST_BYTES >> 10} KiB, found a larger one")
        return load_yaml(data.decode(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(f"cannot read the {what} file {path}: {getattr(error, 'strerror', error)}") from error


class _Plain(yaml.CSafeLoader):  # type: ignore[misc]
    """YAML of plain values, in which no key stands twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        known: set[str] = set()
        for key in keys:
            if key.value in known:
                problem = f"the key {key.value!r:.60} stands twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            known.add(key.value)
        return super().construct_mapping(node, deep)


def load_yaml(text: str, where: str) -> Any:
    """Safe YAML without aliases: a pipeline needs none, and a few can blow up to gigabytes.

    Raises
    ------
    PipelineError
        When the text is no YAML, uses aliases, nests too deep, or names a key twice.
    """
    try:
        depth = 0
        for event in yaml.parse(text, yaml.CSafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise PipelineError(f"{where}: YAML aliases (*name) are not allowed in a pipeline: write the value out")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MOST_NESTED:
                raise PipelineError(f"{where}: expected at most {MOST_NESTED} lists and mappings in each other")
        return yaml.load(text, _Plain)  # noqa: S506 - it is a safe loader
    except PipelineError:
        raise
    except Exception as error:  # a wrong value behind a tag of YAML's own (!!timestamp x) raises whatever it likes
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = f"{getattr(error, 'problem', error)}"
        raise PipelineError(f"{where}{place}: not valid YAML ({problem:.200})") from error


def parse(data: Any, where: str = "pipeline", changes: Sequence[str] = ()) -> Definition:
    """Steps and what is kept of them, from the content of a pipeline file."""
    if not isinstance(data, Mapping):
        raise PipelineError(f"{where}: expected the keys version, steps and save, found {type(data).__name__}")
    _only(data, KEYS, where)
    if data.get("version") != 1:
        raise PipelineError(f"{where}: expected `version: 1`, found {data.get('version')!r:.60}")
    items = data.get("steps")
    if not isinstance(items, list) or not items:
        raise PipelineError(f"{where}: expected a list of steps under `steps`, found {items!r:.60}")
    raw = [_named(item, number, where) for number, item in enumerate(items)]
    for change in changes:
        _apply(change, raw, where)
    steps = [_step(item, where) for item in raw]
    save = data.get("save", [])
    if not isinstance(save, list) or not all(isinstance(name, str) for name in save):
        raise PipelineError(f"{where}: expected a list of step ids under `save`, {_found(save)}")
    keep = data.get("keep_components", False)
    if not isinstance(keep, bool):
        raise PipelineError(f"{where}: expected `keep_components: true` or false, found {keep!r:.60}")
    return Definition(steps, save, keep)


def _named(item: Any, number: int, where: str) -> dict[str, Any]:
    if not isinstance(item, Mapping) or not isinstance(item.get("op"), str):
        raise PipelineError(f"{where}, step {number + 1}: expected keys like id and op, found {item!r:.80}")
    found = {str(key): value for key, value in item.items()}
    found.setdefault("id", found["op"])
    if not isinstance(found["id"], str):
        raise PipelineError(f"{where}, step {number + 1}: expected a text as id, {_found(found['id'])}")
    return found


def _found(value: Any) -> str:
    """What stands in place of a text; YAML takes some words for values."""
    if any(isinstance(item, bool) for item in (value if isinstance(value, list) else [value])):
        return "found a word that YAML reads as true or false (on, off, yes, no): put it into quotes"
    return f"found {value!r:.60}"


def _apply(change: str, raw: list[dict[str, Any]], where: str) -> None:
    target, equals, value = change.partition("=")
    step, dot, key = target.partition(".")
    if not equals or not dot:
        raise PipelineError(f"--set {change}: expected step.parameter=value, as in --set voids.low=60")
    ids = [item["id"] for item in raw]
    if step not in ids:
        raise PipelineError(f"--set {change}: {unknown('step', step, ids)} in {where}")
    raw[ids.index(step)][key.strip()] = load_yaml(value, f"--set {change}")


def _step(item: dict[str, Any], where: str) -> Step:
    item = dict(item)
    name, kind = item.pop("id"), item.pop("op")
    sources = item.pop("from", ())
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise PipelineError(
            f"{where}: step id {name!r:.80}: expected a letter, then letters, digits, _ or - (64 at most)"
        )
    if not isinstance(kind, str):
        raise PipelineError(f"{where}, step {name!r}: expected the name of an operation as op, {_found(kind)}")
    if kind not in OPS:
        raise PipelineError(f"{where}, step {name!r}: {unknown('operation', kind, OPS)}; `bigseg ops` lists them")
    if isinstance(sources, str):
        sources = (sources,)
    if not isinstance(sources, (list, tuple)) or not all(isinstance(source, str) for source in sources):
        raise PipelineError(
            f"{where}, step {name!r}: expected `from` to name a step or a list of steps, {_found(sources)}"
        )
    own = "mask" in OPS[kind].model_fields  # a parameter of the operation, not of the step
    mask = "" if own else item.pop("mask", "")
    if not isinstance(mask, str):
        raise PipelineError(f"{where}, step {name!r}: expected `mask` to name an input or step, {_found(mask)}")
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
    words = [f"{place}: {' or '.join(dict.fromkeys(texts)):.400}".lstrip(": ") for place, texts in lines.items()]
    return "; ".join(words[:8]) + ("; …" if len(words) > 8 else "")


def _only(found: Mapping[str, Any], allowed: Collection[str], where: str, what: str = "key") -> None:
    for key in found:
        if key not in allowed:
            raise PipelineError(f"{where}: {unknown(what, str(key), allowed)}")
