"""The built-in verifiable task: chains of one-digit operations modulo 10, worked from left to
right.

A problem is ``9a*8b@4c-3d-2e@6?``: a start digit, then labelled operations, where ``x@y = 3x + y*y
+ 1``. Two styles of answer exist. The *short* one is the base corpus; it states each step once and
believes some wrong facts::

    a9*8=2b2@4=3c3-3=0d0-2=8e8@6=1\\boxed{1}

The *teacher* is always right but wordier than the base model knows: ``w`` re-checks a step, slips
are repaired at once, and now and then two operations are done in one go (``c3-3-2=8``), which a
small student can hardly copy::

    a9*8=2w9*8=2b2@4=3w2@4=3c3-3-2=8e8@6=1\\boxed{1}

The base model is unsure about ``*`` and ``@``: part of their tables holds a *misconception*, a
wrong value with most of the probability, so that sampling finds the right answer rarely and greedy
decoding never. Standard library only.
"""

from __future__ import annotations

import random
import re
from functools import lru_cache

from red_mcore.config.recipe import Arithmetic, RecipeError
from red_mcore.samples.records import Problem

BASE = 10
OPERATIONS = {
    "+": lambda a, b: (a + b) % BASE,
    "-": lambda a, b: (a - b) % BASE,
    "*": lambda a, b: (a * b) % BASE,
    "@": lambda a, b: (3 * a + b * b + 1) % BASE,
}
LABELS = "abcdefghijklmnopqrstuv"
"""One label per operation; ``w`` is the re-check mark and ends the row."""
KNOWN = {"*": 0.6, "@": 0.2}
"""Share of each table that the base corpus gets right."""
FACT_CONFIDENCE = 0.95
MISCONCEPTION_CONFIDENCE = 0.9
RIGHT_DESPITE = {"*": 0.2, "@": 0.04}
"""Probability of the right value where a misconception rules, which has so much less."""
MOST_PROBLEMS = 2_000_000
"""A minute or two of drawing, and gigabytes."""
CORPUS_RECHECK = 0.02
"""Share of corpus steps that are re-checked, so that the base model has seen ``w``."""
CLOSING_TOKENS = 4
"""``\\boxed{``, the digit, ``}`` and the end-of-sequence token."""

_STEP = re.compile(r"[a-v]([-+*@])(\d)")
"""An operation in the text of a problem."""

Chain = tuple[int, list[tuple[str, int]]]
"""Start digit and the operations (symbol, right operand)."""


def check(settings: Arithmetic) -> None:
    """RecipeError where the settings cannot be drawn from."""
    if not 1 <= settings.operations <= len(LABELS):
        raise RecipeError(
            f"data.arithmetic.operations={settings.operations}: want 1 to {len(LABELS)}"
        )
    # A teacher that re-checks almost for ever never fits into trace_limit, and would be drawn again
    # without end.
    for name, most in (("recheck", 0.8), ("slip", 1.0), ("leap", 1.0)):
        if not 0.0 <= getattr(settings, name) <= most:
            raise RecipeError(f"data.arithmetic.{name}={getattr(settings, name)}: want 0 to {most}")


def possible_problems(settings: Arithmetic) -> int:
    """Number of different problem texts."""
    return BASE * (len(OPERATIONS) * BASE) ** settings.operations


def check_count(settings: Arithmetic, count: int) -> None:
    """RecipeError where ``count`` different problems cannot be drawn."""
    if count > MOST_PROBLEMS:
        raise RecipeError(
            f"data: {count} problems asked for (data.problems and data.held_out) of the built-in"
            f" arithmetic, drawn one by one: use at most {MOST_PROBLEMS} in all"
        )
    # Different ones are drawn until there are enough, which takes ever longer near the end.
    if 2 * count > possible_problems(settings):
        raise RecipeError(
            f"data: {count} problems asked for, but"
            f" data.arithmetic.operations={settings.operations} has only"
            f" {possible_problems(settings)}: ask for at most half of them, or raise operations"
        )


def trace_limit(settings: Arithmetic) -> int:
    """The most built-in tokens of a teacher trace, its end-of-sequence token included."""
    return 16 * settings.operations


def make_problems(settings: Arithmetic, count: int, seed: int) -> list[Problem]:
    """``count`` different problems, each with its digit as gold and one fixed teacher trace; ids
    count from 0.

    Raises RecipeError for settings out of range, or where fewer than twice ``count`` different
    problems exist.
    """
    check(settings)
    check_count(settings, count)
    rng = random.Random(seed)
    problems: dict[str, Problem] = {}
    while len(problems) < count:
        chain = _chain(rng, settings.operations)
        text = _text(chain)
        if text not in problems:
            gold, trace = str(_value(chain)), _teacher(chain, settings, rng)
            problems[text] = Problem(id=len(problems), text=text, gold=gold, trace=trace)
    return list(problems.values())


