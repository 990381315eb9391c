"""Whether an answer is the gold: the shape of both (list, tuple, interval, equation, unit, text),
then their formulas.

math-verify reads formulas well and answers badly: it takes ``6m`` for 6 metres, ``4.5e33`` for
4.5·e·33, ``f(n)=n`` for something else than ``n``, and a pair for an interval. So the shape of an
answer is read here, from its text, and only what is left, one formula against one, goes through its
parser (``expressions.py``). A policy is trained against these verdicts: where it is open what an
answer means, it is wrong.

Runs in a child process that the parent kills when it takes too long: there is no time limit in
here.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TypeVar

from red_mcore.rewards import golds, sets, shapes, units
from red_mcore.rewards.answers import normal, tidy
from red_mcore.rewards.choices import letter
from red_mcore.rewards.expressions import proportional, ratio, same

T = TypeVar("T")

_BASE = re.compile(r"\(?([0-9A-F]+(?:\.[0-9A-F]+)?)\)?_(?:\{?([0-9]+)\}?|\{?\\text\{([a-z]+)\}\}?)")
_PROSE = re.compile(r"[^\W\d_]{2,}(?:[ '’\-.,]+[^\W\d_]+)*|[^\W\d_]{4,}")
_WRAPPED = re.compile(r"\\text\{([^{}]*)\}")
_OPTION = re.compile(r"\\text\{ ?\(?[A-J]\)? ?\}|\([A-J]\)")
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?([ap]m)?|([0-9]{1,2})([ap]m)")
_SYMBOL = re.compile(r"\\[A-Za-z]+|[A-Za-z]")
_FOR_ALL = re.compile(
    r",? ?(?:\\text\{ ?for (?:all|any|every|each)(?: [A-Za-z]+){0,4} ?\}|\\forall)"
    r" ?[A-Za-z]?(?: ?, ?[A-Za-z]){0,2} ?(?:\\in ?\\mathbb ?\{[A-Z]\}(?: ?\^ ?\+)?)?$"
    r"|(?:,|\\text\{ ?,? ?(?:where|with|for) ?\}) ?(?:[a-zA-Z] ?\\in ?\\mathbb\{R\}|[i-n] ?\\in ?\\mathbb\{[ZN]\})$"
    r"|,? ?\\text\{ ?(?:where|with|for) ?\} ?[a-zA-Z]"
    r" ?\\text\{ ?(?:is )?an? (?:(?:arbitrary|real) ){1,2}(?:constant|number) ?\}$"
)
"""What says no more than which variable a formula is in, or that a letter in it is a real or a
whole number."""
_ANSWER_IS = re.compile(
    r"(?:\\text ?\{ ?)?(?:(?:so|thus|hence|therefore),? )?(?:the )?(?:(?:final|correct) )?answer(?: is:?|:)(?: ?\})? ?"
    r"(?=[-+0-9(\[$]|\\(?!text))(.*?)(\}?)",
    re.IGNORECASE | re.DOTALL,
)
_MEANINGS = {
    **dict.fromkeys(
        ("all real numbers", "all reals", "all real values", "any real number", "every real number", "real numbers",
         "set of all real numbers", "set of real numbers", "all real numbers x"), r"\mathbb{R}"),
    **dict.fromkeys(("empty set", "null set"), r"\emptyset"),
}  # fmt: skip
_CONSTANT = re.compile(r"(.+?) ?\+ ?([Cc])")
_CURRENCY = re.compile(r"([-+]?) ?\\\$ ?([0-9.].*)", re.DOTALL)
_JOINED = re.compile(r"(?<![0-9,.])[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9]|,[0-9])")
_NONE = frozenset(("", "none", "nan", "null", "n/a", "?"))

_EXAMPLES = (
    r"\frac{\sqrt{3}}{2}",
    r"2x^{2}-3(x+1)y",
    r"3 \pi+e^{-2t}",
    r"\binom{2n}{n}",
    r"\sin(2t)",
    r"n!",
    r"x_{1}/2",
)

_HIDDEN = re.compile(
    r"\\(?:[bx]?cancel|sout|st|tag|label)(?![a-zA-Z])|\\(?:text)?color ?\{ ?(?:white|transparent)"
)
_WRONG = ("-271828", r"\frac{1}{97}", r"\sqrt{89}+x^{2}")
"""Answers that are hardly ever right."""
COSTLY = 3.0
"""CPU seconds that judging a few answers to one gold may take: thousands of them are judged in a
run."""
LONGEST = 2000
"""Characters beyond twice the gold's that an answer may have: nobody would read on."""


