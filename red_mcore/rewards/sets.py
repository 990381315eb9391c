"""Sets of real numbers, from tidy text: intervals, inequalities, conditions, points left out; and
the algebra of sets.

Two sets are the same where their pieces match as they are written. Otherwise what ``\\cup``,
``\\cap`` and ``\\setminus`` make of them is worked out: by sympy for sets of reals, element by
element for finite ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import sympy

from red_mcore.rewards.expressions import braced, expression
from red_mcore.rewards.shapes import (
    BRACKET,
    BUILDER,
    FLIPPED,
    NAME,
    inside,
    items,
    listed,
    relation,
    split,
)

_UNION = re.compile(
    BRACKET + r"|(?P<mark>\\cup(?![a-zA-Z])|\\text\{ *or *\}|(?<![A-Za-z])or(?![A-Za-z])"
    r"|\\lor|\\vee|(?<=[)\]]) U (?=[(\[]))"
)
_OPERATION = re.compile(
    BRACKET + r"|(?P<mark>\\(?:cup|cap|setminus|lor|land|vee|wedge)(?![a-zA-Z])"
    r"|\\text\{ *(?:or|and) *\}|(?<![A-Za-z])(?:or|and)(?![A-Za-z])|(?<=[)\]]) U (?=[(\[]))"
)
_MEANS = {
    **dict.fromkeys((r"\cup", r"\lor", r"\vee", "or", "U"), "union"),
    **dict.fromkeys((r"\cap", r"\land", r"\wedge", "and"), "intersection"),
    r"\setminus": "difference",
}
_COMBINED = {
    "union": sympy.Union,
    "intersection": sympy.Intersection,
    "difference": sympy.Complement,
}
_WITHOUT = re.compile(
    r"(?:([A-Za-z]) ?\\in ?)?(?:\\mathbb\{R\}|\\R) ?(?:\\setminus|-) ?\\\{([^{}]*)\\\}"
)
_ELEMENT = re.compile(r"([A-Za-z]) ?\\in(?![a-z]) ?(.*)", re.DOTALL)
_HALF_OPEN = re.compile(r"([a-z]) ?((?:\(.*\])|(?:\[.*\)))", re.DOTALL)
"""``t(0,4]``, which no function's name has behind it."""

Equal = Callable[[str, str], bool | None]
"""Compares two answers; None where one cannot be read."""


class Piece(NamedTuple):
    """An interval as it is written, or a point: one that goes from itself to itself."""

    low: str
    high: str
    has_low: bool
    has_high: bool


class RealSet(NamedTuple):
    """A set of real numbers that is written with intervals or inequalities."""

    name: str | None
    """The variable, where there is one."""
    pieces: list[Piece]


class Holes(NamedTuple):
    """All real numbers but some points."""

    name: str | None
    points: list[str]


class _Span(NamedTuple):
    """An interval that was worked out, or a point."""

    low: sympy.Expr
    high: sympy.Expr
    is_open: tuple[bool, bool] = (False, False)


class _Worked(NamedTuple):
    """A set that was worked out."""

    name: str | None
    value: sympy.Set


def may_be_one(name: str | None, other: str | None) -> bool:
    """Whether two names are the same, or one of them is not said."""
    return not name or not other or name == other


def pieces(text: str) -> RealSet | None:
    """The set that ``text`` writes, perhaps by a pair in round brackets; None where it is none."""
    if builder := BUILDER.fullmatch(text):
        text = builder[2].strip(" ")
    name = None
    sides, marks = relation(text)
    if marks == [r"\in"]:
        name, text = sides
    elif half_open := _HALF_OPEN.fullmatch(text):
        name, text = half_open.groups()
    found: list[Piece] = []
    proper = False
    for part in split(text, _UNION)[0]:
        member = _member(part)
        if member is None or not may_be_one(member.name, name):
            return None
        name = member.name or name
        # Listed elements and equations alone are a list, and no set.
        is_element = part.startswith("\\") or relation(part)[1] == ["="]
        proper = proper or part.startswith("\\mathbb") or not is_element
        found += member.pieces
    return RealSet(name, found) if proper else None


