"""Whether an answer is the gold, and whether a gold is any good: the readings of both, compared by
``equality.py``.

Runs in a child process that the parent kills when it takes too long: there is no time limit in
here.
"""

from __future__ import annotations

import re
import time

from red_mcore.rewards import golds, shapes
from red_mcore.rewards.answers import normal, tidy, verdict_of
from red_mcore.rewards.choices import letter
from red_mcore.rewards.equality import equal, spoken

_FOR_ALL = re.compile(
    r",? ?(?:\\text\{ ?for (?:all|any|every|each)(?: [A-Za-z]+){0,4} ?\}|\\forall)"
    r" ?[A-Za-z]?(?: ?, ?[A-Za-z]){0,2} ?(?:\\in ?\\mathbb ?\{[A-Z]\}(?: ?\^ ?\+)?)?$"
    r"|(?:,|\\text\{ ?,? ?(?:where|with|for) ?\}) ?"
    r"(?:[a-zA-Z] ?\\in ?\\mathbb\{R\}|[i-n] ?\\in ?\\mathbb\{[ZN]\})$"
    r"|,? ?\\text\{ ?(?:where|with|for) ?\} ?[a-zA-Z]"
    r" ?\\text\{ ?(?:is )?an? (?:(?:arbitrary|real) ){1,2}(?:constant|number) ?\}$"
)
"""What says no more than which variable a formula is in, or that a letter in it is a real or a
whole number."""
_ANSWER_IS = re.compile(
    r"(?:\\text ?\{ ?)?(?:(?:so|thus|hence|therefore),? )?(?:the )?(?:(?:final|correct) )?"
    r"answer(?: is:?|:)(?: ?\})? ?(?=[-+0-9(\[$]|\\(?!text))(.*?)(\}?)",
    re.IGNORECASE | re.DOTALL,
)
_MEANINGS = {
    **dict.fromkeys(
        ("all real numbers", "all reals", "all real values", "any real number", "every real number",
         "real numbers", "set of all real numbers", "set of real numbers", "all real numbers x"),
        r"\mathbb{R}"),
    **dict.fromkeys(("empty set", "null set"), r"\emptyset"),
}  # fmt: skip
_CURRENCY = re.compile(r"([-+]?) ?\\\$ ?([0-9.].*)", re.DOTALL)
_CURRENCY_SAID = re.compile(r"\\\$|dollar|USD|cent|,(?! ?\\!|[0-9]{3}(?![0-9]))")
"""Units, and commas that list several amounts."""
_COMMAS = re.compile(r"[1-9][0-9]{0,2}(?:,[1-9][0-9]{2})+")
_JOINED = re.compile(r"(?<![0-9,.])[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9]|,[0-9])")
_SPACES = dict.fromkeys(map(ord, "\n\t\r\u00a0\u2009\u202f"), " ")
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
"""CPU seconds that a few judgements of one gold may take: a run has thousands of them."""
LONGEST = 2000
"""Characters beyond twice the gold's that an answer may have: nobody would read on."""


def judge(kind: str, gold: str, answer: str) -> str:
    """``correct``, ``wrong``, or ``unparsable`` (gold or answer cannot be understood).

    The ``kind`` ``math`` compares what both mean, ``choice`` the letters A to J.
    """
    if not gold.strip() or len(answer) > LONGEST + 2 * len(gold):
        return "unparsable"
    if not _is_readable(gold) or not _is_readable(answer):
        return "unparsable"
    if kind == "choice":
        wanted, chosen = letter(gold), letter(answer)
        if wanted is None or chosen is None:
            return "unparsable"
        return verdict_of(wanted == chosen)
    if _says_nothing(answer) or _says_nothing(gold) or not _is_balanced(answer):
        return "unparsable"
    readings = _readings(golds.unwrapped(gold))
    if readings[0].startswith(r"\approx"):  # a gold alone: an answer has to commit itself
        readings.append(readings[0].removeprefix(r"\approx").strip(" "))
    verdicts = {equal(one, other) for one in readings for other in _readings(answer)}
    if None in verdicts and True not in verdicts:
        return "unparsable"
    return verdict_of(True in verdicts)


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
    if sum(judge(kind, gold, wrong) == "correct" for wrong in _WRONG) > 1:
        return f"equals any answer, as {' and '.join(_WRONG)}"
    judge(kind, gold, f"{gold}+1")
    seconds = time.process_time() - start
    if seconds > COSTLY:
        return f"takes {seconds:.1f} s of CPU time to compare, more than {COSTLY:g} s"
    return None


def warm_up() -> None:
    """Read a few formulas, so that the parser's tables are there before a deadline runs: the first
    ones take a second.

    For a child process to call before its first task.
    """
    for formula in _EXAMPLES:
        judge("math", formula, f"0+{formula}")


def _is_readable(text: str) -> bool:
    """Whether nothing in ``text`` is hidden, struck out, a control mark or half a character."""
    return not _HIDDEN.search(text) and text.translate(_SPACES).isprintable()


def _says_nothing(text: str) -> bool:
    return normal(text).casefold() in _NONE


def _is_balanced(text: str) -> bool:
    return text.count("{") - text.count("\\{") == text.count("}") - text.count("\\}")


def _readings(answer: str) -> list[str]:
    """``answer``, tidy; where commas may be of thousands or of a list (``70,110``, ``1,200 and
    3``), as both.

    And without a ``for all x`` behind it.
    """
    if said := _ANSWER_IS.fullmatch(answer.strip(" $")):
        answer = said[1]
        if answer.count("{") > answer.count("}"):
            answer += said[2]  # its last brace, and not that of a \text around it all
    answer = _dollars(answer)
    readings = [tidy(answer)]
    if meaning := _MEANINGS.get(spoken(readings[0])):
        readings.append(meaning)
    plain = answer.strip(" $")
    if _COMMAS.fullmatch(plain):
        readings.append(plain.replace(",", ", "))
    if whole := _FOR_ALL.search(readings[0]):
        readings.append(readings[0][: whole.start()].strip(" "))
    joined = _JOINED.sub(lambda match: match.group().replace(",", ""), readings[0])
    if joined != readings[0] and len(shapes.items(joined)) > 1:
        readings.append(joined)
    return readings


def _dollars(answer: str) -> str:
    """An amount of money with its unit behind it, unless one is there; anything else as it is."""
    money = _CURRENCY.fullmatch(answer.strip(" $"))
    if money is None:
        return answer
    amount = money[1] + money[2]
    if _CURRENCY_SAID.search(money[2]):
        return amount
    return rf"{amount}\text{{ dollars}}"
