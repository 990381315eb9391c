"""Four teachers of the built-in arithmetic, all of them right, as files of the project's schema: a
long and a short one, a large and a small one.

*short* states each step once. *long* re-checks its steps again and again, and repairs slips.
*large* does several operations in its head in one go, which a small student can hardly copy;
*small* spells them out, with a re-check now and then. They are rules, not models: what their traces
look like is known exactly, and there are as many as are wanted.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from red_mcore.config.recipe import Arithmetic
from red_mcore.data import arithmetic, schema
from red_mcore.data.schema import Entry
from red_mcore.samples.records import Problem, Trace

HABITS = {
    "long": {"recheck": 0.6, "slip": 0.1, "leap": 0.0},
    "short": {"recheck": 0.0, "slip": 0.0, "leap": 0.0},
    "large": {"recheck": 0.0, "slip": 0.0, "leap": 0.7},
    "small": {"recheck": 0.1, "slip": 0.0, "leap": 0.0},
}
"""Chances of each teacher's habits, as ``data.arithmetic`` has them."""
TRAINING, HELD_OUT = "problems.jsonl", "held_out.jsonl"


def entries(problems: list[Problem], settings: Arithmetic, seed: int) -> list[Entry]:
    """The problems, each with one trace of every teacher; a trace depends on teacher, problem and
    ``seed`` alone."""
    found = []
    for problem in problems:
        traces = []
        for name, habits in HABITS.items():
            rng = random.Random(f"{seed}/{name}/{problem.text}")
            text = arithmetic.another_trace(problem.text, replace(settings, **habits), rng)
            traces.append(Trace(text, name, verified=True, finish_reason="stop"))
        about = {"origin": "arithmetic"}
        found.append(Entry(str(problem.id), problem.text, problem.gold, tuple(traces), about))
    return found


def write(folder: Path, count: int, held_out: int, settings: Arithmetic, seed: int) -> None:
    """Write ``count`` training problems with their traces, and ``held_out`` others without: those
    that a recipe of the built-in arithmetic with the same numbers has.

    RecipeError as in ``arithmetic.make_problems``.
    """
    drawn = arithmetic.make_problems(settings, held_out + count, seed)
    folder.mkdir(parents=True, exist_ok=True)
    schema.write(folder / TRAINING, entries(drawn[held_out:], settings, seed))
    without = (Entry(str(p.id), p.text, p.gold) for p in drawn[:held_out])
    schema.write(folder / HELD_OUT, without)
