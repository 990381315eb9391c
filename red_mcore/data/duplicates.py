"""The same problem twice: in training once, and never in training and in what measures it.

Two problems are the same where their texts differ in nothing but capitals, white space, LaTeX's
spaces (``\\,``, ``\\;``, ``~``, ``\\quad``, ...) and a full stop, question mark or colon at the
end. A space between letters or digits counts: ``1 1/2`` is not ``11/2``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from red_mcore.rewards.answers import normal
from red_mcore.samples.records import Problem

_LATEX_SPACE = re.compile(r"(?<!\\)(?:\\(?:[,;:!> ]|q?quad(?![a-zA-Z]))|~)")
_IDLE_SPACE = re.compile(r" (?:(?=\W)|(?<=[^\w.,] )|(?<=[.,] )(?=\D))")

_HELD_OUT_ALREADY = "left out {} held-out problems that are held out already"
_HELD_OUT_AS_WELL = "left out {} training problems that are held out as well"
_THERE_BEFORE = "left out {} training problems that are there before, with the same gold"


class Note(NamedTuple):
    """Something about the data that a run should tell."""

    name: str
    """What records call it."""
    count: int  # type: ignore[assignment]  # which hides the method of tuples
    line: str


def key(text: str) -> str:
    """The same for the same problem."""
    # A letter with an accent may be one character or two.
    text = unicodedata.normalize("NFC", text).casefold()
    return _IDLE_SPACE.sub("", " ".join(_LATEX_SPACE.sub(" ", text).split())).rstrip(" .?:")


def split(
    problems: Sequence[Problem], held_out: int, order: Iterable[int] | None = None
) -> tuple[list[Problem], list[Problem], list[Note]]:
    """(training, held-out) problems, in order, and what to tell of them.

    Held out are the last ``held_out`` different ones, or as many as there are; or the first in the
    ``order`` of places that is given. Training has none of them, whatever its gold, and of the same
    problem with the same gold the first; it gets the trace of a later one if it has none.
    """
    keys = [key(problem.text) for problem in problems]
    held: dict[str, Problem] = {}
    walked: set[int] = set()
    for place in reversed(range(len(problems))) if order is None else order:
        if len(held) >= held_out:
            break
        walked.add(place)
        held.setdefault(keys[place], problems[place])
    rest = [place for place in range(len(problems)) if place not in walked]
    training, notes = _without(held, problems, keys, rest)
    notes += _told("held_out_repeats", len(walked) - len(held), _HELD_OUT_ALREADY)
    return training, list(held.values())[::-1], notes + _contradictions(problems, keys)


def split_from(
    problems: Sequence[Problem], own: Sequence[Problem], held_out: int
) -> tuple[list[Problem], list[Problem], list[Note]]:
    """The same as ``split``, where the held-out problems are the first ``held_out`` different ones
    of ``own``.

    Training has none of ``own``, used or not.
    """
    held: dict[str, Problem] = {}
    for problem in own:
        held.setdefault(key(problem.text), problem)
    keys = [key(problem.text) for problem in problems]
    training, notes = _without(held, problems, keys, range(len(problems)))
    notes += _told("held_out_repeats", len(own) - len(held), _HELD_OUT_ALREADY)
    used = list(held.values())[:held_out]
    line = (
        f"{len(used)} of {len(held)} held-out problems are used, the first"
        f" (data.held_out={held_out})"
    )
    notes += _told("held_out_unused", len(held) - len(used), line)
    return training, used, notes + _contradictions(problems, keys)


def _without(
    held: Collection[str], problems: Sequence[Problem], keys: Sequence[str], places: Iterable[int]
) -> tuple[list[Problem], list[Note]]:
    """The different problems at ``places`` that are not ``held``, and notes on the others."""
    in_training = repeats = 0
    training: list[Problem] = []
    known: dict[str, list[int]] = {}  # places in training; one for each gold
    for place in places:
        if keys[place] in held:
            in_training += 1
            continue
        problem, others = problems[place], known.setdefault(keys[place], [])
        same = next((other for other in others if _same_gold(training[other], problem)), None)
        if same is None:
            others.append(len(training))
            training.append(problem)
        else:
            repeats += 1
            if training[same].trace is None:
                training[same] = replace(training[same], trace=problem.trace, traces=problem.traces)
    return training, [
        *_told("held_out_in_training", in_training, _HELD_OUT_AS_WELL),
        *_told("training_repeats", repeats, _THERE_BEFORE),
    ]


def _told(name: str, count: int, line: str) -> list[Note]:
    return [Note(name, count, line.format(count))] if count else []


def apart(problems: Iterable[Problem], others: Iterable[Problem]) -> list[Problem]:
    """The ``problems`` that are none of ``others``."""
    taken = {key(other.text) for other in others}
    if not taken:  # a key costs more than a look
        return list(problems)
    return [problem for problem in problems if key(problem.text) not in taken]


def _contradictions(problems: Sequence[Problem], keys: Sequence[str]) -> list[Note]:
    first: dict[str, Problem] = {}
    several: dict[str, tuple[Problem, Problem]] = {}
    for place, problem in enumerate(problems):
        before = first.setdefault(keys[place], problem)
        if keys[place] not in several and not _same_gold(before, problem):
            several[keys[place]] = before, problem
    if not several:
        return []
    one, other = next(iter(several.values()))
    line = (
        f"{len(several)} problems have more than one gold; the first: {one.text[:60]!r} has"
        f" {one.gold[:30]!r} and {other.gold[:30]!r}"
    )
    return [Note("several_golds", len(several), line)]


def _same_gold(one: Problem, other: Problem) -> bool:
    return one.gold == other.gold or normal(one.gold) == normal(other.gold)
