"""The papers' ways of evaluating, by name; each is a plain ``Protocol`` that a recipe or an
override may change.

=======  ==========================================================================================
default  temperature 0.6, 32 samples of the small competitions and 4 of all else
red      RED (arXiv 2508.16677), released code: greedy, 5096 tokens, Qwen's boxed prompt
luffy    LUFFY (2504.14945) and SRFT, ReLIFT after it: temperature 0.6, 32 samples of the small
         competitions and one of all else, the response begun inside ``<think>``
mix      Mix Distillation (2502.12143): greedy, 16k tokens
=======  ==========================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields

from red_mcore.config.fields import bound_of
from red_mcore.config.recipe import Protocol, RecipeError


def default() -> Protocol:
    return Protocol()


def red() -> Protocol:
    system = "You are a helpful assistant."
    return Protocol(
        system_prompt=system, temperature=0.0, samples=1, competition_samples=None, max_tokens=5096
    )


def luffy() -> Protocol:
    """The system turn that asks for thinking comes with the models' own chat template."""
    return Protocol(instruction="", opening="<think>\n", samples=1)


def mix() -> Protocol:
    return Protocol(temperature=0.0, samples=1, competition_samples=None, max_tokens=16384)


_NAMED: dict[str, Callable[[], Protocol]] = {f.__name__: f for f in (default, red, luffy, mix)}
NAMES = tuple(_NAMED)


def protocol(name: str) -> Protocol:
    """The protocol of that name. RecipeError where there is none."""
    if name not in _NAMED:
        raise RecipeError(
            f"--protocol {name} is unknown: use {', '.join(NAMES)}, and change fields with a=b"
        )
    return _NAMED[name]()


def check(protocol: Protocol, names: Sequence[str], where: str) -> None:
    """RecipeError, naming the field and ``where`` it is set, for what cannot be; ``names`` are the
    benchmarks asked."""
    for field in fields(Protocol):
        bound, value = bound_of(Protocol, field.name), getattr(protocol, field.name)
        if bound is not None and value is not None and (fault := bound.fault(value)):
            raise RecipeError(f"{field.name}={value} of the protocol {fault} ({where})")
    most = max(map(protocol.samples_for, names), default=protocol.samples)
    if protocol.temperature == 0 and most > 1:
        raise RecipeError(
            f"temperature=0 of the protocol gives {most} equal samples: use samples=1"
            f" competition_samples=null, or a temperature above 0 ({where})"
        )
