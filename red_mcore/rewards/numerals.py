"""Numbers as they are written: integers, decimals, fractions, mixed numbers, repeating decimals.

They are read from their digits; no formula is worked out.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

_INTEGER = r"[0-9]{1,400}"
DECIMAL = r"[0-9]{1,400}(?:\.[0-9]{0,400})?"
_TEN = r" ?(?:\\times|\\cdot|\*|x) ?10 ?\^ ?(?:\{ ?([+-]?[0-9]{1,3}) ?\}|([+-]?[0-9]{1,3}))"
_SCIENTIFIC = re.compile(rf"({DECIMAL})(?:[eE]([+-]?[0-9]{{1,3}})|{_TEN})?")
_FRACTION = re.compile(
    rf"\\frac ?\{{ ?(-?{DECIMAL}) ?\}} ?\{{ ?(-?{DECIMAL}) ?\}}|({DECIMAL}) ?/ ?(-?{DECIMAL})"
)
_MIXED = re.compile(
    rf"({_INTEGER}) ?(?:\\frac ?\{{({_INTEGER})\}}\{{({_INTEGER})\}}"
    rf"|(?:(?<= )|(?<=\+)|\+ ?)({_INTEGER})/({_INTEGER}))"
)
_REPEATING = re.compile(
    r"([0-9]{1,400})\.([0-9]{0,400}) ?\\(?:overline|bar) ?\{ ?([0-9]{1,400}) ?\}"
)
_GROUPED = re.compile(
    r"[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?|[1-9][0-9]{0,2}(?: [0-9]{3})+(?:\.[0-9]+)?"
)

TOLERANCE = Fraction(1, 10_000)
"""Largest relative error of a decimal for another number (as in Qwen2.5-Math's grader)."""


class Number(NamedTuple):
    """An exact value, and what one more in its last digit would add (None if not rounded)."""

    value: Fraction
    step: Fraction | None = None


def number(text: str) -> Number | None:
    """The number that ``text`` (tidy, fractions braced) is; None where it is none."""
    digits = text.strip(" ")
    sign = 1
    while digits.startswith(("+", "-")):
        if digits[0] == "-":
            sign = -sign
        digits = digits[1:].lstrip(" ")
    if _GROUPED.fullmatch(digits):
        digits = digits.replace(",", "").replace(" ", "")
    found = _unsigned(digits)
    return found and found._replace(value=sign * found.value)


def _unsigned(text: str) -> Number | None:
    if match := _SCIENTIFIC.fullmatch(text):
        return _decimal(match[1].rstrip("."), match[2] or match[3] or match[4])
    if match := _REPEATING.fullmatch(text):
        whole, once, again = match.groups()
        nines = 10 ** len(once) * (10 ** len(again) - 1)
        return Number(Fraction(int(whole + once), 10 ** len(once)) + Fraction(int(again), nines))
    if match := _FRACTION.fullmatch(text):
        below = _fraction(match[2] or match[4])
        if not below:
            return None
        return Number(_fraction(match[1] or match[3]) / below)
    if match := _MIXED.fullmatch(text):
        top, bottom = int(match[2] or match[4]), int(match[3] or match[5])
        if 0 < top < bottom:
            return Number(int(match[1]) + Fraction(top, bottom))
    return None


def _decimal(digits: str, exponent: str | None) -> Number:
    power = Fraction(10) ** int(exponent or 0)
    value = Fraction(digits) * power
    if "." not in digits and exponent is None:
        return Number(value)  # an integer is exact
    decimals = len(digits.partition(".")[2])
    return Number(value, power / 10**decimals)


def _fraction(digits: str) -> Fraction:
    return Fraction(digits.rstrip("."))


def same_number(gold: Number, answer: Number) -> bool:
    """Whether ``answer`` is ``gold``, or one is a decimal that the other rounds to; exact golds may
    be cut off, too.

    A decimal has to be within ``TOLERANCE`` besides. Gold integers are exact: neither 13536 nor
    13535.9 is 13535.
    """
    if gold.value == answer.value:
        return True
    step = max(gold.step or 0, answer.step or 0)
    if not step or (gold.step is None and gold.value.denominator == 1):
        return False
    error = abs(gold.value - answer.value)
    if error > TOLERANCE * abs(gold.value):
        return False
    is_cut_off = gold.step is None and error < step and abs(answer.value) < abs(gold.value)
    return error <= step / 2 or is_cut_off