def judge(kind: str, gold: str, answer: str) -> str:
    """``correct``, ``wrong``, or ``unparsable`` (gold or answer cannot be understood).

    The ``kind`` ``math`` compares what both mean, ``choice`` the letters A to J.
    """
    if (
        not gold.strip()
        or not _readable(gold)
        or not _readable(answer)
        or len(answer) > LONGEST + 2 * len(gold)
    ):
        return "unparsable"
    if kind == "choice":
        wanted, chosen = letter(gold), letter(answer)
        return "unparsable" if wanted is None or chosen is None else _word(wanted == chosen)
    if (
        normal(answer).casefold() in _NONE
        or normal(gold).casefold() in _NONE
        or not _balanced(answer)
    ):
        return "unparsable"
    readings = _readings(golds.unwrapped(gold))
    if readings[0].startswith(r"\approx"):  # a gold alone: an answer has to commit itself
        readings.append(readings[0].removeprefix(r"\approx").strip(" "))
    verdicts = [_equal(one, other) for one in readings for other in _readings(answer)]
    return _word(True in verdicts) if any(verdicts) or None not in verdicts else "unparsable"


def gold_fault(kind: str, gold: str) -> str | None:
    """Why nothing should be graded against this gold, or None.

    It is no plausible answer (``golds.implausible``), none that can be read, does not equal itself,
    equals anything, or takes more than ``COSTLY`` CPU seconds to compare with itself and with
    ordinary wrong answers.
    """
    if fault := golds.implausible(kind, gold):
        return fault
    if kind == "choice":
        return "is none of the letters A to J" if letter(gold) is None else None
    start = time.process_time()
    verdict = judge(kind, gold, golds.unwrapped(gold))
    if verdict != "correct":
        return f"is {verdict} when it is judged against itself"
    if [judge(kind, gold, wrong) for wrong in _WRONG].count("correct") > 1:
        return f"equals any answer, as {' and '.join(_WRONG)}"
    judge(kind, gold, f"{gold}+1")
    seconds = time.process_time() - start
    return (
        f"takes {seconds:.1f} s of CPU time to compare, more than {COSTLY:g} s"
        if seconds > COSTLY
        else None
    )


def warm_up() -> None:
    """Read a few formulas, so that the parser's tables are there before a deadline runs: the first
    ones take a second.

    For a child process to call before its first task.
    """
    for formula in _EXAMPLES:
        judge("math", formula, f"0+{formula}")


def _word(correct: bool) -> str:
    return "correct" if correct else "wrong"


def _readable(text: str) -> bool:
    """No control or direction marks, no halves of surrogate pairs; nothing that is not to be seen,
    or is struck out."""
    return not _HIDDEN.search(text) and all(
        c.isprintable() or c in "\n\t\r\u00a0\u2009\u202f" for c in text
    )


def _readings(answer: str) -> list[str]:
    """``answer``, tidy; where commas may be of thousands or of a list (``70,110``, ``1,200 and
    3``), as both.

    And without a ``for all x`` behind it.
    """
    if said := _ANSWER_IS.fullmatch(answer.strip(" $")):
        answer = said[1] + said[2] * (said[1].count("{") > said[1].count("}"))
    if money := _CURRENCY.fullmatch(answer.strip(" $")):
        amount = money[1] + money[2]
        answer = (
            amount
            if re.search(r"\\\$|dollar|USD|cent|,(?! ?\\!|[0-9]{3}(?![0-9]))", money[2])
            else rf"{amount}\text{{ dollars}}"
        )
    readings = [tidy(answer)]
    if meaning := _MEANINGS.get(_prose(readings[0])):
        readings.append(meaning)
    plain = answer.strip(" $")
    if re.fullmatch(r"[1-9][0-9]{0,2}(?:,[1-9][0-9]{2})+", plain):
        readings.append(plain.replace(",", ", "))
    if whole := _FOR_ALL.search(readings[0]):
        readings.append(readings[0][: whole.start()].strip(" "))
    joined = _JOINED.sub(lambda match: match.group().replace(",", ""), readings[0])
    if joined != readings[0] and len(shapes.items(joined)) > 1:
        readings.append(joined)
    return readings