def holes(text: str) -> Holes | None:
    """The set of all real numbers but some points (``x\\ne 1, 2``) that ``text`` is; else None."""
    if match := _WITHOUT.fullmatch(text):
        return Holes(match[1], items(match[2]))
    if builder := BUILDER.fullmatch(text):
        text = builder[2].strip(" ")
    sides, marks = relation(text)
    if set(marks) == {r"\ne"} and NAME.fullmatch(sides[0]):
        return _unequal(sides[0], sides[1:])
    found = pieces(text)
    if found is None or len(found.pieces) < 2:
        return None
    # Open intervals that follow one another, from one infinity to the other.
    end, points = r"-\infty", []
    for piece in found.pieces:
        if piece.low != end or piece.has_low or piece.has_high:
            return None
        points.append(piece.low)
        end = piece.high
    return Holes(found.name, points[1:]) if end in (r"\infty", r"+\infty") else None


def _unequal(name: str, sides: list[str]) -> Holes | None:
    """What ``sides`` leave out, of ``x\\ne 1, x\\ne 2`` the sides "1, x" and "2"."""
    points: list[str] = []
    for number, side in enumerate(sides, 1):
        parts = listed(side)
        if number < len(sides) and (len(parts) < 2 or parts.pop() != name):
            return None
        for part in parts:
            points += items(part)
    if any(map(NAME.fullmatch, points)):
        return None
    return Holes(name, points)


def _member(text: str) -> RealSet | None:
    """One member of a union; None where it is none."""
    if text in (r"\mathbb{R}", r"\R"):
        return RealSet(None, [Piece(r"-\infty", r"\infty", False, False)])
    if points := inside(text, r"\{", r"\}"):
        return RealSet(None, [Piece(point, point, True, True) for point in listed(points)])
    is_bracketed = text.startswith(("(", "[")) and text.endswith((")", "]"))
    if is_bracketed and (content := inside(text, text[0], text[-1])):
        ends = listed(content)
        if len(ends) != 2 or not all(ends):
            return None
        return RealSet(None, [Piece(ends[0], ends[1], text[0] == "[", text[-1] == "]")])
    sides, marks = relation(text)
    if not all(sides):
        return None
    if len(marks) == 1:
        return _one_sided(sides[0], marks[0], sides[1])
    if len(marks) == 2 and NAME.fullmatch(sides[1]):
        low, name, high = sides
        if set(marks) <= {">", r"\ge"}:
            low, high = high, low
            marks = [FLIPPED[marks[1]], FLIPPED[marks[0]]]
        if set(marks) <= {"<", r"\le"}:
            return RealSet(name, [Piece(low, high, marks[0] == r"\le", marks[1] == r"\le")])
    return None


def _one_sided(left: str, mark: str, right: str) -> RealSet | None:
    """The set of ``x=1`` and ``x<1``; None without a variable, or with two."""
    if mark == "=" and NAME.fullmatch(left):
        return RealSet(left, [Piece(right, right, True, True)])
    if mark not in FLIPPED:
        return None
    if NAME.fullmatch(right):
        left, right, mark = right, left, FLIPPED[mark]
    if not NAME.fullmatch(left) or NAME.fullmatch(right):
        return None
    below = Piece(r"-\infty", right, False, mark == r"\le")
    above = Piece(right, r"\infty", mark == r"\ge", False)
    if mark == r"\ne":
        return RealSet(left, [below, above])
    return RealSet(left, [below if mark in ("<", r"\le") else above])


def same(gold: str, answer: str, equal: Equal) -> bool | None:
    """Whether two sets are the same once they are worked out; None where one of them is none that
    can be.

    ``equal`` compares two elements.
    """
    if not _has_operation(gold) and not _has_operation(answer):
        return None
    real, other_real = _real(gold), _real(answer)
    if real and other_real:
        return may_be_one(real.name, other_real.name) and _alike(real.value, other_real.value)
    elements, others = _elements(gold, equal), _elements(answer, equal)
    if elements is None or others is None:
        return None
    if not all(_is_in(one, others, equal) for one in elements):
        return False
    # The gold's element goes first here, too.
    return all(_is_in(one, elements, lambda its, own: equal(own, its)) for one in others)


def _has_operation(text: str) -> bool:
    return any(match["mark"] for match in _OPERATION.finditer(text))


def _operation(text: str) -> tuple[str, list[str]] | None:
    """The one operation (of ``_MEANS``) that joins the parts of ``text``, and these; else None."""
    parts, marks = split(text, _OPERATION)
    kinds = {_MEANS[re.sub(r"\\text\{ *(\w+) *\}", r"\1", mark)] for mark in marks}
    return (kinds.pop(), parts) if len(kinds) == 1 and all(parts) else None


