"""Whether two expressions are equal: numbers exactly and as decimals (``numerals.py``), formulas by
values, the rest by math-verify.

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
from collections.abc import Collection
from fractions import Fraction
from functools import lru_cache

import sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig, latex2sympy
from math_verify import verify
from sympy.core.function import AppliedUndef

from red_mcore.rewards.numerals import DECIMAL, Number, number, same_number
from red_mcore.rewards.tables import Rules

_FUNCTIONS = (
    "arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|log|ln|exp|sqrt|pi|theta|infty"
)
_BRACELESS = Rules(
    (r"\{? ?([0-9A-Za-z+-]+) ?\\choose ?([0-9A-Za-z+-]+) ?\}?", r"\\binom{\1}{\2}"),
    (r"(?<![A-Za-z\\])C ?\( ?([0-9]+) ?, ?([0-9]+) ?\)", r"\\binom{\1}{\2}"),
    (r"(?:\{ ?\})?[_^] ?\{? ?([0-9]+) ?\}? ?C ?_ ?\{? ?([0-9]+) ?\}?", r"\\binom{\1}{\2}"),
    (r"\\lg(?![a-zA-Z]) ?", r"\\log_{10} "),
    (r"(?<![A-Za-z])(?:np|math|sympy)\.(?=[a-z])", ""),
    (rf"(?<![A-Za-z\\])({_FUNCTIONS})(?![a-zA-Z])", r"\\\1"),
    (r"\\frac ?([0-9A-Za-z]) ?(?=\{)", r"\\frac{\1}"),
    (r"\\frac ?([0-9A-Za-z]) ?([0-9A-Za-z])", r"\\frac{\1}{\2}"),
    (r"\\sqrt ?([0-9]+|[A-Za-z])", r"\\sqrt{\1}"),
    (r"\\log ?_ ?([0-9A-Za-z])", r"\\log_{\1}"),
    (rf"\\({_FUNCTIONS}) ?\^ ?([0-9])", r"\\\1^{\2}"),
    (r"\\sqrt ?(\\[a-zA-Z]+)(?! ?[\[{(])", r"\\sqrt{\1}"),
)
_BRACKETS = re.compile(r"(?<!\\)[{}()]")
_ARGUMENT = re.compile(r"(\\frac) ?\{|(\\sqrt) ?\(")


def _mixed(match: re.Match[str]) -> str:
    """A mixed number where it can be one, else the product: latex2sympy would always add."""
    whole, above, below = match.groups()
    join = "+" if 0 < int(above) < int(below) else r"\cdot"
    return rf"({whole}{join}\frac{{{above}}}{{{below}}})"


_TRAPS = Rules(
    (
        rf"(?<![A-Za-z0-9.}}])({DECIMAL})[eE]([+-]?[0-9]{{1,3}})(?![A-Za-z0-9.^])",
        r"(\1\\cdot 10^{\2})",
    ),
    (r"([0-9]+(?:\.[0-9]+)?) ?\^\\circ", r"(\1\\cdot\\pi/180)"),
    (r"(?<![0-9A-Za-z_^}.])([0-9]+) ?/ ?([0-9]+)(?= ?[A-Za-z\\(])", r"\\frac{\1}{\2}"),
    (r"\^ ?([+-][0-9]+)", r"^{\1}"),
    (r"\*\*", "^"),
    (r"([0-9])\.(?![0-9])", r"\1"),
    (r"'+", lambda match: "^{" + r"\prime" * len(match.group()) + "}"),
    (r"_ ?\{ ?\\text ?\{ ?([A-Za-z]+) ?\} ?\}", r"_{\1}"),
    (r"_ ?\{ ?\\([A-Za-z]+) ?\}", r"_{\1}"),
    (r"_ ?\\([A-Za-z]+)", r"_{\1}"),
    (r"(?<![A-Za-z\\])E ?(?=_)", r"\\text{E}"),
    (r"\\hbar(?![a-zA-Z])", r"h_{bar}"),
    (r"\\gamma(?![a-zA-Z])", r"\\text{gamma}"),  # else a function, of what follows
    # Products without a sign, which it takes for mixed numbers or for calls.
    (r"(?<![_0-9A-Za-z.\\])([0-9]+(?:\.[0-9]+)?) ?\(", r"\1\\cdot ("),
    (r"\) ?(?=[(0-9])", r")\\cdot "),
    (r"([0-9)}]) ?(?=\\binom|\\max|\\min|\\gcd)", r"\1\\cdot "),
    (r"(?<![_0-9.])([0-9]+) ?\\frac\{([0-9]+)\}\{([0-9]+)\}", _mixed),
)
"""What latex2sympy misreads, or does not know, and what it is told instead."""
_ADJACENT = re.compile(
    r"[0-9] +\.?[0-9]|[0-9] ?\{|[0-9)] ?_|(?<![A-Za-z\]}])\{[^{}]*\} ?\{"
    r"|[0-9.] ?\\(?:overline|underline|bar|d?dot|hat)"
)
"""Numbers side by side, no product and no sum; those with subscripts or repeated digits."""

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
_POINTS = 12
"""Most points at which formulas in variables are compared: at some they have no value."""
_AGREED = 4
"""Points at which they agree that are enough."""
_SLOW = (sympy.Integral, sympy.Sum, sympy.Product, sympy.Limit)
"""Formulas whose digits take long: they are compared to a few."""
_STEPS = (sympy.floor, sympy.ceiling, sympy.Mod)
"""Formulas with these hold for whole numbers, and are compared at such."""


def braced(text: str) -> str:
    r"""``\frac12``, ``\frac{1}2``, ``\sqrt3``, ``sqrt(3)`` with the braces that they stand for."""
    text = _BRACELESS(text)
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
    gold_number, answer_number = number(gold), number(answer)
    if gold_number and answer_number:
        return same_number(gold_number, answer_number)
    if gold_number and _VARIABLE.search(answer) and not _BINDING.search(answer):
        return False  # a formula in variables is no number, which its slow parser need not tell
    if _LOOSE.search(answer) and not _LOOSE.search(gold):
        return False
    left, right = expression(gold), expression(answer)
    if left is None or right is None:
        return None
    if left == right:
        return not left.has(*_NOTHING)
    if _either_has(left, right, *_NOTHING):
        return False
    verdict = _by_values(left, right, gold_number, answer_number)
    if verdict is None:
        return bool(verify(gold=[left], target=[right], timeout_seconds=None))
    return verdict


def ratio(gold: str, answer: str) -> int | None:
    """1 where the formulas are equal, -1 where their sum is zero, else 0; None if unreadable."""
    for sign, text in ((1, answer), (-1, f"-({answer})")):
        verdict = same(gold, text)
        if verdict is None:
            return None
        if verdict:
            return sign
    return 0


def proportional(gold: str, answer: str) -> bool | None:
    """Whether one formula in two variables or more is a number times the other, so that both are
    zero at once.

    That number is their ratio at one point, and has to be it everywhere (``same``'s sample points).
    """
    left, right = expression(braced(gold)), expression(braced(answer))
    if not isinstance(left, sympy.Expr) or not isinstance(right, sympy.Expr):
        return None
    if len(left.free_symbols) < 2 or left.free_symbols != right.free_symbols:
        return False
    point = _point(left.free_symbols, 99, whole=False)
    left_value, right_value = left.xreplace(point), right.xreplace(point)
    if _either_has(left_value, right_value, *_NOTHING):
        return False
    if left_value.is_zero is not False or right_value.is_zero is not False:
        return False
    return _by_values(left * right_value, right * left_value)


@lru_cache(maxsize=512)
def expression(text: str) -> sympy.Basic | None:
    """The sympy expression of a formula, with exact floats, and symbols for what has no value."""
    if _LOOSE.search(text):
        return None
    text = _TRAPS(text)
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
    except Exception:  # latex2sympy raises bare Exceptions, AttributeErrors and more
        return None
    if not isinstance(found, (sympy.Expr, sympy.MatrixBase)):
        return None
    exact = {f: sympy.Rational(str(f)) for f in found.atoms(sympy.Float)}
    opaque = {f: sympy.Symbol(f"opaque {f}") for f in found.atoms(AppliedUndef, sympy.Derivative)}
    return found.xreplace(exact | opaque)


def _by_values(
    left: sympy.Basic,
    right: sympy.Basic,
    gold: Number | None = None,
    answer: Number | None = None,
) -> bool | None:
    """Equality by evaluation, None where there are no values to be had; ``gold`` and ``answer`` are
    what is known of constants without it."""
    symbols = (left.free_symbols | right.free_symbols) - {_I}
    if not symbols:
        return _same_constants(left, right, gold, answer)
    whole = _either_has(left, right, *_STEPS)
    real = not _either_has(left, right, _I, sympy.I)
    agreed = 0
    for k in range(_POINTS):
        if agreed == _AGREED and not whole:
            break
        point = _point(symbols, k, whole)
        verdict = _agree(left, right, point)
        if verdict is False:
            if real and not _is_real(left, point) and not _is_real(right, point):
                continue  # outside of what both are meant for: logarithms of negative numbers
            return False
        agreed += verdict is True
    # Three are enough where others have no value.
    return True if agreed >= _AGREED - 1 else None


def _same_constants(
    left: sympy.Basic, right: sympy.Basic, gold: Number | None, answer: Number | None
) -> bool | None:
    verdict = _agree(left, right, {_I: sympy.I})
    if verdict and not _either_has(left, right, *_SLOW):
        return _agree(left, right, {_I: sympy.I}, _CONSTANT_DIGITS) is not False
    is_rounded = (gold and gold.step) or (answer and answer.step)
    if verdict is not False or not is_rounded:
        return verdict
    gold, answer = gold or _exact(left), answer or _exact(right)
    return gold is not None and answer is not None and same_number(gold, answer)


def _either_has(left: sympy.Basic, right: sympy.Basic, *what: object) -> bool:
    return left.has(*what) or right.has(*what)


def _agree(left: sympy.Basic, right: sympy.Basic, point: dict, digits: int = 30) -> bool | None:
    """Whether both are equal at ``point``, to ``digits`` less 12 and 1e-18; None without value."""
    while True:
        one, other = _value(left, point, digits), _value(right, point, digits)
        if one is None or other is None:
            return None
        error, size = abs(one - other), max(abs(one), abs(other))
        if error > size * sympy.Float(10) ** (12 - digits):
            return False
        # A large value needs as many digits more as it has before its point.
        wanted = 30
        if size > 1:
            wanted += max(0, int(sympy.log(size.n(15), 10).n(5)))
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
    if value is None or not value.is_real:
        return None
    if value.is_Float and abs(value._mpf_[2]) > 10 * _DIGITS:
        return None  # a binary exponent whose digits would fill the memory
    return Number(Fraction(str(value)))


def _point(symbols: Collection[sympy.Symbol], k: int, whole: bool) -> dict:
    """Sample point ``k``: values of the ``symbols``, the imaginary unit among them."""
    return {symbol: _coordinate(str(symbol), k, whole) for symbol in symbols} | {_I: sympy.I}


def _coordinate(name: str, k: int, whole: bool) -> sympy.Rational:
    """A symbol's value in sample point ``k``: the same in both formulas and in every process."""
    seed = zlib.crc32(f"{name} {k}".encode())
    if whole:
        return sympy.Integer(3 + seed % (197 if k % 3 else 11))
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
    if any(map(_is_noise, parts)):
        real, imaginary = (sympy.S.Zero if _is_noise(part) else part for part in parts)
        return real + imaginary * sympy.I
    return value


def _is_noise(part: sympy.Expr) -> bool:
    """Whether rounding has left nothing of a number: it is zero."""
    return part.is_Float and part._prec < _NOISE_BITS
