"""Every number of every section has bounds."""

import importlib
import math
import pkgutil
from dataclasses import dataclass, fields, is_dataclass, make_dataclass
from typing import Annotated, get_args, get_type_hints

import pytest

from red_mcore import algorithms
from red_mcore.algorithms.red import RED
from red_mcore.config import bounds, descriptions
from red_mcore.config.fields import (
    Bound,
    Count,
    Fraction,
    FractionAboveZero,
    FractionBelowOne,
    TemperatureOrGreedy,
    bound_of,
)
from red_mcore.config.recipe import Algorithm, Model, Recipe, RecipeError
from red_mcore.config.tree import section_in


def sections() -> list[type]:
    """All that a recipe may be made of, the algorithms among them."""
    for module in pkgutil.iter_modules(algorithms.__path__):
        importlib.import_module(f"{algorithms.__name__}.{module.name}")
    found, todo = [], [Recipe, *below(Algorithm)]
    while todo:
        section = todo.pop()
        if section not in found:
            found.append(section)
            todo += [
                part
                for hint in hints(section).values()
                for part in parts(hint)
                if is_dataclass(part)
            ]
    return found


def below(kind: type) -> list[type]:
    return [kind, *(sub for direct in kind.__subclasses__() for sub in below(direct))]


def hints(section: type) -> dict:
    types = get_type_hints(section)
    return {field.name: types[field.name] for field in fields(section)}


def parts(hint) -> list:
    return [
        hint,
        *(part for inner in get_args(hint) if not isinstance(inner, str) for part in parts(inner)),
    ]


SECTIONS = [section for section in sections() if section.__module__.startswith("red_mcore.")]
NUMBERS = [
    (s, name) for s in SECTIONS for name, hint in hints(s).items() if {int, float} & {*parts(hint)}
]


def test_sections_are_found():
    assert {s.__name__ for s in SECTIONS} >= {
        "Optimizer",
        "Protocol",
        "RED",
        "FadingRED",
        "Arithmetic",
        "Until",
    }


@dataclass
class Sharp(RED):
    """An algorithm as a user may write it."""

    sharpness: Annotated[float, Bound(0, 10, unit="nats")] = 0.5
    """How sharp it is."""
    rounds: Count | None = None
    """Times that it
    is sharpened."""
    weight_min: float = 0.5
    weight_max: Annotated[float, Bound(0, 3)] = 2.0


@pytest.mark.parametrize(
    ("section", "name"), NUMBERS, ids=[f"{s.__name__}.{name}" for s, name in NUMBERS]
)
def test_no_number_is_forgotten(section, name):
    bound = bound_of(section, name)
    assert bound is not None, f"{section.__name__}.{name} has no bounds in its type"
    assert math.isfinite(bound.least)
    assert math.isfinite(bound.most)
    for value in (math.nan, math.inf, -math.inf, 10**400, -(10**400)):
        assert bound.fault(value), f"{value} passes"


@pytest.mark.parametrize(
    ("kind", "value", "fault"),
    [
        (Count, 0, "is too small: use 1 or more"),
        (Count, 10**10, "is too large: use 1000000000 or less"),
        (FractionAboveZero, 0.0, "is too small: use a number above 0"),
        (FractionBelowOne, 1.0, "is too large: use a number below 1"),
        (TemperatureOrGreedy, 0.001, "is too small: use 0, or 0.01 or more (what vLLM samples at)"),
        (TemperatureOrGreedy, 0.0, None),
        (Fraction, math.nan, "is no finite number: use 0 or more, at most 1"),
    ],
)
def test_a_fault_says_what_to_use(kind, value, fault):
    (bound,) = kind.__metadata__
    assert bound.fault(value) == fault


def test_numbers_of_a_user_s_algorithm_are_finite_and_texts_are_text():
    @dataclass
    class Mine(Algorithm):
        sharpness: float = 1.0
        notes: str = ""

    def check(**settings) -> None:
        bounds.check_numbers(Recipe(name="x", model=Model(), algorithm=Mine(**settings)))

    check(sharpness=-1e300)
    with pytest.raises(RecipeError, match=r"algorithm\.sharpness=inf is no finite number"):
        check(sharpness=math.inf)
    with pytest.raises(RecipeError, match=r"algorithm\.notes='\\udcff' is no text"):
        check(notes="\udcff")
    with pytest.raises(RecipeError, match=r"algorithm\.notes='a\\x00' has a null byte"):
        check(notes="a\0")


def test_a_user_s_algorithm_says_its_own_bounds():
    def refusal(**settings) -> str:
        with pytest.raises(RecipeError) as error:
            bounds.check_numbers(Recipe(name="x", model=Model(), algorithm=Sharp(**settings)))
        return str(error.value)

    assert refusal(sharpness=11.0) == "algorithm.sharpness=11.0 is too large: use 10 or less"
    assert refusal(rounds=0) == "algorithm.rounds=0 is too small: use 1 or more"
    assert refusal(weight_min=-1.0) == "algorithm.weight_min=-1.0 is too small: use 0 or more"
    assert bound_of(Sharp, "weight_min") == bound_of(RED, "weight_min"), (
        "declared again for its default"
    )
    assert bound_of(Sharp, "weight_max").most == 3, "or for bounds of its own"
    assert bound_of(Sharp, "sharpness").unit == "nats"


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_field_says_what_it_means(section):
    said = descriptions.of_section(section)
    for name, hint in hints(section).items():
        if section_in(hint) is None:
            assert said.get(name, "").endswith("."), (
                f"{section.__name__}.{name} has no docstring that is a sentence"
            )


def test_what_has_no_source_describes_nothing():
    made = make_dataclass("Made", [("number", int)])
    assert descriptions.of_section(made) == {}
    assert descriptions.of_section(Sharp)["rounds"] == "Times that it is sharpened."
    assert (
        descriptions.of_section(Sharp)["weight_min"] == descriptions.of_section(RED)["weight_min"]
    )
