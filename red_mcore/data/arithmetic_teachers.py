"""Four teachers of the built-in arithmetic, all of them right, as files of the project's schema: a
long and a short one, a large and a small one.

*short* states each step once. *long* re-checks its steps again and again, and repairs slips.
*large* does several operations in its head in one go, which a small student can hardly copy;
*small* spells them out, with a re-check now and then. They are rules, not models: what their traces
look like is known exactly, and there are as many as are wanted.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from red_mcore.config.recipe import Arithmetic
from red_mcore.data import arithmetic, schema
from red_mcore.data.schema import Entry
from red_mcore.samples.records import Problem, Trace

HABITS: dict[str, dict[str, Any]] = {
    "long": {"recheck": 0.6, "slip": 0.1, "leap": 0.0},
    "short": {"recheck": 0.0, "slip": 0.0, "leap": 0.0},
    "large": {"recheck": 0.0, "slip": 0.0, "leap": 0.7},
    "small": {"recheck": 0.1, "slip": 0.0, "leap": 0.0},
}
"""Chances of each teacher's habits, as ``data.arithmetic`` has them."""
WRONG = 0.1
"""Share of the answers of ``unscreened`` that are wrong."""
UNSCREENED, HELD_OUT_COUNT, SEED = 920, 512, 0
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


def unscreened() -> Iterator[dict[str, Any]]:
    """Rows for ``data.path``: 920 problems, each with one trace of the long teacher as it comes,
    right or wrong. The last step of a wrong one is wrong, and so is its answer."""
    drawn = arithmetic.make_problems(Arithmetic(), HELD_OUT_COUNT + UNSCREENED, SEED)
    for entry in entries(drawn[HELD_OUT_COUNT:], Arithmetic(), SEED):
        trace = next(t for t in entry.traces if t.source == "long")
        rng = random.Random(f"{SEED}/unscreened/{entry.problem}")
        if rng.random() < WRONG:
            wrong = str((int(entry.gold) + rng.randrange(1, arithmetic.BASE)) % arithmetic.BASE)
            end = f"={entry.gold}\\boxed{{{entry.gold}}}"
            text = trace.text.removesuffix(end) + end.replace(entry.gold, wrong)
            trace = replace(trace, text=text, verified=False)
        yield json.loads(schema.line(replace(entry, traces=(trace,))))


def held_out() -> Iterator[dict[str, Any]]:
    """Rows for ``data.held_out_path``: the held-out problems of the recipes of this task."""
    for problem in arithmetic.make_problems(Arithmetic(), HELD_OUT_COUNT, SEED):
        yield {"id": str(problem.id), "problem": problem.text, "gold": problem.gold}