def _real(text: str) -> _Worked | None:
    """The set of real numbers that ``text`` comes to; None where it is none."""
    name = None
    if match := _ELEMENT.fullmatch(text):
        name, text = match.groups()
    elif builder := BUILDER.fullmatch(text):
        name, text = builder[1], builder[2].strip(" ")
        if not relation(text)[1]:
            return None
    found = _real_without(text)
    if found is None or not may_be_one(found.name, name):
        return None
    return found._replace(name=found.name or name)


def _real_without(text: str) -> _Worked | None:
    """``_real`` of a text that does not begin with its variable."""
    if operation := _operation(text):
        kind, parts = operation
        total = _real(parts[0])
        for part in parts[1:]:
            found = _real(part)
            if total is None or found is None or not may_be_one(total.name, found.name):
                return None
            value = _COMBINED[kind](total.value, found.value)
            total = _Worked(total.name or found.name, value)
        return total
    if text == r"\emptyset":
        return _Worked(None, sympy.S.EmptySet)
    content = inside(text, "(", ")")
    if content and _operation(content):
        return _real(content)
    member = _member(text)
    if member is None:
        return None
    intervals = list(map(_interval, member.pieces))
    return None if None in intervals else _Worked(member.name, sympy.Union(*intervals))


def _interval(piece: Piece) -> sympy.Set | None:
    begin, end = expression(braced(piece.low)), expression(braced(piece.high))
    if begin is None or end is None:
        return None
    for value in (begin, end):
        if not isinstance(value, sympy.Expr) or value.free_symbols or not value.is_extended_real:
            return None
    is_closed = piece.has_low and piece.has_high
    if (end - begin).evalf(30) < 0 or (begin == end and not is_closed):
        return None  # a point of the plane
    return sympy.Interval(begin, end, not piece.has_low, not piece.has_high)


def _alike(one: sympy.Set, other: sympy.Set) -> bool | None:
    """Whether two sets are equal to 18 digits; None where sympy left an operation undone."""
    parts, others = _parts(one), _parts(other)
    if parts is None or others is None:
        return None
    if len(parts) != len(others):
        return False
    return all(map(_is_near, parts, others))


def _parts(value: sympy.Set) -> list[_Span] | None:
    """The points and intervals of a set, in order; None where it has other parts."""
    if value is sympy.S.EmptySet:
        return []
    found: list[_Span] = []
    for part in value.args if isinstance(value, sympy.Union) else [value]:
        if isinstance(part, sympy.FiniteSet):
            found += [_Span(point, point) for point in part.args]
        elif isinstance(part, sympy.Interval):
            is_open = bool(part.left_open), bool(part.right_open)
            found.append(_Span(part.start, part.end, is_open))
        else:
            return None
    return sorted(found, key=lambda span: (float(span.low), float(span.high)))


def _is_near(one: _Span, other: _Span) -> bool:
    if one.is_open != other.is_open:
        return False
    return _near(one.low, other.low) and _near(one.high, other.high)


def _near(one: sympy.Expr, other: sympy.Expr) -> bool:
    if one.is_infinite or other.is_infinite:
        return one == other
    return bool(abs((one - other).evalf(30)) <= sympy.Float("1e-18") * max(1, abs(one.evalf(30))))


def _elements(text: str, equal: Equal) -> list[str] | None:
    """Elements of a finite set, listed or worked out; None where it is none."""
    operation = _operation(text)
    if operation is None:
        if text == r"\emptyset":
            return []
        if inside(text, r"\{", r"\}") is not None and BUILDER.fullmatch(text) is None:
            return items(text)
        content = inside(text, "(", ")")
        return _elements(content, equal) if content and _operation(content) else None
    kind, parts = operation
    if kind == "intersection" and ("and" in text or r"\land" in text):  # 1 and 2: a list
        return None
    value: list[str] | None = None
    for part in parts:
        elements = _elements(part, equal)
        if elements is None:
            return None
        if value is None:
            value = elements
        elif kind == "union":
            value = value + [one for one in elements if not _is_in(one, value, equal)]
        else:
            kept = kind == "intersection"
            value = [one for one in value if _is_in(one, elements, equal) == kept]
    return value


def _is_in(element: str, elements: list[str], equal: Equal) -> bool:
    return any(equal(element, other) for other in elements)
