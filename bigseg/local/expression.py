"""Expressions: a small grammar for arithmetic and conditions, read without ever running code.

::

    volume > 100 um3 and not touches_edge        numbers may carry a unit
    (a - b) / max(b, 1)                          arithmetic + - * / // % and ** with a whole number from 0 to 8
    50 < smooth <= ${levels.otsu} or mask        comparisons in chains, values that an earlier step computes
    where(mask & ~rim, a, 0)                     functions: abs, clip, max, min, sqrt, where

From weakest to strongest: ``or |``, ``and &``, ``not``, comparisons, ``+ -``, ``* / // %``, signs and ``~``, ``**``;
so ``a > 1 & b < 2`` needs no parentheses. A name is taken as long as a known name reaches: where ``bbox-0`` is
known it is no difference. What a text holds is known at once; what it is worth, `bigseg.local.formula` finds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NoReturn

from bigseg.errors import ParameterError, unknown

MOST_CHARACTERS = 1000
MOST_DEPTH = 60
MOST_POWER = 8

Unit = Callable[[float, str], tuple[float, int]]
"""From a number and its unit's text to the number in the table's unit, and the unit's power of length."""

FUNCTIONS = {"abs": (1, 1), "sqrt": (1, 1), "where": (3, 3), "clip": (3, 3), "min": (2, 8), "max": (2, 8)}
"""How many arguments each takes, at least and at most."""
COMPARISONS = ("<=", ">=", "==", "!=", "<", ">")
_SAME = {"&": "and", "|": "or"}
_LEVELS = {"or": 1, "and": 2, **dict.fromkeys(COMPARISONS, 4), "+": 5, "-": 5, "*": 6, "/": 6, "//": 6, "%": 6, "**": 8}
_NOT, _COMPARE, _SIGN = 3, 4, 7
_INSTEAD = {
    "=": "write == to compare",
    "^": f"write ** for a power of 0 to {MOST_POWER}, or != for voxels of one mask alone",
    "!": "write not, or != to compare",
    "&&": "write and",
    "||": "write or",
}

_NUMBER = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_UNIT = re.compile(r"\s*([^\W\d_²³]+(?:\^?[23](?![\w.])|[²³])?)")
_WORD = re.compile(r"[^\W\d]\w*")
_REFERENCE = re.compile(r"\$\{[A-Za-z][\w-]*\.[\w-]+\}")
_SIGNS = re.compile(r"\*\*|//|<=|>=|==|!=|&&|\|\||[-+*/%<>(),&|~=^!]")
_KEYWORDS = ("and", "or", "not")


@dataclass(frozen=True)
class Node:
    """A number, a name, or an operation on other nodes.

    Parameters
    ----------
    what : "number", "name", "compare", an operator, or a function.
    at : column of the text, from 0.
    value : of a number; the name; the exponent of "**"; the operators of "compare", separated by blanks.
    parts : what it operates on.
    power : of length, of a number that had a unit: 3 for a volume.
    """

    what: str
    at: int
    value: float | str = 0
    parts: tuple[Node, ...] = ()
    power: int | None = None

    @property
    def depth(self) -> int:
        """Length of the longest chain of operations."""
        return 1 + max((part.depth for part in self.parts), default=0)


@dataclass(frozen=True)
class Expression:
    """A text that was read.

    Parameters
    ----------
    text : as it was written.
    root : what it means.
    names : those that occur, in the order of the text.
    references : values of earlier steps that occur, as (step, key).
    """

    text: str
    root: Node
    names: tuple[str, ...]
    references: tuple[tuple[str, str], ...]


def parse(text: str, names: Collection[str], unit: Unit | None = None) -> Expression:
    """Read an expression.

    Parameters
    ----------
    text : at most 1000 characters, at most 60 operations deep.
    names : the names that may occur.
    unit : what a number with a unit is worth; by default numbers have none.

    Returns
    -------
    The expression, ready for `bigseg.local.formula.evaluate`.

    Raises
    ------
    ParameterError
        With the column, what was expected there, and the nearest valid name.

    >>> parse("volume > 2.5 and not flat", ["volume", "flat"]).names
    ('volume', 'flat')
    """
    if len(text) > MOST_CHARACTERS:
        raise ParameterError(f"an expression of {len(text)} characters: expected at most {MOST_CHARACTERS}")
    return _Parser(text, names, unit).read()


