"""What stands behind a number: a unit with its scale, or the name of what is counted. Anything else
makes no quantity.

A policy finds every word that a grader passes over: none of ``5 \\text{ bn}``, ``5 \\text{
tenths}`` and ``5 \\text{ rejected}`` is 5. So a word is a unit where it is in the tables below, and
counts things where it is a plural behind words none of which changes a number (``_CHANGES``); a
number with other words behind it equals no number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from red_mcore.rewards.tables import Rules, words
from red_mcore.rewards.unit_tables import (
    DEGREE,
    NO_UNIT,
    PERCENT_SIGN,
    RAISED,
    RAISED_AFTER,
    SCALES,
    UNITS,
    Unit,
)


class Token(NamedTuple):
    """A word or a sign behind a number, and which group of ``_TOKEN`` it is."""

    kind: str
    text: str

    @property
    def word(self) -> str:
        """The word in small letters, empty for a sign."""
        return self.text.lower() if self.kind == "word" else ""


_END = Token("over", "")
"""Ends the last factor of a product, as a stroke would."""


_CHINESE_COUNTERS = words("个 人 只 本 支 条 张 件 页 名 位 棵 辆 箱 袋 瓶 次 种")
_BARE = words("mm cm km kg ml mL ft lb hr yd mi kph kmh mph USD 元 块 °C °F")
"""Units of two letters that no formula has as a product; longer ones need no ``\\text``."""

_COUNTED = words(
    "people children men women mice feet geese teeth sheep fish deer dice data vertices indices"
    " matrices axes foci radii cacti series species"
)
"""Plurals without an s, and those that the rule below takes for none."""
_SINGULAR = words(
    "way point solution value person number integer digit triangle square circle line root zero"
    " element set student child apple ball book card coin box game page step turn time"
)
_CHANGES = words(
    # numbers, their parts and multiples
    "one two three four five six seven eight nine ten eleven twelve hundred thousand lakh lakhs"
    " lac lacs crore crores ones twos threes fours fives sixes sevens eights nines tens elevens"
    " twelves half halves third thirds quarter quarters fourth percent percentage mil mill mills"
    " mln bil tril dozen dozens score scores gross grosses pair pairs couple couples double"
    " doubles triple triples quadruple quadruples twice thrice single myriad myriads great brace"
    " braces trio trios quartet quartets googol googols ppm ppb permille mille bps"
    # operations, powers and functions
    " plus minus times divided multiplied over mod modulo modulus remainder remainders rem choose"
    " factorial factorials power powers squared cubed exponent exponents inverse reciprocal"
    " reciprocals root sqrt log logs sin sins cos tan cot sec csc exp base bases pis order orders"
    " magnitude magnitudes root radical radicals negative negatives opposite complement conjugate"
    " sum sums difference differences product products"
    # words without a meaning of their own
    " not never nor neither none nothing but except without excluding instead rather else"
    " otherwise unless until if when whenever where whereas while although though because since"
    " than then thus hence therefore however or and xor is isn't was wasn't are aren't were has"
    " have had does doesn't did be been being am a an the this that these those its his hers ours"
    " yours theirs as at by for from in into off on onto out to too towards up down upwards"
    " downwards forwards backwards inwards outwards afterwards besides always sometimes perhaps"
    " maybe yes versus via between among within with per about around circa some any every no"
    " about least most more less fewer above below beyond under short extra too almost nearly"
    " roughly"
    # verbs, and words that take an answer back
    " equals fails exceeds remains seems becomes contradicts differs misses lacks denies rejects"
    " works holds gives means makes divides rounds tends doubles halves guesses says thinks needs"
    " wants lies leaves excludes omits wrong false incorrect invalid void rejected refused wrongs"
    " errors mistakes guess approx"
)
"""What makes another number of the one before it, or takes it back, or is no noun."""
_CHANGING = re.compile(
    r".*(?:illion|teen|[nrvxfhge]ty|ieth|fth|xth|[nvdr]th|ghth|inth|hundred|thousand|lakh|crore)s?"
    r"|.*ly|.*n't"
)
_MONTHS = frozenset(("months", "month"))
_TRAILING = words("old long tall wide high deep total altogether remaining left")

_TOKEN = re.compile(
    r" *(?:(?P<word>°[CF]|[%$€£¥￥₹¢]|[A-Za-zÅΩμµ]+(?:'t)?|[一-鿿]+)\.?"
    r"|(?P<power>\^ ?\{? ?[+-]?[0-9] ?\}?)|(?P<over>/)|(?P<by>\*|-)|(?P<open>\()|(?P<close>\))) *"
)
_SPELLINGS = Rules(
    (r"\\frac ?\{((?:[^{}]|\\text\{[^{}]*\})*)\} ?\{((?:[^{}]|\\text\{[^{}]*\})*)\}", r"\1/(\2)"),
    (r"\\text\{([^{}]*)\}", r" \1 "),
    (r"\^\\circ ?([CF])(?![A-Za-z])", r" °\1 "),
    (r"\\(?:cdot|times)(?![a-zA-Z])|·|⋅", "*"),
    (r"\\Omega(?![a-zA-Z])", "Ω"),
    (r"\\mu(?![a-zA-Z]) *", "μ"),
    (r"(?i)(?<![a-z])per +cent(?![a-z])", "percent"),
)
_TAIL = re.compile(
    r"(?:\^\\circ ?|\\mu ?|(?:\\cdot|\\times|\*|-) ?(?=\\text|\\mu)|\\frac ?\{ ?)*\\text\{"
)
_SHORT_TAIL = re.compile(r"\^\\circ ?[CF]$|[€£¥￥₹¢元块]$")
_WORDS = re.compile(
    r"(?:(?<=[0-9)}])|(?<=[0-9)}] )|(?<=\\pi ))[A-Za-z一-鿿]{1,30}"
    r"(?:(?: ?/ ?| )[A-Za-z]{1,30}){0,4}\.?(?: ?\^ ?\{?[0-9]\}?)?$"
)
_PLAIN = re.compile(
    r"(?=[^0-9]*[0-9])(?:[-+0-9.,/{}() ^_*!]|\\(?:frac|sqrt|pi|cdot|times)(?![a-z]))*"
)
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)")
_GLUED = re.compile(r"[0-9]\\text\{[kKMBTGmb]\}$")
"""``7\\text{K}`` may be 7000 where ``7 \\text{ K}`` is a temperature."""
_MOST_TOKENS = 24
"""A text with more is none that names a unit."""
_ORDINAL = re.compile(r"([0-9]+) ?(?:\^ ?\{? ?)?(?:\\text\{)?(st|nd|rd|th)\}?\}?")


def quantity(text: str) -> tuple[str, Unit | None]:
    """The value and the unit of ``text`` (tidy); None for the unit where it has none that is known.

    Scale words are part of the value: ``2 \\text{ million dollars}`` is (2)·1000000 dollars.
    """
    text = text.strip(" ")
    if (ordinal := _ORDINAL.fullmatch(text)) and ordinal[2] == _suffix(int(ordinal[1][-2:])):
        return ordinal[1], None
    if text.endswith("%") and r"\text" not in text:
        return text[:-1].strip(" "), PERCENT_SIGN
    if text.endswith(r"^\circ") and not _TRIGONOMETRIC.search(text):
        return text[: -len(r"^\circ")].strip(" "), DEGREE
    if text.startswith(tuple("€£¥￥₹")):
        unit = UNITS[text[0]]
        value, other = quantity(text[1:])
        if other and other.dimensions != unit.dimensions:
            return text, None
        return value, unit
    tail = _TAIL.search(text) or _SHORT_TAIL.search(text)
    found = tail or _WORDS.search(text)
    if found is None or _GLUED.search(text):
        return text, None
    # A unit is behind a value, and "cm" alone is none.
    behind, value = text[found.start() :], text[: found.start()].strip(" ")
    if not value:
        return text, None
    is_apart = text[found.start() - 1] == " "
    if tail is None and not _may_be_bare(behind, value, is_apart):
        return text, None
    read = _read(behind, value)
    if read is None:
        return text, None
    scale, known = read
    if scale > 1:
        value = rf"({value})\cdot {scale}"
    return value, (None if known == NO_UNIT else known)


def conversion(gold: Unit, answer: Unit) -> str | None:
    """What a number of ``answer`` units is multiplied with to be one of ``gold`` units, as LaTeX
    ('' for 1); None where the two are of different kinds."""
    if gold.dimensions != answer.dimensions:
        return None
    if not (gold.words <= answer.words or answer.words <= gold.words):
        return None
    factor, turns = answer.factor / gold.factor, answer.turns - gold.turns
    if factor == 1 and not turns:
        return ""
    spelled = rf"\cdot\frac{{{factor.numerator}}}{{{factor.denominator}}}"
    if turns:
        spelled += rf"\cdot\pi^{{{turns}}}"
    return spelled


def _suffix(number: int) -> str:
    """The end of an ordinal number below 100."""
    if number // 10 == 1:  # 11th, 12th, 13th
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


def _may_be_bare(tail: str, value: str, is_apart: bool) -> bool:
    """Whether letters without a ``\\text`` are a unit or words, and no product."""
    found = re.findall(r"[^\W\d_]+", tail)
    word = found[0]
    if word in _BARE or word in _CHINESE_COUNTERS:
        return True
    if len(word) > 2 and (word.lower() in UNITS or word.lower() in RAISED):
        return True
    return is_apart and _PLAIN.fullmatch(value) is not None and min(map(len, found)) > 2


def _read(tail: str, value: str) -> tuple[int, Unit] | None:
    """Scale and unit that the text behind ``value`` comes to; None where it is neither."""
    tail = _SPELLINGS(tail).rstrip(" ")
    tokens: list[Token] = []
    at = 0
    while at < len(tail):
        match = _TOKEN.match(tail, at)
        if match is None or len(tokens) > _MOST_TOKENS:
            return None
        kind = str(match.lastgroup)  # every alternative is named
        tokens.append(Token(kind, match[kind].strip(" ")))
        at = match.end()
    while tokens and tokens[0].kind == "by":  # 5-cm, 5*cm
        tokens.pop(0)
    scale = 1
    while tokens and (more := SCALES.get(tokens[0].word)):
        scale *= more
        tokens.pop(0)
    if not tokens:
        return (scale, NO_UNIT) if scale > 1 else None
    # "2 million way" is none, though "1 way" is: a single thing is that of the number 1.
    unit = _product(tokens, value if scale == 1 else "")
    if unit is None:
        return None
    return scale, unit


def _product(tokens: list[Token], value: str) -> Unit | None:
    """The product of units and counted things, each of the power -1 behind a ``/`` or ``per``."""
    total, power, is_open = NO_UNIT, 1, False
    run: list[Token] = []
    for number, token in enumerate([*tokens, _END], 1):
        if token.kind == "over" or token.word == "per":
            found = _physical(run) or _counted(run, "1" if power < 0 else value)
            if found is None and (run or number > len(tokens)):
                return None
            if found is not None:
                total = _times(total, found, power)
            run, power, is_open = [], -1, False
        elif token.kind == "open":
            is_open = True
        elif token.kind == "close":
            if not is_open:
                return None
        else:
            run.append(token)
    return total


def _times(one: Unit, other: Unit, power: int) -> Unit:
    powers = dict(one.dimensions)
    for name, own in other.dimensions:
        powers[name] = powers.get(name, 0) + own * power
    return Unit(
        one.factor * other.factor**power,
        one.turns + other.turns * power,
        frozenset((name, own) for name, own in powers.items() if own),
        one.words | other.words,
    )


def _physical(run: Sequence[Token]) -> Unit | None:
    """The product of units side by side, ``\\text{ kg m}^2``; None where a word is none."""
    total, last, raised = NO_UNIT, None, 1
    for token in run:
        after = RAISED_AFTER.get(token.text)
        if token.kind == "power" or (after and last):
            if last is None:
                return None
            power = after or int(re.sub("[^0-9-]", "", token.text))
            total = _times(total, last, power - 1)
        elif token.word in RAISED:
            raised = RAISED[token.word]
        elif token.kind == "word":
            last = _unit(token.text)
            if last is None:
                return None
            total, raised = _times(total, last, raised), 1
    return total if last and raised == 1 else None


def _unit(name: str) -> Unit | None:
    """The unit of this name; capitals matter in one or two letters, as in ``mm`` and ``Mm``."""
    if len(name) > 2:
        return UNITS.get(name) or UNITS.get(name.lower())
    return UNITS.get(name)


def _counted(run: Sequence[Token], value: str) -> Unit | None:
    """``red apples``, ``years old``; None where one of its words may change the number."""
    said = [token.word for token in run]
    if not all(said) or not 1 <= len(said) <= 5:
        return None
    if len(said) == 1 and said[0] in _CHINESE_COUNTERS:
        return _things(said)
    if len(said) > 1 and said[-1] in _TRAILING:
        return _physical(run[:-1]) or _counted(run[:-1], value)
    if said[:2] in (["ordered", "pairs"], ["ordered", "triples"]):
        return _things(said)
    head = len(said) - 1
    if "of" in said:  # slices of pizza: what is counted stands before it
        head = said.index("of") - 1
    if head < 0 or not all(word == "of" or _is_harmless(word) for word in said):
        return None
    noun = said[head]
    if _is_plural(noun) or (value == "1" and noun in _SINGULAR):
        return _things(said)
    return None


def _is_harmless(word: str) -> bool:
    """Whether a word says what is counted, and changes no number."""
    if len(word) < 3 or not word.isascii() or word in _CHANGES:
        return False
    return word in _MONTHS or not _CHANGING.fullmatch(word)


def _is_plural(noun: str) -> bool:
    if noun in _COUNTED:
        return True
    if noun in UNITS or noun.endswith(("us", "is")):
        return False
    return re.fullmatch(r"[a-z]{2,}[a-rt-z]s", noun) is not None


def _things(said: list[str]) -> Unit:
    """The unit of what is counted; its words are singulars, so that ``1 apple`` counts apples."""
    named = frozenset(re.sub(r"(?<=x|s|h)es$|s$", "", re.sub("ies$", "y", word)) for word in said)
    return Unit(Fraction(1), 0, frozenset((("things", 1),)), named)