def _balanced(text: str) -> bool:
    return text.count("{") - text.count("\\{") == text.count("}") - text.count("\\}")


def _matched(gold: list[T], answer: list[T], equal: Callable[[T, T], bool | None]) -> bool | None:
    """Whether each of ``gold`` equals another one of ``answer`` and none is left, whatever their
    order."""
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


def _ordered(gold: list[str], answer: list[str]) -> bool | None:
    if len(gold) != len(answer):
        return False
    verdicts = [_equal(one, other) for one, other in zip(gold, answer, strict=True)]
    if False in verdicts:
        return False
    return None if None in verdicts else True


def _equal(gold: str, answer: str) -> bool | None:
    """Whether two answers (tidy) mean the same; None where that cannot be read. Recursion goes a
    bracket deeper."""
    gold, answer = _unwrapped(gold), _unwrapped(answer)
    texts = normal(gold), normal(answer)
    if texts[0] == texts[1]:
        return any(c.isalnum() for c in texts[0])
    if _OPTION.fullmatch(gold):
        return letter(gold) == letter(answer)
    if re.fullmatch("[A-E]", gold) and len(texts[1]) > 1 and (chosen := letter(answer)):
        return (
            chosen == gold
        )  # a choice with what it stands for, "C. 27"; a bare letter may be a quantity's name
    time_, other_time = _time(texts[0]), _time(texts[1])
    if time_ and other_time:
        halves = {
            half for half in (time_[3], other_time[3]) if half
        }  # which one of them may not say
        return time_[:3] == other_time[:3] and len(halves) < 2
    if not texts[1] or _is_prose(gold) or _is_prose(answer):
        words = [
            _prose(text) if _is_prose(text) or text.isalpha() else "" for text in (gold, answer)
        ]
        return words[0] == words[1] != ""
    congruence, other_congruence = shapes.congruence(gold), shapes.congruence(answer)
    if congruence and other_congruence:
        return _same_congruences(congruence, other_congruence)
    if congruence or other_congruence:
        return False
    holes, other_holes = sets.holes(gold), sets.holes(answer)
    if holes and other_holes and not (r"\cup" in gold and r"\cup" in answer):
        names = {name for name in (holes[0], other_holes[0]) if name}
        return len(names) < 2 and _matched(holes[1], other_holes[1], _equal)
    pieces, other_pieces = sets.pieces(gold), sets.pieces(answer)
    if pieces and other_pieces and _same_pieces(pieces, other_pieces):
        return True
    worked_out = sets.same(gold, answer, _equal)
    if worked_out is not None or (pieces and other_pieces):
        return bool(worked_out)
    if r"\emptyset" in (gold, answer):
        return False
    golds, answers = shapes.items(gold), shapes.items(answer)
    vectors = shapes.vector(gold), shapes.vector(answer)
    if vectors[0] and vectors[1]:
        return _same_vectors(vectors[0], vectors[1])
    if vectors[0] and len(answers) > 1 and not answer.startswith(r"\{"):
        return _ordered(vectors[0][1], shapes.components(answers))  # x=1, y=2 for (1,2)
    if vectors[1] and len(golds) > 1 and not gold.startswith(r"\{") and vectors[1][0] == "(":
        return _ordered(shapes.components(golds), vectors[1][1])
    if len(golds) != 1 or len(answers) != 1:
        return _matched(golds, answers, _equal)
    if golds[0] != gold or answers[0] != answer:
        return _equal(golds[0], answers[0])
    return _same_relations(
        gold, answer, bool(pieces or vectors[0]), bool(other_pieces or vectors[1])
    )