def fail(text: str, at: int, problem: str) -> NoReturn:
    """Refuse an expression, naming the column.

    Raises
    ------
    ParameterError
    """
    shown = text if len(text) <= 100 else f"…{text[max(0, at - 40) : at + 40]}…"
    raise ParameterError(f"expression {shown!r}, column {at + 1}: {problem}")


def references(text: str) -> list[tuple[str, str]]:
    """The values of earlier steps that a text names, whether or not it can be read.

    >>> references("a > ${levels.otsu}")
    [('levels', 'otsu')]
    """
    found = (match[2:-1].partition(".") for match in _REFERENCE.findall(text))
    return list(dict.fromkeys((step, key) for step, _, key in found))


@dataclass(frozen=True)
class _Token:
    kind: str
    """"number", "name", "reference", "end", or the sign or keyword itself."""
    at: int
    text: str


class _Parser:
    """Precedence climbing over a list of tokens."""

    def __init__(self, text: str, names: Collection[str], unit: Unit | None) -> None:
        self.text, self.unit = text, unit
        self.names = sorted(names, key=len, reverse=True)
        self.tokens = self._tokens()
        self.place = self.nested = 0
        self.found: dict[str, None] = {}

    def read(self) -> Expression:
        """The whole text."""
        root = self._part(0)
        if self.now.kind != "end":
            self._fail(self.now, f"expected an operator before {self._words(self.now)}")
        return Expression(self.text, root, tuple(self.found), tuple(references(self.text)))

    def _tokens(self) -> list[_Token]:
        found: list[_Token] = []
        at = 0
        while True:
            at += len(self.text[at:]) - len(self.text[at:].lstrip())
            if at == len(self.text):
                return [*found, _Token("end", at, "")]
            found.append(self._token(at))
            at += len(found[-1].text)

    def _token(self, at: int) -> _Token:
        if match := _REFERENCE.match(self.text, at):
            return _Token("reference", at, match[0])
        if match := _NUMBER.match(self.text, at):
            following = _UNIT.match(self.text, match.end())
            if following and following[1] not in _KEYWORDS:
                return _Token("number", at, self.text[at : following.end()])
            return _Token("number", at, match[0])
        for name in self.names:
            if self.text.startswith(name, at) and not re.match(r"\w", self.text[at + len(name) :]):
                return _Token(name if name in _KEYWORDS else "name", at, name)
        if match := _WORD.match(self.text, at):
            return _Token(match[0] if match[0] in _KEYWORDS else "name", at, match[0])
        if match := _SIGNS.match(self.text, at):
            if match[0] in _INSTEAD:
                fail(self.text, at, f"{match[0]!r} is no operator here: {_INSTEAD[match[0]]}")
            return _Token(_SAME.get(match[0], match[0]), at, match[0])
        fail(self.text, at, f"unexpected character {self.text[at]!r}")

    @property
    def now(self) -> _Token:
        return self.tokens[self.place]

    def _next(self) -> _Token:
        self.place += 1
        return self.tokens[self.place - 1]

    def _take(self, kind: str) -> None:
        if self.now.kind != kind:
            self._fail(self.now, f"expected {kind!r}, found {self._words(self.now)}")
        self.place += 1

    def _part(self, level: int) -> Node:
        """What stands here, as far as operators stronger than ``level`` reach."""
        self.nested += 1
        if self.nested > MOST_DEPTH:
            self._fail(self.now, f"expected at most {MOST_DEPTH} parts within each other")
        left = self._first(level)
        while (strength := _LEVELS.get(self.now.kind, 0)) > level:
            sign = self._next()
            if sign.kind in COMPARISONS:
                left = self._comparison(left, sign)
            elif sign.kind == "**":
                left = self._node("**", sign, (left,), self._exponent())
            else:
                left = self._node(sign.kind, sign, (left, self._part(strength)))
        self.nested -= 1
        return left

    def _first(self, level: int) -> Node:
        token = self._next()
        if token.kind == "(":
            inside = self._part(0)
            self._take(")")
            return inside
        if token.kind in ("+", "-", "~"):
            if token.kind == "-" and self.now.kind == "number" and self.tokens[self.place + 1].kind != "**":
                return self._number(self._next(), -1)
            part = self._part(_SIGN)
            what = {"+": "plus", "-": "minus", "~": "not"}[token.kind]
            return part if what == "plus" else self._node(what, token, (part,))
        if token.kind == "not":
            if level > _NOT:
                self._fail(token, "put parentheses around `not ...` here")
            return self._node("not", token, (self._part(_NOT),))
        if token.kind == "number":
            return self._number(token, 1)
        if token.kind == "reference":
            return Node("name", token.at, token.text)
        if token.kind == "name":
            return self._name(token)
        self._fail(token, f"expected a number, a name or a function, found {self._words(token)}")

    def _comparison(self, left: Node, sign: _Token) -> Node:
        parts, signs = [left, self._part(_COMPARE)], [sign.kind]
        while self.now.kind in COMPARISONS:
            signs.append(self._next().kind)
            parts.append(self._part(_COMPARE))
        return self._node("compare", sign, tuple(parts), " ".join(signs))

    def _exponent(self) -> int:
        token = self._next()
        if token.kind != "number" or not token.text.isdigit() or int(token.text) > MOST_POWER:
            self._fail(token, f"expected a whole number from 0 to {MOST_POWER} after **")
        if self.now.kind == "**":
            self._fail(self.now, "put parentheses around one of the two powers")
        return int(token.text)

    def _number(self, token: _Token, sign: int) -> Node:
        match = _NUMBER.match(token.text)
        assert match is not None
        digits, unit = match[0], token.text[match.end() :].strip()
        value: float = float(digits)
        if not math.isfinite(value):
            self._fail(token, f"the number {digits} is too large")
        if digits.isdigit() and int(digits) < 2**64:  # as far as integers of a volume go, with every digit
            value = int(digits)
        if not unit:
            return Node("number", token.at, sign * value)
        word = unit.rstrip("^23²³")
        if self.unit is None or word in FUNCTIONS or unit in self.names:
            hint = "numbers have no unit here" if self.unit is None else "it is no unit"
            at = token.at + len(token.text) - len(unit)
            fail(self.text, at, f"expected an operator between {digits} and {unit!r}: {hint}")
        try:
            worth, power = self.unit(sign * value, unit)
        except ParameterError as error:
            fail(self.text, token.at, str(error))
        return Node("number", token.at, worth, power=power)

    def _name(self, token: _Token) -> Node:
        if self.now.kind == "(" and token.text in FUNCTIONS:
            return self._call(token)
        if token.text not in self.names or self.now.kind == "(":
            if self.now.kind == "(":
                self._fail(token, unknown("function", token.text, FUNCTIONS))
            self._fail(token, unknown("name", token.text, [*self.names, *FUNCTIONS]))
        self.found[token.text] = None
        return Node("name", token.at, token.text)

    def _call(self, token: _Token) -> Node:
        self._take("(")
        parts = [self._part(0)] if self.now.kind != ")" else []
        while self.now.kind == ",":
            self._next()
            parts.append(self._part(0))
        self._take(")")
        least, most = FUNCTIONS[token.text]
        if not least <= len(parts) <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            self._fail(token, f"{token.text} takes {wanted} values, found {len(parts)}")
        return self._node(token.text, token, tuple(parts))

    def _node(self, what: str, token: _Token, parts: tuple[Node, ...], value: float | str = 0) -> Node:
        node = Node(what, token.at, value, parts)
        if node.depth > MOST_DEPTH:
            self._fail(token, f"expected a chain of at most {MOST_DEPTH} operations")
        return node

    def _words(self, token: _Token) -> str:
        return "the end" if token.kind == "end" else repr(token.text)

    def _fail(self, token: _Token, problem: str) -> NoReturn:
        fail(self.text, token.at, problem)
