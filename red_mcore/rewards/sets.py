"""Sets of real numbers, from tidy text: intervals, inequalities, conditions, points left out; and
the algebra of sets.

Two sets are the same where their pieces match as they are written. Otherwise what ``\\cup``,
``\\cap`` and ``\\setminus`` make of them is worked out: by sympy for sets of reals, element by
element for finite ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import sympy

from red_mcore.rewards.expressions import braced, expression
from red_mcore.rewards.shapes import (
    BRACKET,
    BUILDER,
    COMMA,
    FLIPPED,
    NAME,
    inside,
    items,
    relation,
    split,
)

_UNION = re.compile(
    BRACKET
    + r"|(?P<mark>\\cup(?![a-zA-Z])|\\text\{ *or *\}|(?<![A-Za-z])or(?![A-Za-z])|\\lor|\\vee|(?<=[)\]]) U (?=[(\[]))"
)
_OPERATION = re.compile(
    BRACKET
    + r"|(?P<mark>\\(?:cup|cap|setminus|lor|land|vee|wedge)(?![a-zA-Z])|\\text\{ *(?:or|and) *\}"
    r"|(?<![A-Za-z])(?:or|and)(?![A-Za-z])|(?<=[)\]]) U (?=[(\[]))"
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


def pieces(text: str) -> tuple[str | None, list[tuple]] | None:
    """(variable, intervals) of a set of real numbers that is written with intervals or
    inequalities; else None.

    An interval is (from, to, whether each of these belongs to it). A pair in round brackets may be
    one, too.
    """
    if builder := BUILDER.fullmatch(text):
        text = builder[2].strip(" ")
    name = None
    parts, marks = relation(text)
    if marks == [r"\in"]:
        name, text = parts
    elif re.match(r"[a-z] ?[(\[]", text) and _half_open(text[1:].strip(" ")):
        name, text = text[0], text[1:].strip(" ")  # t(0,4]
    intervals: list[tuple] = []
    proper = False
    for part in split(text, _UNION)[0]:
        variable, found = _piece(part)
        if not found or (variable and name and variable != name):
            return None
        name = variable or name
        proper = (
            proper
            or part.startswith("\\mathbb")
            or (part[:1] != "\\" and relation(part)[1] != ["="])
        )
        intervals += found
    return (name, intervals) if proper else None


def holes(text: str) -> tuple[str | None, list[str]] | None:
    """Variable, and the points that a set of all other real numbers leaves out (``x\\ne 1, 2``);
    else None."""
    if match := _WITHOUT.fullmatch(text):
        return match[1], items(match[2])
    if builder := BUILDER.fullmatch(text):
        text = builder[2].strip(" ")
    sides, marks = relation(text)
    if marks and set(marks) == {r"\ne"} and NAME.fullmatch(sides[0]):
        cuts = [split(side, COMMA)[0] for side in sides[1:]]  # of x\ne 1, x\ne 2: "1, x" and "2"
        if any(len(cut) < 2 or cut.pop() != sides[0] for cut in cuts[:-1]):
            return None
        points = [point for cut in cuts for part in cut for point in items(part)]
        return None if any(map(NAME.fullmatch, points)) else (sides[0], points)
    name, intervals = pieces(text) or (None, [])
    if len(intervals) < 2:
        return None
    # Open intervals that follow one another, from one infinity to the other.
    end, points = r"-\infty", []
    for begin, following, has_begin, has_end in intervals:
        if begin != end or has_begin or has_end:
            return None
        points.append(begin)
        end = following
    return (name, points[1:]) if end in (r"\infty", r"+\infty") else None


def _half_open(text: str) -> bool:
    return text[:1] + text[-1:] in ("(]", "[)")


def _piece(text: str) -> tuple[str | None, list[tuple]]:
    """Variable and intervals of one member of a union; no intervals where it is none."""
    if text in (r"\mathbb{R}", r"\R"):
        return None, [(r"-\infty", r"\infty", False, False)]
    if points := inside(text, r"\{", r"\}"):
        return None, [(point, point, True, True) for point in split(points, COMMA)[0]]
    if (
        text[:1] in ("(", "[")
        and text[-1:] in (")", "]")
        and (content := inside(text, text[0], text[-1]))
    ):
        ends = split(content, COMMA)[0]
        return None, [(*ends, text[0] == "[", text[-1] == "]")] if len(ends) == 2 and all(
            ends
        ) else []
    parts, marks = relation(text)
    if marks == ["="] and all(parts) and NAME.fullmatch(parts[0]):
        return parts[0], [(parts[1], parts[1], True, True)]
    if len(marks) == 1 and marks[0] in FLIPPED and all(parts):
        (left, right), mark = parts, marks[0]
        if NAME.fullmatch(right):
            left, right, mark = right, left, FLIPPED[mark]
        if not NAME.fullmatch(left) or NAME.fullmatch(right):
            return None, []
        below = (r"-\infty", right, False, mark == r"\le")
        above = (right, r"\infty", mark == r"\ge", False)
        if mark == r"\ne":
            return left, [below, above]
        return left, [below] if mark in ("<", r"\le") else [above]
    if len(marks) == 2 and all(parts) and NAME.fullmatch(parts[1]):
        if set(marks) <= {">", r"\ge"}:
            parts, marks = parts[::-1], [FLIPPED[mark] for mark in marks[::-1]]
        if set(marks) <= {"<", r"\le"}:
            return parts[1], [(parts[0], parts[2], marks[0] == r"\le", marks[1] == r"\le")]
    return None, []


def same(gold: str, answer: str, equal: Callable[[str, str], bool | None]) -> bool | None:
    """Whether two sets are the same once they are worked out; None where one of them is none that
    can be.

    ``equal`` compares two elements.
    """
    if not any(match["mark"] for text in (gold, answer) for match in _OPERATION.finditer(text)):
        return None
    real, other_real = _real(gold), _real(answer)
    if real and other_real:
        names = {name for name in (real[0], other_real[0]) if name}
        return len(names) < 2 and _alike(real[1], other_real[1])
    ours, theirs = _elements(gold, equal), _elements(answer, equal)
    if ours is None or theirs is None:
        return None
    return all(any(equal(one, other) for other in theirs) for one in ours) and all(
        any(equal(one, other) for one in ours) for other in theirs
    )


def _operations(text: str) -> tuple[str, list[str]] | None:
    """The one operation (of ``_MEANS``) that joins the parts of ``text``, and these; None without
    one, or with two."""
    parts, marks = split(text, _OPERATION)
    kinds = {_MEANS[re.sub(r"\\text\{ *(\w+) *\}", r"\1", mark)] for mark in marks}
    return (kinds.pop(), parts) if len(kinds) == 1 and all(parts) else None


def _real(text: str) -> tuple[str | None, sympy.Set] | None:
    """Variable (None where it is not named) and value of a set of real numbers; None where it is
    none."""
    name = None
    if match := _ELEMENT.fullmatch(text):
        name, text = match[1], match[2]
    elif builder := BUILDER.fullmatch(text):
        name, text = builder[1], builder[2].strip(" ")
        if not relation(text)[1]:
            return None
    if operation := _operations(text):
        names, value = {name} if name else set(), None
        for part in operation[1]:
            found = _real(part)
            if found is None:
                return None
            names |= {found[0]} if found[0] else set()
            value = found[1] if value is None else _COMBINED[operation[0]](value, found[1])
        if len(names) > 1:
            return None
        return (names.pop() if names else None), value
    if text == r"\emptyset":
        return name, sympy.S.EmptySet
    if text.startswith("(") and (content := inside(text, "(", ")")) and _operations(content):
        own, value = _real(content) or (None, None)
        return None if value is None or (own and name and own != name) else (own or name, value)
    own, intervals = _piece(text)
    if not intervals or (own and name and own != name):
        return None
    parts = [_interval(*piece) for piece in intervals]
    return None if None in parts else (own or name, sympy.Union(*parts))


def _interval(low: str, high: str, has_low: bool, has_high: bool) -> sympy.Set | None:
    begin, end = expression(braced(low)), expression(braced(high))
    if begin is None or end is None:
        return None
    for value in (begin, end):
        if not isinstance(value, sympy.Expr) or value.free_symbols or not value.is_extended_real:
            return None
    if (end - begin).evalf(30) < 0 or (begin == end and not (has_low and has_high)):
        return None  # a point of the plane
    return sympy.Interval(begin, end, not has_low, not has_high)


def _alike(one: sympy.Set, other: sympy.Set) -> bool | None:
    """Whether two sets are built alike, their ends equal to 18 digits; None where sympy left an
    operation undone."""
    parts, others = _parts(one), _parts(other)
    if parts is None or others is None:
        return None
    if len(parts) != len(others):
        return False
    for left, right in zip(parts, others, strict=True):
        is_alike = left[2:] == right[2:]
        if not (is_alike and _near(left[0], right[0]) and _near(left[1], right[1])):
            return False
    return True


def _parts(value: sympy.Set) -> list[tuple] | None:
    """(from, to, whether each of these is left out) of the points and intervals of a set, in order;
    None where it has other parts."""
    if value is sympy.S.EmptySet:
        return []
    found: list[tuple] = []
    for part in value.args if isinstance(value, sympy.Union) else [value]:
        if isinstance(part, sympy.FiniteSet):
            found += [(point, point, False, False) for point in part.args]
        elif isinstance(part, sympy.Interval):
            found.append((part.start, part.end, part.left_open, part.right_open))
        else:
            return None
    return sorted(found, key=lambda piece: (float(piece[0]), float(piece[1])))


def _near(one: sympy.Expr, other: sympy.Expr) -> bool:
    if one.is_infinite or other.is_infinite:
        return one == other
    return bool(abs((one - other).evalf(30)) <= sympy.Float("1e-18") * max(1, abs(one.evalf(30))))


def _elements(text: str, equal: Callable[[str, str], bool | None]) -> list[str] | None:
    """Elements of a finite set, listed or worked out; None where it is none."""
    operation = _operations(text)
    if operation is None:
        if text == r"\emptyset":
            return []
        if inside(text, r"\{", r"\}") is not None and BUILDER.fullmatch(text) is None:
            return items(text)
        content = inside(text, "(", ")")
        return _elements(content, equal) if content and _operations(content) else None
    if operation[0] == "intersection" and ("and" in text or r"\land" in text):  # 1 and 2: a list
        return None
    lists = []
    for part in operation[1]:
        elements = _elements(part, equal)
        if elements is None:
            return None
        lists.append(elements)
    value = lists[0]
    for other in lists[1:]:
        if operation[0] == "union":
            value = value + [one for one in other if not any(equal(one, known) for known in value)]
        else:
            kept = operation[0] == "intersection"
            value = [one for one in value if any(equal(one, known) for known in other) == kept]
    return value