def _unwrapped(text: str) -> str:
    text = shapes.system(text) or text
    match = _WRAPPED.fullmatch(text)
    return (
        match[1].strip(" ") if match and not (_is_prose(text) or _OPTION.fullmatch(text)) else text
    )


def _is_prose(text: str) -> bool:
    """Whether ``text`` is words: all of it in ``\\text{...}``, or bare and too long a word for a
    product of letters."""
    words = _WRAPPED.sub(r" \1 ", text).strip(" .,!?") if _WRAPPED.search(text) else text
    if not _PROSE.fullmatch(words):
        return False
    return words is not text or any(len(word) >= 4 for word in words.split(" "))


def _prose(text: str) -> str:
    words = re.sub(r"[^\w ]", " ", _WRAPPED.sub(r" \1 ", text)).casefold().split()
    return " ".join(word for word in words if word not in ("the", "a", "an"))


def _time(text: str) -> tuple[int, int, int, str] | None:
    """Hours, minutes, seconds, and ``am`` or ``pm``, of a normal text such as ``3:30p.m`` or
    ``9am``."""
    match = _CLOCK.fullmatch(text.lower().replace(".", "").replace(" ", ""))
    if match is None:
        return None
    hours, minutes, seconds, half, hour, its_half = match.groups()
    return int(hours or hour), int(minutes or 0), int(seconds or 0), half or its_half or ""


def _same_pieces(gold: tuple, answer: tuple) -> bool | None:
    if gold[0] and answer[0] and normal(gold[0]) != normal(answer[0]):
        return False

    def equal(one: tuple, other: tuple) -> bool | None:
        return one[2:] == other[2:] and _ordered(list(one[:2]), list(other[:2]))

    return _matched(gold[1], answer[1], equal)


def _same_congruences(gold: tuple, answer: tuple) -> bool | None:
    """``x \\equiv 3 \\pmod 7`` is ``x \\equiv 10``, too."""
    if gold[2] != answer[2] or (gold[0] and answer[0] and normal(gold[0]) != normal(answer[0])):
        return False
    residues = [[part.replace(" ", "") for part in side[1]] for side in (gold, answer)]
    whole = all(re.fullmatch(r"[+-]?[0-9]{1,30}", part) for side in residues for part in side)
    if not (whole and gold[2].isdigit() and int(gold[2])):
        return _matched(gold[1], answer[1], _equal)
    left, right = ({int(part) % int(gold[2]) for part in side} for side in residues)
    return left == right


def _same_vectors(gold: tuple[str, list[str]], answer: tuple[str, list[str]]) -> bool | None:
    brackets = {gold[0], answer[0]}
    if brackets == {"row", "column"} or (brackets == {"(", "["} and len(gold[1]) == 2):
        return False
    return _ordered(gold[1], answer[1])


def _same_relations(gold: str, answer: str, *structured: bool) -> bool | None:
    """Whether relations are the same, where there is one item on each side; ``structured``: whether
    gold, answer are sets or tuples."""
    (golds, gold_marks), (answers, answer_marks) = shapes.relation(gold), shapes.relation(answer)
    if not all(golds) or not all(answers) or len(answers) > 8:
        return None
    if gold_marks and answer_marks and gold_marks[0] == answer_marks[0] == "=" and len(golds) == 2:
        return _same_equations(golds, answers)
    if not gold_marks and not answer_marks:
        return False if any(structured) else _same_values(gold, answer)
    if set(gold_marks + answer_marks) <= {"="}:
        if gold_marks:  # an answer without the gold's left side
            is_definition = shapes.NAME.fullmatch(golds[0]) or (
                shapes.is_label(golds[0]) and not shapes.is_named(golds[1])
            )
            return bool(is_definition) and _equal(golds[-1], answer)
        values = answers[1:] if answer_marks and shapes.is_named(answers[0]) else answers
        return _ordered([gold] * len(values), values)
    if len(gold_marks) == len(answer_marks) == 1:
        if gold_marks[0] != answer_marks[0]:
            answers, answer_marks = answers[::-1], [shapes.FLIPPED.get(answer_marks[0], "")]
        if gold_marks == answer_marks:
            return same(_difference(golds), _difference(answers))
    return False


