"""Whether two expressions are equal: numbers exactly and as decimals, formulas by values, the rest
by math-verify.

LaTeX becomes a sympy expression through math-verify's own parser, latex2sympy2_extended, which is
called with letters' case kept (math-verify takes ``M`` for ``m``) and on text that leaves its traps
out: it reads ``2(3)`` and ``3 4`` as mixed numbers, ``4.5e33`` as a multiple of Euler's number, and
knows no ``E_1``.

Runs in a child process that is killed when it takes too long: nothing here has limits of its own
but on lengths.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig, latex2sympy
from math_verify import verify
from sympy.core.function import AppliedUndef

_INTEGER = r"[0-9]{1,400}"
_DECIMAL = r"[0-9]{1,400}(?:\.[0-9]{0,400})?"
_TEN = r" ?(?:\\times|\\cdot|\*|x) ?10 ?\^ ?(?:\{ ?([+-]?[0-9]{1,3}) ?\}|([+-]?[0-9]{1,3}))"
_SCIENTIFIC = re.compile(rf"({_DECIMAL})(?:[eE]([+-]?[0-9]{{1,3}})|{_TEN})?")
_FRACTION = re.compile(
    rf"\\frac ?\{{ ?(-?{_DECIMAL}) ?\}} ?\{{ ?(-?{_DECIMAL}) ?\}}|({_DECIMAL}) ?/ ?(-?{_DECIMAL})"
)
_MIXED = re.compile(
    rf"({_INTEGER}) ?(?:\\frac ?\{{({_INTEGER})\}}\{{({_INTEGER})\}}|(?:(?<= )|(?<=\+)|\+ ?)({_INTEGER})/({_INTEGER}))"
)
_REPEATING = re.compile(
    r"([0-9]{1,400})\.([0-9]{0,400}) ?\\(?:overline|bar) ?\{ ?([0-9]{1,400}) ?\}"
)
_GROUPED = re.compile(
    r"[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?|[1-9][0-9]{0,2}(?: [0-9]{3})+(?:\.[0-9]+)?"
)

_FUNCTIONS = (
    "arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|log|ln|exp|sqrt|pi|theta|infty"
)
_BRACELESS = [
    (re.compile(r"\{? ?([0-9A-Za-z+-]+) ?\\choose ?([0-9A-Za-z+-]+) ?\}?"), r"\\binom{\1}{\2}"),
    (re.compile(r"(?<![A-Za-z\\])C ?\( ?([0-9]+) ?, ?([0-9]+) ?\)"), r"\\binom{\1}{\2}"),
    (
        re.compile(r"(?:\{ ?\})?[_^] ?\{? ?([0-9]+) ?\}? ?C ?_ ?\{? ?([0-9]+) ?\}?"),
        r"\\binom{\1}{\2}",
    ),
    (re.compile(r"\\lg(?![a-zA-Z]) ?"), r"\\log_{10} "),
    (re.compile(r"(?<![A-Za-z])(?:np|math|sympy)\.(?=[a-z])"), ""),
    (re.compile(rf"(?<![A-Za-z\\])({_FUNCTIONS})(?![a-zA-Z])"), r"\\\1"),
    (re.compile(r"\\frac ?([0-9A-Za-z]) ?(?=\{)"), r"\\frac{\1}"),
    (re.compile(r"\\frac ?([0-9A-Za-z]) ?([0-9A-Za-z])"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\sqrt ?([0-9]+|[A-Za-z])"), r"\\sqrt{\1}"),
    (re.compile(r"\\log ?_ ?([0-9A-Za-z])"), r"\\log_{\1}"),
    (re.compile(rf"\\({_FUNCTIONS}) ?\^ ?([0-9])"), r"\\\1^{\2}"),
    (re.compile(r"\\sqrt ?(\\[a-zA-Z]+)(?! ?[\[{(])"), r"\\sqrt{\1}"),
]
_BRACKETS = re.compile(r"(?<!\\)[{}()]")
_ARGUMENT = re.compile(r"(\\frac) ?\{|(\\sqrt) ?\(")

_TRAPS: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (
        re.compile(rf"(?<![A-Za-z0-9.}}])({_DECIMAL})[eE]([+-]?[0-9]{{1,3}})(?![A-Za-z0-9.^])"),
        r"(\1\\cdot 10^{\2})",
    ),
    (re.compile(r"([0-9]+(?:\.[0-9]+)?) ?\^\\circ"), r"(\1\\cdot\\pi/180)"),
    (re.compile(r"(?<![0-9A-Za-z_^}.])([0-9]+) ?/ ?([0-9]+)(?= ?[A-Za-z\\(])"), r"\\frac{\1}{\2}"),
    (re.compile(r"\^ ?([+-][0-9]+)"), r"^{\1}"),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"([0-9])\.(?![0-9])"), r"\1"),
    (re.compile(r"'+"), lambda match: "^{" + r"\prime" * len(match.group()) + "}"),
    (re.compile(r"_ ?\{ ?\\text ?\{ ?([A-Za-z]+) ?\} ?\}"), r"_{\1}"),
    (re.compile(r"_ ?\{ ?\\([A-Za-z]+) ?\}"), r"_{\1}"),
    (re.compile(r"_ ?\\([A-Za-z]+)"), r"_{\1}"),
    (re.compile(r"(?<![A-Za-z\\])E ?(?=_)"), r"\\text{E}"),
    (re.compile(r"\\hbar(?![a-zA-Z])"), r"h_{bar}"),
    (re.compile(r"\\gamma(?![a-zA-Z])"), r"\\text{gamma}"),  # else a function, of what follows
    (re.compile(r"(?<![_0-9A-Za-z.\\])([0-9]+(?:\.[0-9]+)?) ?\("), r"\1\\cdot ("),
    (re.compile(r"\) ?(?=[(0-9])"), r")\\cdot "),
    (re.compile(r"([0-9)}]) ?(?=\\binom|\\max|\\min|\\gcd)"), r"\1\\cdot "),
    (
        re.compile(r"(?<![_0-9.])([0-9]+) ?\\frac\{([0-9]+)\}\{([0-9]+)\}"),
        lambda match: _mixed(*match.groups()),
    ),
]
"""What latex2sympy misreads, or does not know, and what it is told instead."""
_ADJACENT = re.compile(
    r"[0-9] +\.?[0-9]|[0-9] ?\{|[0-9)] ?_|(?<![A-Za-z\]}])\{[^{}]*\} ?\{|[0-9.] ?\\(?:overline|underline|bar|d?dot|hat)"
)
"""Numbers with nothing between them, which are no product and no sum, and those with subscripts or
repeated digits."""

_LOOSE = re.compile(r"(?<!_)(?<!_ )(?<!_\{)(?<!_\{ )\\text ?\{")
"""Words in a formula, which latex2sympy takes for symbols: 0 times whatever they say would be 0."""
_BINDING = re.compile(r"\\(?:int|sum|prod|lim|text|operator|math)")
_VARIABLE = re.compile(r"(?<![A-Za-z\\])[A-DF-HJ-Za-df-hj-z](?![A-Za-z])")
"""A letter by itself that is neither e nor i, and that nothing binds."""

_I = sympy.Symbol("i", real=True)
_NOTHING = (sympy.nan, sympy.zoo)
_DIGITS = 4000
"""Longest number that is compared digit by digit."""
_CONSTANT_DIGITS = 700
"""Digits that constants are compared to in the end, since 1 is not 1-1/2^{2020}."""
_NOISE_BITS = 8
"""sympy gives a number that it could not tell from zero with fewer significant bits than this."""
_SLOW = (sympy.Integral, sympy.Sum, sympy.Product, sympy.Limit)
"""Formulas whose digits take long: they are compared to a few."""
_STEPS = (sympy.floor, sympy.ceiling, sympy.Mod)
"""Formulas with these hold for whole numbers, and are compared at such."""

TOLERANCE = Fraction(1, 10_000)
"""Relative error at most of a decimal that stands for another number (as in Qwen2.5-Math's
grader)."""


def _mixed(whole: str, above: str, below: str) -> str:
    """A mixed number where it can be one, else the product: latex2sympy would add any two
    numbers."""
    join = "+" if 0 < int(above) < int(below) else r"\cdot"
    return rf"({whole}{join}\frac{{{above}}}{{{below}}})"


class Number(NamedTuple):
    """An exact value, and what one more in the last digit would add (None where nothing was
    rounded)."""

    value: Fraction
    step: Fraction | None = None


def number(text: str) -> Number | None:
    """The number that ``text`` (tidy, fractions braced) is, without computing anything; None where
    it is no number."""
    text = text.strip(" ")
    sign = 1
    while text[:1] in ("+", "-") and text:
        sign, text = (-sign if text[0] == "-" else sign), text[1:].lstrip(" ")
    if _GROUPED.fullmatch(text):
        text = text.replace(",", "").replace(" ", "")
    if match := _SCIENTIFIC.fullmatch(text):
        digits, *exponents = match.groups()
        exponent = next((int(e) for e in exponents if e is not None), None)
        value = Fraction(digits.rstrip("."))
        rounded = "." in digits.rstrip(".") or exponent is not None
        power = Fraction(10) ** (exponent or 0)
        decimals = len(digits.rstrip(".").partition(".")[2])
        return Number(sign * value * power, power / 10**decimals if rounded else None)
    if match := _REPEATING.fullmatch(text):
        whole, once, again = match.groups()
        nines = 10 ** len(once) * (10 ** len(again) - 1)
        return Number(
            sign * (Fraction(int(whole + once), 10 ** len(once)) + Fraction(int(again), nines))
        )
    if match := _FRACTION.fullmatch(text):
        above, below = (Fraction(part.rstrip(".")) for part in match.groups() if part is not None)
        return Number(sign * above / below) if below else None
    if match := _MIXED.fullmatch(text):
        ones, top, bottom = (int(part) for part in match.groups() if part is not None)
        return Number(sign * (ones + Fraction(top, bottom))) if 0 < top < bottom else None
    return None


def same_number(gold: Number, answer: Number) -> bool:
    """Whether ``answer`` is ``gold``, or one is a decimal that the other rounds to; exact golds may
    be cut off, too.

    A decimal has to be within ``TOLERANCE`` besides. Gold integers are exact: neither 13536 nor
    13535.9 is 13535.
    """
    if gold.value == answer.value:
        return True
    steps = [n.step for n in (gold, answer) if n.step is not None]
    if not steps or (gold.step is None and gold.value.denominator == 1):
        return False
    error, step = abs(gold.value - answer.value), max(steps)
    if error > TOLERANCE * abs(gold.value):
        return False
    cut = gold.step is None and error < step and abs(answer.value) < abs(gold.value)
    return error <= step / 2 or cut


def braced(text: str) -> str:
    r"""``\frac12``, ``\frac{1}2``, ``\sqrt3``, ``sqrt(3)`` with the braces that they stand for."""
    for pattern, spelling in _BRACELESS:
        text = pattern.sub(spelling, text)
    opened, partner = [], {}
    for match in _BRACKETS.finditer(text):
        if match.group() in "{(":
            opened.append(match.start())
        elif opened:
            partner[opened.pop()] = match.start()
    letters = list(text)
    for match in _ARGUMENT.finditer(text):
        end = partner.get(match.end() - 1)
        if end is None:
            continue
        if match[2]:
            letters[match.end() - 1], letters[end] = "{", "}"
        else:  # the second argument, where it is a single sign
            after = end + 1 + (text[end + 1 : end + 2] == " ")
            if text[after : after + 1].isalnum():
                letters[after] = "{" + text[after] + "}"
    return "".join(letters)


def same(gold: str, answer: str) -> bool | None:
    """Whether two formulas (tidy text) are equal; None where one of them is none that can be read.

    Both are evaluated: constants to 30 digits, others at four points that their symbols' names
    determine (two with negative values), so that a formula equals what it can be transformed to
    and, but for an event of no probability, nothing else. A decimal among constants stands for what
    rounds to it (``same_number``). A number equals no formula in variables, also where they would
    cancel out.
    """
    gold, answer = braced(gold), braced(answer)
    numbers = number(gold), number(answer)
    if numbers[0] is not None and numbers[1] is not None:
        return same_number(numbers[0], numbers[1])
    if numbers[0] is not None and _VARIABLE.search(answer) and not _BINDING.search(answer):
        return False  # a formula in variables is no number, which its slow parser need not tell
    if _LOOSE.search(answer) and not _LOOSE.search(gold):
        return False
    left, right = expression(gold), expression(answer)
    if left is None or right is None:
        return None
    if left == right:
        return not left.has(*_NOTHING)
    if left.has(*_NOTHING) or right.has(*_NOTHING):
        return False
    verdict = _by_values(left, right, numbers)
    if verdict is None:
        return bool(verify(gold=[left], target=[right], timeout_seconds=None))
    return verdict


def ratio(gold: str, answer: str) -> int | None:
    """1 where the formulas are equal, -1 where their sum is zero, 0 where neither; None where one
    cannot be read."""
    for sign, text in ((1, answer), (-1, f"-({answer})")):
        verdict = same(gold, text)
        if verdict is None or verdict:
            return sign if verdict else None
    return 0


def proportional(gold: str, answer: str) -> bool | None:
    """Whether one formula in two variables or more is a number times the other, so that both are
    zero at once.

    That number is their ratio at one point, and has to be it everywhere (``same``'s sample points).
    """
    left, right = expression(braced(gold)), expression(braced(answer))
    if not isinstance(left, sympy.Expr) or not isinstance(right, sympy.Expr):
        return None
    symbols = left.free_symbols | right.free_symbols
    if len(symbols) < 2 or left.free_symbols != right.free_symbols:
        return False
    point = {symbol: _coordinate(str(symbol), 99, whole=False) for symbol in symbols}
    values = [side.xreplace(point) for side in (left, right)]
    if any(value.has(*_NOTHING) or value.is_zero is not False for value in values):
        return False
    return _by_values(left * values[1], right * values[0], (None, None))


@lru_cache(maxsize=512)
def expression(text: str) -> sympy.Basic | None:
    """What latex2sympy makes of a formula, floats made exact, everything that has no value made a
    symbol."""
    if _LOOSE.search(text):
        return None
    for pattern, spelling in _TRAPS:
        text = pattern.sub(spelling, text)
    if _ADJACENT.search(text) or not text.isascii():
        return None
    while text.startswith("{") and text.endswith("}") and text.find("}") == len(text) - 1:
        text = text[1:-1]
    try:
        found = latex2sympy(
            text,
            is_real=True,
            convert_degrees=False,
            normalization_config=None,
            conversion_config=ConversionConfig(lowercase_symbols=False),
        )
    except RecursionError:
        return None
    except Exception:  # latex2sympy raises bare Exceptions, AttributeErrors and more
        return None
    if not isinstance(found, (sympy.Expr, sympy.MatrixBase)):
        return None
    exact = {f: sympy.Rational(str(f)) for f in found.atoms(sympy.Float)}
    opaque = {f: sympy.Symbol(f"opaque {f}") for f in found.atoms(AppliedUndef, sympy.Derivative)}
    return found.xreplace(exact | opaque) if exact or opaque else found


def _by_values(
    left: sympy.Basic, right: sympy.Basic, numbers: tuple[Number | None, Number | None]
) -> bool | None:
    """Equality by evaluation, None where there are no values to be had."""
    symbols = sorted((left.free_symbols | right.free_symbols) - {_I}, key=str)
    if not symbols:
        verdict = _agree(left, right, {_I: sympy.I})
        if verdict and not (left.has(*_SLOW) or right.has(*_SLOW)):
            verdict = _agree(left, right, {_I: sympy.I}, _CONSTANT_DIGITS) is not False
        if verdict is not False or all(n is None or n.step is None for n in numbers):
            return verdict
        exact, other_exact = numbers[0] or _exact(left), numbers[1] or _exact(right)
        return exact is not None and other_exact is not None and same_number(exact, other_exact)
    whole = left.has(*_STEPS) or right.has(*_STEPS)
    agreed = 0
    real = not (left.has(_I, sympy.I) or right.has(_I, sympy.I))
    for k in range(12):
        if agreed == 4 and not whole:
            break
        point = {symbol: _coordinate(str(symbol), k, whole) for symbol in symbols} | {_I: sympy.I}
        verdict = _agree(left, right, point)
        if verdict is False and real and not any(_is_real(side, point) for side in (left, right)):
            continue  # both are outside of what they are meant for, as logarithms of negative numbers
        if verdict is False:
            return False
        agreed += verdict is True
    return True if agreed >= 3 else None


def _agree(left: sympy.Basic, right: sympy.Basic, point: dict, digits: int = 30) -> bool | None:
    """Whether both have the same value at ``point``, to ``digits`` less 12 and to 1e-18; None where
    one has none."""
    while True:
        one, other = _value(left, point, digits), _value(right, point, digits)
        if one is None or other is None:
            return None
        error, size = abs(one - other), max(abs(one), abs(other))
        if error > size * sympy.Float(10) ** (12 - digits):
            return False
        wanted = 30 + max(0, int(sympy.log(size.n(15), 10).n(5))) if size > 1 else 30
        if wanted <= digits:
            return True
        if wanted > _DIGITS:
            return None
        digits = wanted


def _is_real(side: sympy.Basic, point: dict) -> bool:
    value = _value(side, point, 30)
    return value is not None and value.is_real is True


def _exact(side: sympy.Basic) -> Number | None:
    value = _value(side, {_I: sympy.I}, 30)
    if (
        value is None
        or not value.is_real
        or (value.is_Float and abs(value._mpf_[2]) > 10 * _DIGITS)
    ):
        return None
    return Number(Fraction(str(value)))


def _coordinate(name: str, k: int, whole: bool) -> sympy.Rational:
    """The value of a symbol in sample point ``k``: the same for a name in both formulas, and in
    every process."""
    seed = zlib.crc32(f"{name} {k}".encode())
    if whole:
        return sympy.Integer(3 + seed % 197 if k % 3 else 3 + seed % 11)
    value = sympy.Rational(1009 + seed % 7919, 4001)
    return -value if k % 2 and seed >> 16 & 1 else value


def _value(expression: sympy.Basic, point: dict, digits: int) -> sympy.Expr | None:
    """``expression`` at ``point``; None where that is no finite number."""
    try:
        value = expression.evalf(digits, subs=point, maxn=max(200, 2 * digits))
    except Exception:  # sympy raises all kinds for what has no value
        return None
    if not isinstance(value, sympy.Expr) or value.has(*_NOTHING, sympy.oo, -sympy.oo):
        return None
    parts = value.as_real_imag()
    if not all(part.is_Float or part.is_Rational for part in parts):
        return None
    if any(
        part.is_Float and part._prec < _NOISE_BITS for part in parts
    ):  # nothing left of it: a zero
        parts = [
            sympy.S.Zero if part.is_Float and part._prec < _NOISE_BITS else part for part in parts
        ]
        return parts[0] + parts[1] * sympy.I
    return value
