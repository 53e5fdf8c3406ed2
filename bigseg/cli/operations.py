"""The reference of the operations, from their own definitions: ``bigseg ops`` and ``bigseg ops NAME``."""

from __future__ import annotations

import inspect
import json
import sys
import textwrap
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bigseg.cli.console import console
from bigseg.errors import UsageError, unknown
from bigseg.ops.base import Op
from bigseg.ops.registry import OPS


def find_op(name: str) -> type[Op]:
    """An operation by its name.

    Raises
    ------
    UsageError
        With the nearest name.
    """
    if name not in OPS:
        raise UsageError(unknown("operation", name, OPS))
    return OPS[name]


def op_facts(kind: type[Op]) -> dict[str, Any]:
    """An operation as a document."""
    return {
        "op": kind.op,
        "summary": summary(kind),
        "local": kind.local,
        "oracle": kind.oracle,
        "example": kind.example,
        "schema": kind.model_json_schema(),
    }


def families() -> dict[str, list[type[Op]]]:
    """The operations under the first line of the module that holds them, in the registry's order."""
    found: dict[str, list[type[Op]]] = {}
    for kind in OPS.values():
        title = (sys.modules[kind.__module__].__doc__ or "").strip().split("\n")[0].rstrip(".")
        found.setdefault(title, []).append(kind)
    return found


def ops_list() -> None:
    """Print the operations, a line each."""
    table = Table(box=None, header_style="bold", padding=(0, 1), pad_edge=False)
    for column in ("operation", "", "what it does"):
        table.add_column(column, no_wrap=column != "what it does")
    for title, kinds in families().items():
        table.add_row("", "", Text(f"\n{title}", style="bold"))
        for kind in kinds:
            table.add_row(kind.op, "local" if kind.local else "global", Text(summary(kind)))
    out = console()
    out.print(table)
    out.print("\nlocal: one visit of a block, fuses with its neighbours; global: needs the whole volume, in passes")
    out.print("bigseg ops NAME shows the parameters of one; bigseg ops --markdown prints all of them as a page")


def op_page(name: str) -> None:
    """Print everything about one operation."""
    kind = find_op(name)
    out = console()
    out.print(Text(f"{kind.op}: {summary(kind)}\n", style="bold"))
    _text(out, _details(kind))
    out.print(_parameters(kind))
    out.print()
    out.print(Text(f"equals   {kind.oracle}"))
    out.print(Text(f"in YAML  {kind.example}"))
    code = [line.strip() for line in _doc(kind).splitlines() if line.strip().startswith((">>>", "..."))]
    for line in code:
        out.print(Text(f"Python   {line}"))


def summary(kind: type[Op]) -> str:
    """The first sentence of an operation's documentation."""
    return " ".join(_doc(kind).split("\n\n")[0].split())


def reference() -> str:
    """All operations as one Markdown page: docs/operations.md."""
    lines = ["# Operations", "", "Printed by `bigseg ops --markdown` from the operations' own definitions.", ""]
    for title, kinds in families().items():
        lines += [f"- {title}: " + ", ".join(f"[{kind.op}](#{kind.op})" for kind in kinds)]
    for title, kinds in families().items():
        lines += ["", f"## {title}"]
        for kind in kinds:
            lines += ["", section(kind).rstrip("\n")]
    return "\n".join(lines) + "\n"


def section(kind: type[Op]) -> str:
    """One operation of the page."""
    doc = inspect.cleandoc(kind.__doc__ or "")
    words, _, code = doc.partition("\n>>>")
    lines = [f"### {kind.op}", "", words.strip(), ""]
    schema = kind.model_json_schema()
    if schema.get("properties"):
        lines += ["| parameter | type | default | meaning |", "|---|---|---|---|"]
    for name, item in schema.get("properties", {}).items():
        given = "required" if name in schema.get("required", ()) else _plain(item.get("default"))
        cells = (f"`{name}`", type_words(item), given, item.get("description", ""))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    lines += ["", f"Equals: {kind.oracle}.", "", "```yaml", f"- {kind.example}", "```"]
    lines += ["", "```python", f">>>{code}".strip(), "```"] if code else []
    return "\n".join(lines) + "\n"


def _doc(kind: type[Op]) -> str:
    return inspect.cleandoc(kind.__doc__ or "").replace("``", "")


def _details(kind: type[Op]) -> str:
    """The documentation without its summary and its doctest."""
    return "\n\n".join(part for part in _doc(kind).split("\n\n")[1:] if not part.startswith(">>>"))


def _text(out: Console, text: str) -> None:
    for paragraph in text.split("\n\n"):
        out.print(Text(textwrap.fill(" ".join(paragraph.split()), min(out.width, 100)) + "\n"))


def _parameters(kind: type[Op]) -> Table:
    schema = kind.model_json_schema()
    table = Table(box=None, header_style="bold", padding=(0, 1), pad_edge=False)
    for column in ("parameter", "type", "default", "meaning"):
        table.add_column(column, no_wrap=column == "parameter")
    for name, item in schema.get("properties", {}).items():
        given = "required" if name in schema.get("required", ()) else _plain(item.get("default"))
        table.add_row(name, Text(type_words(item)), given, Text(item.get("description", "")))
    return table


def type_words(item: Mapping[str, Any]) -> str:
    """A JSON schema in words.

    >>> type_words({"anyOf": [{"type": "number"}, {"type": "null"}]}), type_words({"type": "integer", "minimum": 1})
    ('number or none', 'integer of 1 or more')
    """
    if "anyOf" in item:
        return " or ".join(dict.fromkeys(map(type_words, item["anyOf"])))
    if "enum" in item:
        return " | ".join(map(_plain, item["enum"]))
    if item.get("pattern", "").startswith(r"^\$\{"):
        return "${step.value}"
    kind = str(item.get("type", "mapping" if "$ref" in item else "any"))
    low, high = item.get("minimum"), item.get("maximum")
    if low is not None:
        return f"{kind} {low} to {high}" if high is not None else f"{kind} of {low} or more"
    return {"string": "text", "array": "list", "null": "none", "boolean": "true | false"}.get(kind, kind)


def _plain(value: Any) -> str:
    """A value as it stands in a pipeline file."""
    return value if isinstance(value, str) else json.dumps(value).replace("null", "none")