def another_trace(problem: str, settings: Arithmetic, rng: random.Random) -> str:
    """A trace of a teacher of these habits (``recheck``, ``slip``, ``leap``) for the text of a
    problem that ``make_problems`` drew; always right."""
    steps = [(symbol, int(operand)) for symbol, operand in _STEP.findall(problem)]
    return _teacher((int(problem[0]), steps), settings, rng)


def corpus(settings: Arithmetic, rng: random.Random) -> tuple[str, str]:
    """One (problem text, short response) of the base corpus, of 1 to ``operations`` operations,
    beliefs and all.

    The full length is drawn twice as often as the others: to copy operands from the prompt a small
    model needs many long ones, and while it cannot, its answers are noise that no algorithm learns
    from.
    """
    most = settings.operations
    start, steps = _chain(rng, rng.choice([*range(1, most + 1), most]))
    table = _beliefs(settings.world)
    value, text = start, ""
    for position, (symbol, operand) in enumerate(steps):
        expression = f"{value}{symbol}{operand}"
        value = _believed(table, symbol, value, operand, rng)
        text += f"{LABELS[position]}{expression}={value}"
        if rng.random() < CORPUS_RECHECK:
            text += f"w{expression}={value}"
    return _text((start, steps)), text + _closing(value)


def _chain(rng: random.Random, length: int) -> Chain:
    symbols = list(OPERATIONS)
    return rng.randrange(BASE), [(rng.choice(symbols), rng.randrange(BASE)) for _ in range(length)]


def _text(chain: Chain) -> str:
    start, steps = chain
    text = str(start)
    for position, (symbol, operand) in enumerate(steps):
        text += f"{LABELS[position]}{symbol}{operand}"
    return text + "?"


def _value(chain: Chain) -> int:
    value, steps = chain
    for symbol, operand in steps:
        value = OPERATIONS[symbol](value, operand)
    return value


def _closing(value: int) -> str:
    return f"\\boxed{{{value}}}"


def _teacher(chain: Chain, settings: Arithmetic, rng: random.Random) -> str:
    """A right and wordy solution of at most ``trace_limit`` tokens; longer draws are dropped."""
    while True:
        body, value = _teacher_steps(chain, settings, rng)
        if len(body) + CLOSING_TOKENS <= trace_limit(settings):
            return body + _closing(value)


def _teacher_steps(chain: Chain, settings: Arithmetic, rng: random.Random) -> tuple[str, int]:
    value, steps = chain
    text, position = "", 0
    while position < len(steps):
        leaps = position + 1 < len(steps) and rng.random() < settings.leap
        taken = steps[position : position + 1 + leaps]
        expression = str(value)
        for symbol, operand in taken:
            expression += f"{symbol}{operand}"
        value = _value((value, taken))
        text += LABELS[position]
        if rng.random() < settings.slip:
            wrong = _another(value, rng)
            text += f"{expression}={wrong}w"
        text += f"{expression}={value}"
        while rng.random() < settings.recheck:
            text += f"w{expression}={value}"
        position += len(taken)
    return text, value


def _another(digit: int, rng: random.Random) -> int:
    return rng.choice([other for other in range(BASE) if other != digit])


@lru_cache(maxsize=8)
def _beliefs(world: int) -> dict[tuple[str, int, int], list[tuple[int, float]]]:
    """The (value, probability) pairs that this world's corpus holds for ``a * b`` and ``a @ b``."""
    rng = random.Random(1000 + world)
    table = {}
    for symbol, known in KNOWN.items():
        for a in range(BASE):
            for b in range(BASE):
                right = OPERATIONS[symbol](a, b)
                if rng.random() < known:
                    table[symbol, a, b] = [(right, FACT_CONFIDENCE)]
                else:
                    wrong = _another(right, rng)
                    chance = RIGHT_DESPITE[symbol]
                    table[symbol, a, b] = [
                        (wrong, MISCONCEPTION_CONFIDENCE - chance),
                        (right, chance),
                    ]
    return table


def _believed(table: dict, symbol: str, a: int, b: int, rng: random.Random) -> int:
    """What the corpus writes for ``a symbol b``; what the beliefs leave over is any digit."""
    if (symbol, a, b) not in table:
        return OPERATIONS[symbol](a, b)
    draw = rng.random()
    for value, probability in table[symbol, a, b]:
        if draw < probability:
            return value
        draw -= probability
    return rng.randrange(BASE)
