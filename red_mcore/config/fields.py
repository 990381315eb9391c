"""What a field of a recipe says of itself: bounds and unit of a number, what a text is, and whether
it may change when a run goes on.

All of it stands in the field's type, where an editor shows it too, and its default stays a plain
value::

    max_response_tokens: Tokens = 8192
    workers: MayChange[Processes] = 1
    sharpness: Annotated[float, Bound(0, 10, unit="nats")] = 1.0

A class that declares an inherited field again, for another default, keeps the bounds of its base
unless it gives its own. A number without bounds, as in a user's own algorithm, only has to be
finite.
"""

from __future__ import annotations

import inspect
import math
from functools import lru_cache
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_type_hints

T = TypeVar("T")


class Bound(NamedTuple):
    """Numbers from ``least`` to ``most``, both included unless said otherwise."""

    least: float
    most: float
    above: bool = False
    """``least`` itself is out."""
    below: bool = False
    """``most`` itself is out."""
    zero: bool = False
    """0 is allowed, too: it turns something off."""
    why: str = ""
    """What sets the limits, where it is not plain."""
    unit: str = ""
    """What the number counts, in the plural: ``tokens``, ``seconds``."""

    def holds(self, value: float) -> bool:
        """Whether ``value`` is within the bounds; NaN never is."""
        if self.zero and value == 0:
            return True
        is_cut = (self.above and value == self.least) or (self.below and value == self.most)
        return self.least <= value <= self.most and not is_cut

    def fault(self, value: float) -> str | None:
        """What is wrong with a value and what to use instead, in words that follow it."""
        if self.holds(value):
            return None
        lower, upper = f"{self.least:.10g} or more", f"{self.most:.10g} or less"
        if self.above:
            lower = f"a number above {self.least:g}"
        if self.below:
            upper = f"a number below {self.most:g}"
        if self.zero:
            lower, upper = f"0, or {lower}", f"0, or {upper}"
        if not abs(value) < math.inf:  # NaN is not, either
            fix = f"is no finite number: use {lower}, at most {self.most:.10g}"
        elif value <= self.least:
            fix = f"is too small: use {lower}"
        else:
            fix = f"is too large: use {upper}"
        if self.why:
            fix += f" ({self.why})"
        return fix


class Change(NamedTuple):
    """What a run that goes on in its folder may do to a field, or to a section with all its
    fields."""

    value: bool
    """Give it another value; otherwise a section may only be turned on or off."""


MayChange = Annotated[T, Change(value=True)]
"""A field that changes neither what is learnt nor how it is measured."""
MayBegin = Annotated[T, Change(value=False)]
"""A section that may be turned on and off, but not changed: what is measured before and after has
to compare."""


class Text(NamedTuple):
    """What a text is, or all texts of a section or mapping."""

    is_place: bool = False
    """It names a file or a folder."""
    is_prose: bool = False
    """It may have several lines."""


Place = Annotated[str, Text(is_place=True)]
Prose = Annotated[T, Text(is_prose=True)]

_MANY = 10**9
FINITE = Bound(-1.7e308, 1.7e308)
"""The bounds of a number that has none: a little less than a float's own."""

Count = Annotated[int, Bound(1, _MANY)]
Steps = Annotated[int, Bound(1, _MANY, unit="steps")]
StepsOrNone = Annotated[int, Bound(0, _MANY, unit="steps")]
Epochs = Annotated[float, Bound(0, 10**6, above=True, unit="epochs")]
Problems = Annotated[int, Bound(1, _MANY, unit="problems")]
Prompts = Annotated[int, Bound(1, 10**6, unit="prompts")]
Traces = Annotated[int, Bound(1, 10**6, unit="traces")]
Samples = Annotated[int, Bound(1, 10**5, unit="samples")]
Tokens = Annotated[int, Bound(1, 2**24, unit="tokens")]
Ranks = Annotated[int, Bound(1, 2**17, unit="ranks")]
Processes = Annotated[int, Bound(1, 1024, unit="processes")]
Seed = Annotated[int, Bound(0, 2**32 - 1, why="what numpy takes")]

Fraction = Annotated[float, Bound(0, 1)]
FractionBelowOne = Annotated[float, Bound(0, 1, below=True)]
FractionAboveZero = Annotated[float, Bound(0, 1, above=True)]
Weight = Annotated[float, Bound(0, 1e6)]
PositiveWeight = Annotated[float, Bound(0, 1e6, above=True)]
SignedWeight = Annotated[float, Bound(-1e6, 1e6)]
Norm = Annotated[float, Bound(0, 1e9)]
Temperature = Annotated[float, Bound(0.01, 2, why="what vLLM samples at")]
TemperatureOrGreedy = Annotated[float, Bound(0.01, 2, zero=True, why="what vLLM samples at")]


def bound_of(section: type, name: str) -> Bound | None:
    """The bounds of a section's field; None where it has none, as texts and a user's own settings
    may."""
    return _said(section, name, Bound)


def change_of(section: type, name: str) -> Change | None:
    """What a run that goes on may do to a section's field; None where it has to stay as it is."""
    return _said(section, name, Change)


def text_of(section: type, name: str) -> Text | None:
    """What the texts of a section's field are; None where nothing is said of them."""
    return _said(section, name, Text)


@lru_cache(maxsize=2048)
def _said(section: type, name: str, kind: type[T]) -> T | None:
    """What a field's type says in a ``kind``; else what the field of a base class says that it
    stands in the place of."""
    for declares in section.__mro__:
        if name in inspect.get_annotations(declares):
            hint = get_type_hints(declares, include_extras=True)[name]
            if (found := _first(hint, kind)) is not None:
                return found
    return None


def _first(hint: Any, kind: type[T]) -> T | None:
    """The first ``kind`` in a type, or in the types that it is made of."""
    # The outer ones first: what ``MayChange`` says of a section holds before what its fields say.
    for said in getattr(hint, "__metadata__", ()):
        if isinstance(said, kind):
            return said
    for inner in get_args(hint):
        if (found := _first(inner, kind)) is not None:
            return found
    return None