def _same_equations(gold: list[str], answer: list[str]) -> bool | None:
    """``y=2x+3`` and ``y=3+2x`` or ``2y=4x+6``; ``f(x)=2x`` and ``f(n)=2n``. Not ``2x=10`` for
    ``x=5``."""
    name, other_name = shapes.NAME.fullmatch(gold[0]), shapes.NAME.fullmatch(answer[0])
    if name and other_name and name[1] and other_name[1]:
        variable, other = name[1].strip(" "), other_name[1].strip(" ")
        renamed = variable and variable != other and re.fullmatch("[a-z]", other)
        # Not where the gold's letter has a meaning in the answer: f(a)=ax is not f(x)=ax.
        if renamed and not any(variable in _SYMBOL.findall(side) for side in answer):
            spelling = {other: variable + " " * variable.startswith("\\")}
            answer = [
                _SYMBOL.sub(lambda m: spelling.get(m.group(), m.group()), side) for side in answer
            ]
    if shapes.is_named(gold[0]) and normal(gold[0]).replace(" ", "") == normal(answer[0]).replace(
        " ", ""
    ):
        return _ordered([gold[1]] * (len(answer) - 1), answer[1:])
    if len(answer) != 2:
        return False
    sides = _difference(gold), _difference(answer)
    sign = ratio(*sides)
    has_variable = (name and name[1]) or (other_name and other_name[1])
    if sign == 0 and not has_variable:  # of a line or a curve, not of x=5 or f(x)=x
        return proportional(*sides)
    return None if sign is None else sign != 0


def _difference(sides: list[str]) -> str:
    return f"({sides[0]})-({sides[1]})"


def _same_values(gold: str, answer: str) -> bool | None:
    """Whether two values are the same, with or without their units: ``50\\%`` is .5 and 50, ``5``
    is ``5 cm``.

    Units on both sides have to measure the same, in whatever scale: ``0.5 m`` is ``50 cm``.
    """
    base, other_base = _BASE.fullmatch(normal(gold)), _BASE.fullmatch(normal(answer))
    if base or other_base:
        if base is None or other_base is None:
            return False
        return [g for g in base.groups() if g] == [g for g in other_base.groups() if g]
    matrix, other_matrix = shapes.MATRIX.fullmatch(gold), shapes.MATRIX.fullmatch(answer)
    if matrix and other_matrix:
        rows, others = shapes.rows(matrix[1]), shapes.rows(other_matrix[1])
        if [len(row) for row in rows] != [len(row) for row in others]:
            return False
        return _ordered([e for row in rows for e in row], [e for row in others for e in row])
    constant, other_constant = _CONSTANT.fullmatch(gold), _CONSTANT.fullmatch(answer)
    if (
        constant
        and other_constant
        and constant[2] != other_constant[2]
        and not re.search("[Cc]", constant[1] + other_constant[1])
    ):
        return same(constant[1], other_constant[1])  # of an integration, whatever its letter
    (left, unit), (right, other) = units.quantity(gold), units.quantity(answer)
    if unit and other:
        factor = units.conversion(unit, other)
        return factor is not None and same(left, f"({right}){factor}" if factor else right)
    verdict = None if other == units.PERCENT else same(left, right)
    if verdict or (verdict is None and other != units.PERCENT):
        return verdict
    for factor, sign in ((r"/100", units.PERCENT), (r"\cdot\pi/180", units.DEGREE)):
        of = [
            one is not None and one.dimensions == sign.dimensions and one.factor == sign.factor
            for one in (unit, other)
        ]
        if any(of) and (sign == units.PERCENT or r"\pi" in left + right):
            scaled = [
                f"({side}){factor}" if its else side
                for side, its in zip((left, right), of, strict=True)
            ]
            return same(*scaled)
    return False
