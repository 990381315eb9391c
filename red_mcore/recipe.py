"""What a recipe file imports: the sections of a recipe, and what an algorithm of your own may say
of its settings (``config/fields.py``). The algorithms are in ``red_mcore.algorithms``."""

from red_mcore.config import recipe as sections
from red_mcore.config.fields import (
    Bound,
    Count,
    Fraction,
    FractionAboveZero,
    FractionBelowOne,
    MayChange,
    PositiveWeight,
    Prompts,
    Samples,
    SignedWeight,
    Steps,
    StepsOrNone,
    Tokens,
    Weight,
)
from red_mcore.config.recipe import *  # noqa: F403

__all__ = [
    "Bound",
    "Count",
    "Fraction",
    "FractionAboveZero",
    "FractionBelowOne",
    "MayChange",
    "PositiveWeight",
    "Prompts",
    "Samples",
    "SignedWeight",
    "Steps",
    "StepsOrNone",
    "Tokens",
    "Weight",
]
__all__ += sections.__all__
