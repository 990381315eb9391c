"""What stands behind a number: a unit with its scale, or the name of what is counted. Anything else
makes no quantity.

A policy finds every word that a grader passes over: none of ``5 \\text{ bn}``, ``5 \\text{
tenths}`` and ``5 \\text{ rejected}`` is 5. So a word is a unit where it is in the tables below, and
counts things where it is a plural behind words none of which changes a number (``_CHANGES``); a
number with other words behind it equals no number.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

Dimensions = frozenset[tuple[str, int]]


class Unit(NamedTuple):
    """``factor``·π^``turns`` times the base units ``dimensions``; of things that are counted, the
    words for them."""

    factor: Fraction
    turns: int
    dimensions: Dimensions
    words: frozenset[str] = frozenset()


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _dimensions(text: str) -> Dimensions:
    pairs = (part.partition("^") for part in text.split())
    return frozenset((name, int(power or 1)) for name, _, power in pairs)


_PREFIXES = {
    "T": 12,
    "G": 9,
    "M": 6,
    "k": 3,
    "d": -1,
    "c": -2,
    "m": -3,
    "μ": -6,
    "µ": -6,
    "n": -9,
    "p": -12,
}
_PREFIX_WORDS = {
    "kilo": 3,
    "mega": 6,
    "giga": 9,
    "deci": -1,
    "centi": -2,
    "milli": -3,
    "micro": -6,
    "nano": -9,
}
_SI: list[tuple[str, str, str, str | int, str]] = [
    ("m", "kdcmμµn", "meter metre", 1, "m"),
    ("g", "kmμµn", "gram gramme", "1e-3", "kg"),
    ("s", "mμµnp", "second", 1, "s"),
    ("L", "dcmμµ", "liter litre", "1e-3", "m^3"),
    ("J", "kMGTm", "joule", 1, "kg m^2 s^-2"),
    ("W", "kMGTmμµn", "watt", 1, "kg m^2 s^-3"),
    ("N", "kMmμµn", "newton", 1, "kg m s^-2"),
    ("Pa", "kMG", "pascal", 1, "kg m^-1 s^-2"),
    ("Hz", "kMGT", "hertz", 1, "s^-1"),
    ("V", "kMmμµ", "volt", 1, "kg m^2 s^-3 A^-1"),
    ("A", "kmμµn", "ampere amp", 1, "A"),
    ("C", "mμµn", "coulomb", 1, "A s"),
    ("F", "mμµnp", "farad", 1, "kg^-1 m^-2 s^4 A^2"),
    ("H", "mμµn", "henry", 1, "kg m^2 s^-2 A^-2"),
    ("Ω", "kMm", "ohm", 1, "kg m^2 s^-3 A^-2"),
    ("eV", "kMGTm", "electronvolt", "1.602176634e-19", "kg m^2 s^-2"),
    ("K", "m", "kelvin", 1, "K"),
    ("mol", "mμµn", "mole", 1, "mol"),
    ("cal", "k", "calorie", "4.184", "kg m^2 s^-2"),
    ("pc", "kMG", "parsec", 1, "parsec"),
    ("bar", "m", "bar", 100_000, "kg m^-1 s^-2"),
    ("rad", "mμµ", "radian", 1, "angle"),
]
"""Symbol, its prefixes, names, and what it is of base units."""
_OTHERS: list[tuple[str, str | int, str]] = [
    ("l", "1e-3", "m^3"), ("mT", "1e-3", "tesla"), ("μT", "1e-6", "tesla"), ("nT", "1e-9", "tesla"),
    ("tesla teslas", 1, "tesla"), ("gauss", "1e-4", "tesla"), ("Å angstrom angstroms", "1e-10", "m"),
    ("micron microns", "1e-6", "m"), ("in inch inches", "0.0254", "m"), ("ft foot feet", "0.3048", "m"),
    ("yd yard yards", "0.9144", "m"), ("mi mile miles", "1609.344", "m"), ("mph", "0.44704", "m s^-1"),
    ("kph kmh", "5/18", "m s^-1"), ("knot knots", "463/900", "m s^-1"), ("ly lightyear lightyears", 1, "lightyear"),
    ("AU au", 1, "au"), ("acre acres", "4046.8564224", "m^2"), ("ha hectare hectares", 10_000, "m^2"),
    ("sec secs", 1, "s"), ("min mins minute minutes", 60, "s"), ("h hr hrs hour hours", 3600, "s"),
    ("d day days", 86_400, "s"), ("week weeks", 604_800, "s"), ("month months", 1, "month"),
    ("yr yrs year years", 12, "month"), ("decade decades", 120, "month"), ("century centuries", 1200, "month"),
    ("Kg KG kgs", 1, "kg"), ("gm gms", "1e-3", "kg"), ("tonne tonnes", 1000, "kg"), ("Km KM kms", 1000, "m"),
    ("CM cms", "0.01", "m"), ("lb lbs pound pounds", "0.45359237", "kg"), ("oz ounce ounces", "0.028349523125", "kg"),
    ("ton tons", 1, "ton"), ("gal gallon gallons", 16, "cup"), ("qt quart quarts", 4, "cup"),
    ("pt pint pints", 2, "cup"), ("cup cups", 1, "cup"), ("erg ergs", "1e-7", "kg m^2 s^-2"),
    ("dyn dyne dynes", "1e-5", "kg m s^-2"), ("atm atmosphere atmospheres", 101_325, "kg m^-1 s^-2"),
    ("$ USD usd dollar dollars buck bucks", 1, "dollar"), ("¢ cent cents", "1/100", "dollar"),
    ("€ EUR euro euros", 1, "euro"),
    ("£ GBP", 1, "sterling"), ("¥ ￥ yen yuan RMB CNY", 1, "yuan"), ("₹ rupee rupees", 1, "rupee"),
    ("unit units", 1, "unit"), ("% percent percentage pct", "1/100", "percent"), ("bit bits", 1, "bit"),
    ("byte bytes", 8, "bit"), ("kB KB", 8000, "bit"), ("MB", 8 * 10**6, "bit"), ("GB", 8 * 10**9, "bit"),
    ("元 块", 1, "yuan"), ("米", 1, "m"), ("厘米", "0.01", "m"), ("毫米", "1e-3", "m"), ("千米 公里", 1000, "m"),
    ("平方米", 1, "m^2"), ("平方厘米", "1e-4", "m^2"), ("立方米", 1, "m^3"),
    ("立方厘米", "1e-6", "m^3"),
    ("克", "1e-3", "kg"), ("千克 公斤", 1, "kg"), ("升", "1e-3", "m^3"),
    ("秒", 1, "s"), ("分钟", 60, "s"),
    ("小时", 3600, "s"), ("天", 86_400, "s"), ("年 岁", 12, "month"), ("度", "1/180", "angle"),
]  # fmt: skip
_CHINESE_COUNTERS = _words("个 人 只 本 支 条 张 件 页 名 位 棵 辆 箱 袋 瓶 次 种")
_RAISED = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_RAISED_AFTER = {"squared": 2, "cubed": 3}
_SCALES = {
    "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9,
    "trillion": 10**12, "dozen": 12,
    "lakh": 10**5, "crore": 10**7,
}  # fmt: skip


def _table() -> dict[str, Unit]:
    table: dict[str, Unit] = {}
    for symbol, prefixes, names, factor, dimensions in _SI:
        base = Unit(Fraction(factor), 0, _dimensions(dimensions))
        table[symbol] = base
        scaled = {prefix + symbol: _PREFIXES[prefix] for prefix in prefixes}
        for name in names.split():
            table |= {name: base, name + "s": base}
            scaled |= {
                prefix + name + s: power
                for prefix, power in _PREFIX_WORDS.items()
                for s in ("", "s")
            }
        table |= {
            name: base._replace(factor=base.factor * Fraction(10) ** power)
            for name, power in scaled.items()
        }
    for names, factor, dimensions in _OTHERS:
        unit = Unit(Fraction(factor), int(dimensions == "angle"), _dimensions(dimensions))
        table |= dict.fromkeys(names.split(), unit)
    degree = Unit(Fraction(1, 180), 1, _dimensions("angle"))
    table |= dict.fromkeys(("deg", "degree", "degrees"), degree)
    return table | {
        "°C": Unit(Fraction(1), 0, _dimensions("celsius")),
        "°F": Unit(Fraction(1), 0, _dimensions("°F")),
    }


_UNITS = _table()
_NO_UNIT = Unit(Fraction(1), 0, frozenset())
DEGREE = _UNITS["degree"]
PERCENT = _UNITS["percent"]
PERCENT_SIGN = PERCENT._replace(words=frozenset("%"))
"""The sign says no more than that the problem asks for percents; the word makes another number of
5."""

_BARE = _words("mm cm km kg ml mL ft lb hr yd mi kph kmh mph USD 元 块 °C °F")
"""Units of two letters that no formula has as a product, so that they need no ``\\text``; longer
ones need none."""

_COUNTED = _words(
    "people children men women mice feet geese teeth sheep fish deer dice data vertices indices matrices axes foci"
    " radii cacti series species"
)
"""Plurals without an s, and those that the rule below takes for none."""
_SINGULAR = _words(
    "way point solution value person number integer digit triangle square circle line root zero element set student"
    " child apple ball book card coin box game page step turn time"
)
_CHANGES = _words(
    # numbers, their parts and multiples
    "one two three four five six seven eight nine ten eleven twelve hundred thousand lakh lakhs lac lacs crore crores"
    " ones twos threes fours fives sixes sevens eights nines tens elevens twelves half halves third thirds quarter"
    " quarters fourth percent percentage mil mill mills mln bil tril dozen dozens score scores gross grosses pair pairs"
    " couple couples double doubles triple triples quadruple quadruples twice thrice single myriad myriads great"
    " brace braces trio trios quartet quartets googol googols ppm ppb permille mille bps"
    # operations, powers and functions
    " plus minus times divided multiplied over mod modulo modulus remainder remainders rem choose factorial factorials"
    " power powers squared cubed exponent exponents inverse reciprocal reciprocals root sqrt log logs sin sins cos tan"
    " cot sec csc exp base bases pis order orders magnitude magnitudes root radical radicals negative negatives"
    " opposite complement conjugate sum sums difference differences product products"
    # words without a meaning of their own
    " not never nor neither none nothing but except without excluding instead rather else otherwise unless until if"
    " when whenever where whereas while although though because since than then thus hence therefore however or and xor"
    " is isn't was wasn't are aren't were has have had does doesn't did be been being am a an the"
    " this that these those its his hers ours yours theirs as at by for from in into off on onto out to"
    " too towards up down upwards downwards"
    " forwards backwards inwards outwards afterwards besides always sometimes perhaps maybe yes versus via between"
    " among within with per about around circa some any every no about least most more less fewer above below beyond"
    " under short extra too almost nearly roughly"
    # verbs, and words that take an answer back
    " equals fails exceeds remains seems becomes contradicts differs misses lacks denies rejects works holds gives"
    " means makes divides rounds tends doubles halves guesses says thinks needs wants lies leaves excludes omits"
    " wrong false incorrect invalid void rejected refused wrongs errors mistakes guess approx"
)
"""What makes another number of the one before it, or takes it back, or is no noun."""
_CHANGING = re.compile(
    r".*(?:illion|teen|[nrvxfhge]ty|ieth|fth|xth|[nvdr]th|ghth|inth|hundred|thousand|lakh|crore)s?|.*ly|.*n't"
)
_MONTHS = frozenset(("months", "month"))
_TRAILING = _words("old long tall wide high deep total altogether remaining left")

_TOKEN = re.compile(
    r" *(?:(?P<word>°[CF]|[%$€£¥￥₹¢]|[A-Za-zÅΩμµ]+(?:'t)?|[一-鿿]+)\.?|(?P<power>\^ ?\{? ?[+-]?[0-9] ?\}?)|(?P<over>/)"
    r"|(?P<by>\*|-)|(?P<open>\()|(?P<close>\))) *"
)
_FRACTION = re.compile(
    r"\\frac ?\{((?:[^{}]|\\text\{[^{}]*\})*)\} ?\{((?:[^{}]|\\text\{[^{}]*\})*)\}"
)
_SPELLINGS = [
    (re.compile(r"\\text\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\^\\circ ?([CF])(?![A-Za-z])"), r" °\1 "),
    (re.compile(r"\\(?:cdot|times)(?![a-zA-Z])|·|⋅"), "*"),
    (re.compile(r"\\Omega(?![a-zA-Z])"), "Ω"),
    (re.compile(r"\\mu(?![a-zA-Z]) *"), "μ"),
    (re.compile(r"(?i)(?<![a-z])per +cent(?![a-z])"), "percent"),
]
_TAIL = re.compile(
    r"(?:\^\\circ ?|\\mu ?|(?:\\cdot|\\times|\*|-) ?(?=\\text|\\mu)|\\frac ?\{ ?)*\\text\{"
)
_SHORT_TAIL = re.compile(r"\^\\circ ?[CF]$|[€£¥￥₹¢元块]$")
_WORDS = re.compile(
    r"(?:(?<=[0-9)}])|(?<=[0-9)}] )|(?<=\\pi ))[A-Za-z一-鿿]{1,30}(?:(?: ?/ ?| )[A-Za-z]{1,30}){0,4}\.?"
    r"(?: ?\^ ?\{?[0-9]\}?)?$"
)
_PLAIN = re.compile(
    r"(?=[^0-9]*[0-9])(?:[-+0-9.,/{}() ^_*!]|\\(?:frac|sqrt|pi|cdot|times)(?![a-z]))*"
)
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)")
_GLUED = re.compile(r"[0-9]\\text\{[kKMBTGmb]\}$")
"""``7\\text{K}`` may be 7000 where ``7 \\text{ K}`` is a temperature."""
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
    if text[:1] in tuple("€£¥￥₹") and (unit := _UNITS.get(text[0])):
        value, other = quantity(text[1:])
        return (
            (value, unit) if other is None or other.dimensions == unit.dimensions else (text, None)
        )
    tail = _TAIL.search(text) or _SHORT_TAIL.search(text)
    bare = None if tail else _WORDS.search(text)
    found = tail or bare
    at = found.start() if found else 0
    value = text[:at].strip(" ")
    if not value or _GLUED.search(text):
        return text, None
    if bare and not _may_be_bare(text[at:], value, text[at - 1] == " "):
        return text, None
    read = _read(text[at:], value)
    if read is None:
        return text, None
    scale, unit = read
    return (value if scale == 1 else rf"({value})\cdot {scale}"), (
        None if unit == _NO_UNIT else unit
    )


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
    return rf"\cdot\frac{{{factor.numerator}}}{{{factor.denominator}}}" + (
        rf"\cdot\pi^{{{turns}}}" if turns else ""
    )


def _suffix(number: int) -> str:
    return "th" if number // 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


def _may_be_bare(tail: str, value: str, apart: bool) -> bool:
    """Whether letters without a ``\\text`` are words: a unit that is no product of letters, or
    words after a number."""
    words = re.findall(r"[^\W\d_]+", tail)
    if words[0] in _BARE or (
        len(words[0]) > 2 and (words[0].lower() in _UNITS or words[0].lower() in _RAISED)
    ):
        return True
    return words[0] in _CHINESE_COUNTERS or (
        apart and _PLAIN.fullmatch(value) is not None and min(map(len, words)) > 2
    )


def _read(tail: str, value: str) -> tuple[int, Unit] | None:
    """Scale and unit that the text behind ``value`` comes to; None where it is neither."""
    tail = _FRACTION.sub(r"\1/(\2)", tail)
    for pattern, spelling in _SPELLINGS:
        tail = pattern.sub(spelling, tail)
    tokens: list[tuple[str, str]] = []
    at = 0
    while at < len(tail.rstrip(" ")):
        match = _TOKEN.match(tail, at)
        if match is None or len(tokens) > 24:
            return None
        kind = str(match.lastgroup)  # every alternative is named
        tokens.append((kind, match[kind].strip(" ")))
        at = match.end()
    while tokens and tokens[0][0] == "by":
        tokens.pop(0)
    scale = 1
    while tokens and tokens[0][0] == "word" and tokens[0][1].lower() in _SCALES:
        scale *= _SCALES[tokens.pop(0)[1].lower()]
    if not tokens:
        return (scale, _NO_UNIT) if scale > 1 else None
    unit = _product(tokens, value if scale == 1 else "")
    return None if unit is None else (scale, unit)


def _product(tokens: list[tuple[str, str]], value: str) -> Unit | None:
    """The product of units and counted things, each of the power -1 behind a ``/`` or ``per``."""
    total, sign, inside, start = _NO_UNIT, 1, False, 0
    for i in range(len(tokens) + 1):
        kind, text = tokens[i] if i < len(tokens) else ("over", "")
        if kind == "over" or (kind == "word" and text.lower() == "per"):
            run = [token for token in tokens[start:i] if token[0] not in ("open", "close")]
            found = _physical(run) or _counted(run, "1" if sign < 0 else value)
            if found is None and (run or i == len(tokens)):
                return None
            if found is not None:
                total = _times(total, found, sign)
            sign, start, inside = -1, i + 1, False
        elif kind == "open":
            inside = True
        elif kind == "close" and not inside:
            return None
    return total


def _times(one: Unit, other: Unit, power: int) -> Unit:
    powers = dict(one.dimensions)
    for name, own in other.dimensions:
        powers[name] = powers.get(name, 0) + own * power
    dimensions = frozenset((name, own) for name, own in powers.items() if own)
    return Unit(
        one.factor * other.factor**power,
        one.turns + other.turns * power,
        dimensions,
        one.words | other.words,
    )


def _physical(run: list[tuple[str, str]]) -> Unit | None:
    """The product of units side by side, ``\\text{ kg m}^2``; None where a word is none."""
    total, raised, last = _NO_UNIT, 1, None
    for kind, text in run:
        if kind == "power" or (kind == "word" and last is not None and text in _RAISED_AFTER):
            power = _RAISED_AFTER.get(text) or int(re.sub(r"[^0-9-]", "", text))
            if last is None:
                return None
            total = _times(total, last, power - 1)
        elif kind == "word" and text.lower() in _RAISED:
            raised = _RAISED[text.lower()]
        elif kind == "word":
            unit = _UNITS.get(text) or (_UNITS.get(text.lower()) if len(text) > 2 else None)
            if unit is None:
                return None
            last = unit
            total, raised = _times(total, unit, raised), 1
    return total if last is not None and raised == 1 else None


def _counted(run: list[tuple[str, str]], value: str) -> Unit | None:
    """``red apples``, ``slices of pizza``, ``years old``; None where a word of them may change the
    number."""
    words = [text.lower() for kind, text in run if kind == "word"]
    if not words or len(words) != len(run) or len(words) > 5:
        return None
    if len(words) == 1 and words[0] in _CHINESE_COUNTERS:
        return _things(words)
    if len(words) > 1 and words[-1] in _TRAILING:
        return _physical(run[:-1]) or _counted(run[:-1], value)
    if words[:2] in (["ordered", "pairs"], ["ordered", "triples"]):
        return _things(words)
    head = words.index("of") - 1 if "of" in words else len(words) - 1
    others = [word for word in words if word != "of"]
    if head < 0 or any(len(word) < 3 or not word.isascii() for word in others):
        return None
    if any(
        word in _CHANGES or (_CHANGING.fullmatch(word) and word not in _MONTHS) for word in others
    ):
        return None
    noun = words[head]
    plural = noun in _COUNTED or (
        noun not in _UNITS
        and re.fullmatch(r"[a-z]{2,}[a-rt-z]s", noun)
        and noun[-2:] not in ("us", "is")
    )
    return _things(words) if plural or (value == "1" and noun in _SINGULAR) else None


def _things(words: list[str]) -> Unit:
    named = frozenset(re.sub(r"(?<=x|s|h)es$|s$", "", re.sub("ies$", "y", word)) for word in words)
    return Unit(Fraction(1), 0, frozenset((("things", 1),)), named)
