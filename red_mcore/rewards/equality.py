"""Whether two answers mean the same: the shape of both first (list, tuple, interval, equation,
unit, text), then their formulas.

math-verify reads formulas well and answers badly: it takes ``6m`` for 6 metres, ``4.5e33`` for
4.5·e·33, ``f(n)=n`` for something else than ``n``, and a pair for an interval. So the shape of an
answer is read here, from its text, and only what is left, one formula against one, goes through its
parser (``expressions.py``). A policy is trained against these verdicts: where it is open what an
answer means, it is wrong.

The answers are tidy texts. A verdict is true, false, or None where one of them cannot be read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TypeVar

from red_mcore.rewards import sets, shapes, units
from red_mcore.rewards.answers import TEXT, normal
from red_mcore.rewards.choices import letter
from red_mcore.rewards.expressions import proportional, ratio, same
from red_mcore.rewards.sets import may_be_one
from red_mcore.rewards.unit_tables import DEGREE, PERCENT, Unit

T = TypeVar("T")

_BASE = re.compile(r"\(?([0-9A-F]+(?:\.[0-9A-F]+)?)\)?_(?:\{?([0-9]+)\}?|\{?\\text\{([a-z]+)\}\}?)")
"""A number and the base that it is written in."""
_PROSE = re.compile(r"[^\W\d_]{2,}(?:[ '’\-.,]+[^\W\d_]+)*|[^\W\d_]{4,}")
_OPTION = re.compile(r"\\text\{ ?\(?[A-J]\)? ?\}|\([A-J]\)")
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?([ap]m)?|([0-9]{1,2})([ap]m)")
_SYMBOL = re.compile(r"\\[A-Za-z]+|[A-Za-z]")
_CONSTANT = re.compile(r"(.+?) ?\+ ?([Cc])")
"""A formula and the constant of its integration."""
_INTEGER = re.compile(r"[+-]?[0-9]{1,30}")


def equal(gold: str, answer: str) -> bool | None:
    """Whether two answers mean the same. Recursion goes a bracket deeper."""
    gold, answer = _unwrapped(gold), _unwrapped(answer)
    gold_text, answer_text = normal(gold), normal(answer)
    if gold_text == answer_text:  # but two dashes are no answer
        return any(map(str.isalnum, gold_text))
    if _OPTION.fullmatch(gold):
        return letter(gold) == letter(answer)
    # A choice with what it stands for, "C. 27"; a bare letter may be a quantity's name.
    if re.fullmatch("[A-E]", gold) and len(answer_text) > 1 and (chosen := letter(answer)):
        return chosen == gold
    time, other_time = _time(gold_text), _time(answer_text)
    if time and other_time:
        return time[:3] == other_time[:3] and may_be_one(time[3], other_time[3])
    if not answer_text or _is_prose(gold) or _is_prose(answer):
        said = _said(gold)
        return said != "" and said == _said(answer)
    congruence, other_congruence = shapes.congruence(gold), shapes.congruence(answer)
    if congruence and other_congruence:
        return _same_congruences(congruence, other_congruence)
    if congruence or other_congruence:
        return False
    holes, other_holes = sets.holes(gold), sets.holes(answer)
    # Two unions are compared piece by piece.
    if holes and other_holes and not (r"\cup" in gold and r"\cup" in answer):
        is_same_variable = may_be_one(holes.name, other_holes.name)
        return is_same_variable and _matched(holes.points, other_holes.points, equal)
    pieces, other_pieces = sets.pieces(gold), sets.pieces(answer)
    if pieces and other_pieces and _same_pieces(pieces, other_pieces):
        return True  # else the same set may be cut another way
    worked_out = sets.same(gold, answer, equal)
    if worked_out is not None or (pieces and other_pieces):
        return bool(worked_out)
    if r"\emptyset" in (gold, answer):
        return False
    return _same_lists(gold, answer, pieces is not None, other_pieces is not None)


def _same_lists(gold: str, answer: str, is_set: bool, is_other_set: bool) -> bool | None:
    """``equal`` of tuples, lists and values; ``is_set``: whether gold or answer has intervals."""
    golds, answers = shapes.items(gold), shapes.items(answer)
    vector, other_vector = shapes.vector(gold), shapes.vector(answer)
    if vector and other_vector:
        return _same_vectors(vector, other_vector)
    # x=1, y=2 for (1,2), and the other way round.
    if vector and len(answers) > 1 and not answer.startswith(r"\{"):
        return _ordered(vector.components, shapes.components(answers))
    is_list = len(golds) > 1 and not gold.startswith(r"\{")
    if is_list and other_vector and other_vector.bracket == "(":
        return _ordered(shapes.components(golds), other_vector.components)
    if len(golds) != 1 or len(answers) != 1:
        return _matched(golds, answers, equal)
    if golds[0] != gold or answers[0] != answer:
        return equal(golds[0], answers[0])
    is_structured = is_set or is_other_set or vector is not None or other_vector is not None
    return _same_relations(gold, answer, is_structured)


def _all(verdicts: Iterable[bool | None]) -> bool | None:
    """False where one is false, else None where one is None."""
    found = set(verdicts)
    if False in found:
        return False
    return None if None in found else True


def _ordered(gold: list[str], answer: list[str]) -> bool | None:
    """Whether two lists are equal, each member to the one at its place."""
    if len(gold) != len(answer):
        return False
    return _all(map(equal, gold, answer))


def _matched(gold: list[T], answer: list[T], equal: Callable[[T, T], bool | None]) -> bool | None:
    """Whether each of ``gold`` equals another one of ``answer``, in any order, and none is left."""
    if len(gold) != len(answer):
        return False
    left, unread = list(answer), False
    for one in gold:
        for i, other in enumerate(left):
            verdict = equal(one, other)
            unread = unread or verdict is None
            if verdict:
                del left[i]
                break
        else:
            return None if unread else False
    return True


def _unwrapped(text: str) -> str:
    """A system of equations as their list, and what is not words without its ``\\text``."""
    text = shapes.system(text) or text
    match = TEXT.fullmatch(text)
    if match is None or _is_prose(text) or _OPTION.fullmatch(text):
        return text
    return match[1].strip(" ")


def _is_prose(text: str) -> bool:
    """Whether ``text`` is words: all of it in ``\\text{...}``, or bare and too long a word for a
    product of letters."""
    if TEXT.search(text):
        return bool(_PROSE.fullmatch(TEXT.sub(r" \1 ", text).strip(" .,!?")))
    return bool(_PROSE.fullmatch(text)) and max(map(len, text.split(" "))) >= 4


def _said(text: str) -> str:
    """The words of an answer in words; of another one nothing."""
    return spoken(text) if _is_prose(text) or text.isalpha() else ""


def spoken(text: str) -> str:
    """The words of ``text`` in small letters, without punctuation and articles."""
    words = re.sub(r"[^\w ]", " ", TEXT.sub(r" \1 ", text)).casefold().split()
    return " ".join(word for word in words if word not in ("the", "a", "an"))


def _time(text: str) -> tuple[int, int, int, str] | None:
    """Hours, minutes, seconds, and am or pm, of a normal text such as ``3:30p.m`` or ``9am``."""
    match = _CLOCK.fullmatch(text.lower().replace(".", "").replace(" ", ""))
    if match is None:
        return None
    hours, minutes, seconds, half, hour, its_half = match.groups()
    return int(hours or hour), int(minutes or 0), int(seconds or 0), half or its_half or ""


def _same_pieces(gold: sets.RealSet, answer: sets.RealSet) -> bool | None:
    if gold.name and answer.name and normal(gold.name) != normal(answer.name):
        return False

    def same_piece(one: sets.Piece, other: sets.Piece) -> bool | None:
        if (one.has_low, one.has_high) != (other.has_low, other.has_high):
            return False
        return _ordered([one.low, one.high], [other.low, other.high])

    return _matched(gold.pieces, answer.pieces, same_piece)


def _same_congruences(gold: shapes.Congruence, answer: shapes.Congruence) -> bool | None:
    """``x \\equiv 3 \\pmod 7`` is ``x \\equiv 10``, too."""
    if gold.modulus != answer.modulus:
        return False
    if gold.name and answer.name and normal(gold.name) != normal(answer.name):
        return False
    residues, others = _integers(gold.residues), _integers(answer.residues)
    if residues is None or others is None or not gold.modulus.isdigit() or not int(gold.modulus):
        return _matched(gold.residues, answer.residues, equal)
    modulus = int(gold.modulus)
    return {one % modulus for one in residues} == {other % modulus for other in others}


def _integers(texts: Iterable[str]) -> list[int] | None:
    """The numbers that ``texts`` are; None where one is no integer."""
    found = []
    for text in texts:
        digits = text.replace(" ", "")
        if not _INTEGER.fullmatch(digits):
            return None
        found.append(int(digits))
    return found


def _same_vectors(gold: shapes.Vector, answer: shapes.Vector) -> bool | None:
    brackets = {gold.bracket, answer.bracket}
    if brackets == {"row", "column"}:
        return False
    if brackets == {"(", "["} and len(gold.components) == 2:
        return False  # they may be intervals
    return _ordered(gold.components, answer.components)


def _same_relations(gold: str, answer: str, is_structured: bool) -> bool | None:
    """Whether two relations are the same; ``is_structured``: whether one is a set or a tuple."""
    (golds, gold_marks), (answers, answer_marks) = shapes.relation(gold), shapes.relation(answer)
    if not all(golds) or not all(answers) or len(answers) > 8:
        return None
    if gold_marks and answer_marks and gold_marks[0] == answer_marks[0] == "=" and len(golds) == 2:
        return _same_equations(golds, answers)
    if not gold_marks and not answer_marks:
        return False if is_structured else _same_values(gold, answer)
    if set(gold_marks + answer_marks) <= {"="}:
        if gold_marks:  # an answer without the gold's left side
            return _is_definition(*golds[:2]) and equal(golds[-1], answer)
        if answer_marks and shapes.is_named(answers[0]):
            answers = answers[1:]
        return _ordered([gold] * len(answers), answers)
    if len(gold_marks) == len(answer_marks) == 1:
        mark, other_mark = gold_marks[0], answer_marks[0]
        if mark != other_mark:
            answers, other_mark = answers[::-1], shapes.FLIPPED.get(other_mark, "")
        if mark == other_mark:
            return same(_difference(golds), _difference(answers))
    return False


def _is_definition(left: str, right: str) -> bool:
    """Whether an equation only gives a name to its right side, which then is all of the answer."""
    if shapes.NAME.fullmatch(left):
        return True
    return shapes.is_label(left) and not shapes.is_named(right)


def _same_equations(gold: list[str], answer: list[str]) -> bool | None:
    """``y=2x+3`` is ``2y=4x+6``, and ``f(x)=2x`` is ``f(n)=2n``, but ``x=5`` not ``2x=10``."""
    variable, other = _variable(gold[0]), _variable(answer[0])
    if variable and other:
        answer = _renamed(answer, other, variable)
    if shapes.is_named(gold[0]) and _bare(gold[0]) == _bare(answer[0]):
        return _ordered([gold[1]] * (len(answer) - 1), answer[1:])
    if len(answer) != 2:
        return False
    sides = _difference(gold), _difference(answer)
    sign = ratio(*sides)
    # Multiples of one another are the same line or curve, but not so x=5 or f(x)=x.
    if sign == 0 and not variable and not other:
        return proportional(*sides)
    return None if sign is None else sign != 0


def _variable(side: str) -> str | None:
    """``x`` of ``f(x)``, None where there is none."""
    name = shapes.NAME.fullmatch(side)
    return name and name[1]


def _renamed(sides: list[str], variable: str, wanted: str) -> list[str]:
    """The sides with ``wanted`` for the variable of their function, where that is a letter."""
    variable, wanted = variable.strip(" "), wanted.strip(" ")
    if not wanted or variable == wanted or not re.fullmatch("[a-z]", variable):
        return sides
    # Not where the gold's letter has a meaning in the answer: f(a)=ax is not f(x)=ax.
    if any(wanted in _SYMBOL.findall(side) for side in sides):
        return sides
    # A command's name must not run into the letters behind it.
    spelling = {variable: wanted + " " * wanted.startswith("\\")}
    return [_SYMBOL.sub(lambda m: spelling.get(m.group(), m.group()), side) for side in sides]


def _bare(name: str) -> str:
    return normal(name).replace(" ", "")


def _difference(sides: list[str]) -> str:
    return f"({sides[0]})-({sides[1]})"


def _same_values(gold: str, answer: str) -> bool | None:
    """Whether two values, also of other bases, matrices or integrals, are the same."""
    base, other_base = _BASE.fullmatch(normal(gold)), _BASE.fullmatch(normal(answer))
    if base or other_base:
        if base is None or other_base is None:
            return False
        return list(filter(None, base.groups())) == list(filter(None, other_base.groups()))
    matrix, other_matrix = shapes.MATRIX.fullmatch(gold), shapes.MATRIX.fullmatch(answer)
    if matrix and other_matrix:
        rows, others = shapes.rows(matrix[1]), shapes.rows(other_matrix[1])
        if list(map(len, rows)) != list(map(len, others)):
            return False
        return _all(map(_ordered, rows, others))
    constant, other_constant = _CONSTANT.fullmatch(gold), _CONSTANT.fullmatch(answer)
    if constant and other_constant and constant[2] != other_constant[2]:
        # Of an integration, whatever its letter, unless that has another meaning.
        formulas = constant[1], other_constant[1]
        if not re.search("[Cc]", "".join(formulas)):
            return same(*formulas)
    return _same_quantities(gold, answer)


def _same_quantities(gold: str, answer: str) -> bool | None:
    """Whether two values are the same, with or without their units: ``50\\%`` is .5 and 50, ``5``
    is ``5 cm``.

    Units on both sides have to measure the same, in whatever scale: ``0.5 m`` is ``50 cm``.
    """
    (left, unit), (right, other) = units.quantity(gold), units.quantity(answer)
    if unit and other:
        factor = units.conversion(unit, other)
        if factor is None:
            return False
        return same(left, f"({right}){factor}" if factor else right)
    # 5 is 5%, but not 5 percent, where the gold has no unit.
    verdict = None if other == PERCENT else same(left, right)
    if verdict or (verdict is None and other != PERCENT):
        return verdict
    # A percentage may stand for its share, and degrees for radians.
    for sign, factor in ((PERCENT, "/100"), (DEGREE, r"\cdot\pi/180")):
        scaled, other_scaled = (
            _scaled(left, unit, sign, factor),
            _scaled(right, other, sign, factor),
        )
        is_meant = sign == PERCENT or r"\pi" in left + right
        if is_meant and (scaled, other_scaled) != (left, right):
            return same(scaled, other_scaled)
    return False


def _scaled(value: str, unit: Unit | None, sign: Unit, factor: str) -> str:
    """The value times the ``factor`` of ``sign``, where that is its unit."""
    if unit and unit.dimensions == sign.dimensions and unit.factor == sign.factor:
        return f"({value}){factor}"
    return value
