"""The units that a grader knows, by their names and symbols."""

from __future__ import annotations

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


def _dimensions(text: str) -> Dimensions:
    pairs = (part.partition("^") for part in text.split())
    return frozenset((name, int(power or 1)) for name, _, power in pairs)


_PREFIXES = {
    "T": 12, "G": 9, "M": 6, "k": 3, "d": -1, "c": -2, "m": -3, "μ": -6, "µ": -6, "n": -9, "p": -12,
}  # fmt: skip
_PREFIX_WORDS = {
    "": 0, "kilo": 3, "mega": 6, "giga": 9, "deci": -1, "centi": -2, "milli": -3, "micro": -6,
    "nano": -9,
}  # fmt: skip
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
    ("tesla teslas", 1, "tesla"), ("gauss", "1e-4", "tesla"),
    ("Å angstrom angstroms", "1e-10", "m"), ("micron microns", "1e-6", "m"),
    ("in inch inches", "0.0254", "m"), ("ft foot feet", "0.3048", "m"),
    ("yd yard yards", "0.9144", "m"), ("mi mile miles", "1609.344", "m"),
    ("mph", "0.44704", "m s^-1"), ("kph kmh", "5/18", "m s^-1"),
    ("knot knots", "463/900", "m s^-1"), ("ly lightyear lightyears", 1, "lightyear"),
    ("AU au", 1, "au"), ("acre acres", "4046.8564224", "m^2"),
    ("ha hectare hectares", 10_000, "m^2"), ("sec secs", 1, "s"),
    ("min mins minute minutes", 60, "s"), ("h hr hrs hour hours", 3600, "s"),
    ("d day days", 86_400, "s"), ("week weeks", 604_800, "s"), ("month months", 1, "month"),
    ("yr yrs year years", 12, "month"), ("decade decades", 120, "month"),
    ("century centuries", 1200, "month"), ("Kg KG kgs", 1, "kg"), ("gm gms", "1e-3", "kg"),
    ("tonne tonnes", 1000, "kg"), ("Km KM kms", 1000, "m"), ("CM cms", "0.01", "m"),
    ("lb lbs pound pounds", "0.45359237", "kg"), ("oz ounce ounces", "0.028349523125", "kg"),
    ("ton tons", 1, "ton"), ("gal gallon gallons", 16, "cup"), ("qt quart quarts", 4, "cup"),
    ("pt pint pints", 2, "cup"), ("cup cups", 1, "cup"), ("erg ergs", "1e-7", "kg m^2 s^-2"),
    ("dyn dyne dynes", "1e-5", "kg m s^-2"),
    ("atm atmosphere atmospheres", 101_325, "kg m^-1 s^-2"),
    ("$ USD usd dollar dollars buck bucks", 1, "dollar"), ("¢ cent cents", "1/100", "dollar"),
    ("€ EUR euro euros", 1, "euro"), ("£ GBP", 1, "sterling"), ("¥ ￥ yen yuan RMB CNY", 1, "yuan"),
    ("₹ rupee rupees", 1, "rupee"), ("unit units", 1, "unit"),
    ("% percent percentage pct", "1/100", "percent"), ("bit bits", 1, "bit"),
    ("byte bytes", 8, "bit"), ("kB KB", 8000, "bit"), ("MB", 8 * 10**6, "bit"),
    ("GB", 8 * 10**9, "bit"), ("元 块", 1, "yuan"), ("米", 1, "m"), ("厘米", "0.01", "m"),
    ("毫米", "1e-3", "m"), ("千米 公里", 1000, "m"), ("平方米", 1, "m^2"),
    ("平方厘米", "1e-4", "m^2"), ("立方米", 1, "m^3"), ("立方厘米", "1e-6", "m^3"),
    ("克", "1e-3", "kg"), ("千克 公斤", 1, "kg"), ("升", "1e-3", "m^3"), ("秒", 1, "s"),
    ("分钟", 60, "s"), ("小时", 3600, "s"), ("天", 86_400, "s"), ("年 岁", 12, "month"),
    ("度", "1/180", "angle"),
]  # fmt: skip
"""Names, and what they are of base units."""
RAISED = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
RAISED_AFTER = {"squared": 2, "cubed": 3}
SCALES = {
    "dozen": 12, "hundred": 100, "thousand": 10**3, "lakh": 10**5, "million": 10**6, "crore": 10**7,
    "billion": 10**9, "trillion": 10**12,
}  # fmt: skip


def _table() -> dict[str, Unit]:
    degree = Unit(Fraction(1, 180), 1, _dimensions("angle"))
    table = dict.fromkeys(("deg", "degree", "degrees"), degree)
    # Temperatures on these scales are no multiples of one another.
    table["°C"] = Unit(Fraction(1), 0, _dimensions("celsius"))
    table["°F"] = Unit(Fraction(1), 0, _dimensions("°F"))
    for symbol, prefixes, names, factor, dimensions in _SI:
        base = Unit(Fraction(factor), 0, _dimensions(dimensions))
        powers = {"": 0} | {prefix: _PREFIXES[prefix] for prefix in prefixes}
        _add_scaled(table, symbol, base, powers)
        for name in names.split():
            _add_scaled(table, name, base, _PREFIX_WORDS)
            _add_scaled(table, name + "s", base, _PREFIX_WORDS)
    for names, factor, dimensions in _OTHERS:
        unit = Unit(Fraction(factor), int(dimensions == "angle"), _dimensions(dimensions))
        table |= dict.fromkeys(names.split(), unit)
    return table


def _add_scaled(table: dict[str, Unit], name: str, base: Unit, powers: dict[str, int]) -> None:
    """Add the unit under each prefix of ``powers``, which say by what power of ten it scales."""
    for prefix, power in powers.items():
        table[prefix + name] = base._replace(factor=base.factor * Fraction(10) ** power)


UNITS = _table()
NO_UNIT = Unit(Fraction(1), 0, frozenset())
DEGREE = UNITS["degree"]
PERCENT = UNITS["percent"]
PERCENT_SIGN = PERCENT._replace(words=frozenset("%"))
"""The sign only says what the problem asks for; the word makes another number of 5."""
