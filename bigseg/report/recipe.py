"""The pipeline as its file shows it, with what references became beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from bigseg.report.thresholds import resolve
from bigseg.report.wording import number


class Token(NamedTuple):
    """A piece of a line: what it is (key, value, op, note or plain), and its text."""

    kind: str
    text: str


def recipe_lines(pipeline: Mapping[str, Any], values: Mapping[str, Any]) -> list[list[Token]]:
    """Lines of YAML in pieces, one step a line; joined, they are a pipeline file that can be run again.

    Parameters
    ----------
    pipeline : version, steps and save.
    values : what steps computed; each reference is followed by a comment with its value.

    Examples
    --------
    >>> pipe = {"version": 1, "steps": [{"id": "m", "op": "threshold", "above": "${l.otsu}"}], "save": ["m"]}
    >>> for line in recipe_lines(pipe, {"l": {"otsu": 93.1}}):
    ...     print("".join(token.text for token in line))
    version: 1
    steps:
      - {id: m, op: threshold, above: '${l.otsu}'}  # ${l.otsu} = 93.1
    save: [m]
    """
    lines = [_entry("version", pipeline.get("version", 1)), [Token("key", "steps"), Token("plain", ":")]]
    for step in pipeline.get("steps", []):
        line = [Token("plain", "  - {")]
        notes = []
        for key, value in step.items():
            if len(line) > 1:
                line.append(Token("plain", ", "))
            line += _entry(key, value)
            for item in value if isinstance(value, (list, tuple)) else [value]:
                became = resolve(item, values)
                if became is not item:
                    notes.append(f"{item} = {number(became)}")
        line.append(Token("plain", "}"))
        if notes:
            line.append(Token("note", "  # " + ", ".join(dict.fromkeys(notes))))
        lines.append(line)
    lines.append(_entry("save", list(pipeline.get("save", []))))
    if pipeline.get("keep_components"):
        lines.append(_entry("keep_components", True))
    return lines


def _entry(key: Any, value: Any) -> list[Token]:
    kind = "op" if key in ("op", "id") else "value"
    return [Token("key", _scalar(key)), Token("plain", ": "), Token(kind, _scalar(value))]


def _scalar(value: Any) -> str:
    """A value in one line, quoted where YAML wants it."""
    text: str = yaml.safe_dump([_plain(value)], default_flow_style=True, width=10**9, allow_unicode=True)
    return text.strip()[1:-1]


def _plain(value: Any) -> Any:
    """Tuples as lists: YAML knows no tuples."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, Sequence) and not isinstance(value, str) else value


def chain(pipeline: Mapping[str, Any]) -> str:
    """The operations in order, in one line.

    >>> chain({"steps": [{"id": "a", "op": "gaussian"}, {"id": "b", "op": "label"}]})
    'gaussian → label'
    """
    return " → ".join(str(step.get("op", "?")) for step in pipeline.get("steps", []))
