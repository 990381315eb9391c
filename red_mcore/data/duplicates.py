"""The same problem twice: in training once, and never in training and in what measures it.

Two problems are the same where their texts differ in nothing but capitals, white space, LaTeX's spaces (``\\\\,``,
``\\\\;``, ``~``, ``\\\\quad``, ...) and a full stop, question mark or colon at the end. A space between letters or digits
counts: ``1 1/2`` is not ``11/2``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from red_mcore.records import Problem
from red_mcore.rewards.answers import normal

_LATEX_SPACE = re.compile(r"(?<!\\)(?:\\(?:[,;:!> ]|q?quad(?![a-zA-Z]))|~)|\s")
_IDLE_SPACE = re.compile(r" +(?=\W)|(?<=[^\w.,]) +|(?<=[.,]) +(?=\D)")
_SPACES = re.compile(r" +")


class Note(NamedTuple):
    """Something about the data that a run should tell."""

    name: str
    """For records."""
    count: int
    line: str


def key(text: str) -> str:
    """The same for the same problem."""
    text = _LATEX_SPACE.sub(" ", unicodedata.normalize("NFC", text).casefold())
    return _IDLE_SPACE.sub("", _SPACES.sub(" ", text.strip())).rstrip(" .?:")


def split(problems: Sequence[Problem], held_out: int) -> tuple[list[Problem], list[Problem], list[Note]]:
    """(training, held-out) problems, in order, and what to tell of them.

    Held out are the last ``held_out`` different ones, or as many as there are. Training has none of them, whatever its
    gold, and of the same problem with the same gold the first; it gets the trace of a later one if it has none.
    """
    keys = [key(problem.text) for problem in problems]
    held: dict[str, Problem] = {}
    end = len(problems)
    while end and len(held) < held_out:
        end -= 1
        held.setdefault(keys[end], problems[end])
    repeats = {
        "held_out_repeats": len(problems) - end - len(held),
        "training_repeats": 0,
        "held_out_in_training": 0,
    }
    training: list[Problem] = []
    places: dict[str, list[int]] = {}
    for problem, its_key in zip(problems[:end], keys, strict=False):
        if its_key in held:
            repeats["held_out_in_training"] += 1
            continue
        there = places.setdefault(its_key, [])
        same = next((place for place in there if _same_gold(training[place], problem)), None)
        if same is None:
            there.append(len(training))
            training.append(problem)
        else:
            repeats["training_repeats"] += 1
            if training[same].trace is None:
                training[same] = replace(training[same], trace=problem.trace)
    lines = {
        "held_out_in_training": "left out {} training problems that are held out as well",
        "training_repeats": "left out {} training problems that are there before, with the same gold",
        "held_out_repeats": "left out {} held-out problems that are held out already",
    }
    notes = [Note(name, repeats[name], line.format(repeats[name])) for name, line in lines.items() if repeats[name]]
    return training, list(held.values())[::-1], [*notes, *_contradictions(problems, keys)]


def apart(problems: Iterable[Problem], others: Iterable[Problem]) -> list[Problem]:
    """Those of ``problems`` that are none of ``others``."""
    taken = {key(other.text) for other in others}
    return [problem for problem in problems if key(problem.text) not in taken] if taken else list(problems)


def _contradictions(problems: Sequence[Problem], keys: Sequence[str]) -> list[Note]:
    first: dict[str, Problem] = {}
    several: dict[str, tuple[Problem, Problem]] = {}
    for problem, its_key in zip(problems, keys, strict=True):
        before = first.setdefault(its_key, problem)
        if its_key not in several and not _same_gold(before, problem):
            several[its_key] = before, problem
    if not several:
        return []
    one, other = next(iter(several.values()))
    line = (
        f"{len(several)} problems have more than one gold; the first: {one.text[:60]!r} has {one.gold[:30]!r} and"
        f" {other.gold[:30]!r}"
    )
    return [Note("several_golds", len(several), line)]


def _same_gold(one: Problem, other: Problem) -> bool:
    return one.gold == other.gold or normal(one.gold) == normal(other.gold)
