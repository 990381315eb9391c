"""Mix Distillation (arXiv 2502.12143): of two teachers' traces one for each problem, a fixed share
of them by the teacher that is hard to copy (long, or of a large model)."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from red_mcore.config.recipe import RecipeError
from red_mcore.data.duplicates import key
from red_mcore.data.schema import Entry
from red_mcore.samples.records import Trace

WEIGHT = 0.2
"""The best on the paper's sweep, for a student of 3B parameters."""
META = "mix"
"""The key of ``meta`` that says what the row's mix was."""


class Mix(NamedTuple):
    """A mixed set."""

    entries: list[Entry]
    """One trace each, in the order of the problems."""
    counts: dict[str, int]
    """Problems, by the teacher whose trace they have."""
    without_both: int
    """Problems that lack a trace of one of the two, and are left out."""


def share(count: int, weight: float) -> int:
    """How many of ``count`` problems get the trace of the weighted teacher: the nearest number,
    halves upwards."""
    return int(count * weight + 0.5)


def joined(sets: Iterable[Iterable[Entry]]) -> list[Entry]:
    """The problems of several sets, each once, with the traces of all, in the order in which they
    come first. Problems are the same where their texts are, but for spaces.

    RecipeError where two sets have different golds for a problem.
    """
    found: dict[str, Entry] = {}
    for entries in sets:
        for entry in entries:
            name = key(entry.problem)
            known = found.get(name)
            if known is None:
                found[name] = entry
                continue
            if known.gold != entry.gold:
                raise RecipeError(
                    f"problem {entry.id} has the gold '{entry.gold}' in one file and"
                    f" '{known.gold}' in another: make them equal"
                )
            found[name] = replace(known, traces=known.traces + entry.traces)
    return list(found.values())


def mix(
    entries: Sequence[Entry], minor: str, major: str, *, weight: float = WEIGHT, seed: int = 0
) -> Mix:
    """Draw one trace for each problem that has one of both teachers: ``minor``'s for exactly
    ``share(N, weight)`` of the N, ``major``'s for the others.

    Who gets which follows from seed and problem alone, not from the order of the rows. Of a
    teacher's traces the first counts that is not known to be wrong or cut. RecipeError for a weight
    beyond 0 and 1, and teachers that no trace names.
    """
    if not 0 <= weight <= 1:
        raise RecipeError(f"--weight {weight:g}: use 0 to 1")
    if minor == major:
        raise RecipeError(f"--minor and --major are both {minor}: name two teachers")
    _check_known(entries, (minor, major))
    pairs: list[tuple[Entry, Trace, Trace]] = []
    for entry in entries:
        one, other = _usable(entry, minor), _usable(entry, major)
        if one is not None and other is not None:
            pairs.append((entry, one, other))
    lots = sorted(range(len(pairs)), key=lambda place: _lot(pairs[place][0], seed))
    drawn = set(lots[: share(len(pairs), weight)])
    about = {"minor": minor, "major": major, "weight": weight, "seed": seed}
    mixed = []
    for place, (entry, one, other) in enumerate(pairs):
        trace = one if place in drawn else other
        mixed.append(replace(entry, traces=(trace,), meta=entry.meta | {META: about}))
    counts = {minor: len(drawn), major: len(pairs) - len(drawn)}
    return Mix(mixed, counts, len(entries) - len(pairs))


def _usable(entry: Entry, source: str) -> Trace | None:
    for trace in entry.traces:
        is_bad = trace.verified is False or trace.finish_reason == "length"
        if trace.source == source and trace.text and not is_bad:
            return trace
    return None


def _lot(entry: Entry, seed: int) -> str:
    """What orders the problems by chance, the same on every machine."""
    return hashlib.sha256(f"{seed}\0{key(entry.problem)}".encode()).hexdigest()


def _check_known(entries: Sequence[Entry], teachers: Sequence[str]) -> None:
    known: Counter[str] = Counter()
    for entry in entries:
        known.update(trace.source for trace in entry.traces if trace.source is not None)
    for name in teachers:
        if name not in known:
            there = ", ".join(f"{other} ({count})" for other, count in known.most_common())
            raise RecipeError(
                f"no trace is of a teacher {name}: there are {there or 'none with a name'}"
            )
