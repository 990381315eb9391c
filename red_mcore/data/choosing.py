"""Which of a problem's traces a step uses: ``data.trace_choice`` and ``data.trace_sources``.

A trace that is known to be wrong, or to be cut off, is never chosen: who wants it names it with
``data.trace_field``. What ``random`` draws follows from the run's seed, the epoch and the problem,
so that nothing has to be kept for a run that goes on.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import replace

from red_mcore.config.recipe import Data, RecipeError
from red_mcore.data.cells import Gold
from red_mcore.data.cursor import Cursor, Mixture
from red_mcore.data.duplicates import Note
from red_mcore.data.formats import Content
from red_mcore.samples.records import Problem, Trace


def places(traces: Sequence[Trace], data: Data, without: Container[int] = ()) -> list[int]:
    """The places of those that ``data`` lets be chosen, the chosen one first; of ``random`` all of
    them in their order. ``without``: places of some that cannot be used."""
    able = []
    for place, trace in enumerate(traces):
        is_known_bad = trace.verified is False or trace.finish_reason == "length"
        is_asked = not data.trace_sources or trace.source in data.trace_sources
        if place not in without and is_asked and not is_known_bad:
            able.append(place)
    if data.trace_choice == "random":
        return able
    right = [place for place in able if traces[place].verified]
    if data.trace_choice == "first":
        return right + [place for place in able if place not in right]
    lengths = _lengths([traces[place] for place in able])
    length = dict(zip(able, lengths, strict=True))
    if data.trace_choice == "longest":
        return sorted(able, key=lambda place: -length[place])
    return sorted(right, key=lambda place: length[place])


def _lengths(traces: Sequence[Trace]) -> list[int]:
    """In tokens where all are counted, else in characters."""
    tokens = [trace.tokens for trace in traces if trace.tokens is not None]
    if len(tokens) == len(traces):
        return tokens
    return [len(trace.text) for trace in traces]


def problem_of(content: Content, gold: Gold, number: int, data: Data) -> Problem:
    """The problem in a row that has a text, with the trace that is chosen."""
    assert content.text is not None, "the row has a problem"
    traces = tuple(found.trace for found in content.traces)
    problem = Problem(number, content.text, gold.text, traces=traces, name=content.name)
    problem = chosen(problem, data)
    if traces == (Trace(problem.trace or ""),):  # there is nothing more to know
        problem = replace(problem, traces=())
    return problem


def chosen(problem: Problem, data: Data, without: Container[int] = ()) -> Problem:
    """The problem with the trace that is chosen of its ``traces``, None where none can be; of
    ``random`` the first that may be drawn. ``without`` as in ``places``."""
    if not problem.traces:
        return problem
    able = places(problem.traces, data, without)
    text = problem.traces[able[0]].text if able else None
    return problem if text == problem.trace else replace(problem, trace=text)


def settled(problem: Problem, data: Data, without: Container[int] = ()) -> Problem:
    """As ``chosen``, with no more traces than a step may still have to draw from: they are
    long."""
    if not problem.traces:
        return problem
    found = chosen(problem, data, without)
    left: tuple[Trace, ...] = ()
    if data.trace_choice == "random":
        able = places(problem.traces, data, without)
        left = tuple(problem.traces[place] for place in able)
    return replace(found, traces=left)


def drawn(problem: Problem, data: Data, *key: int | str) -> Problem:
    """The problem with the trace that ``random`` draws for it under the key, each as likely; of
    another choice the problem itself."""
    if data.trace_choice != "random" or len(problem.traces) < 2:
        return problem
    able = places(problem.traces, data)
    if not able:
        return problem
    # A text as the seed draws the same in every process.
    place = random.Random("/".join(map(str, ("trace", *key, problem.id)))).choice(able)
    return replace(problem, trace=problem.traces[place].text)


def deal(
    problems: Sequence[Problem], cursor: Cursor | Mixture, count: int, data: Data, seed: int
) -> list[Problem]:
    """The next ``count`` problems, each with the trace of its epoch."""
    return [drawn(problems[i], data, seed, epoch) for i, epoch in cursor.deal(count)]


def check(problems: Sequence[Problem], data: Data) -> None:
    """RecipeError where the data have traces, and none is as the recipe asks."""
    traces = [trace for problem in problems for trace in problem.traces]
    known = Counter(trace.source for trace in traces)
    if missing := [name for name in data.trace_sources if name not in known]:
        named = [f"{name} ({count})" for name, count in known.most_common() if name is not None]
        there = f"there are {', '.join(named)}" if named else "no trace says who wrote it"
        raise RecipeError(
            f"data.trace_sources={data.trace_sources}: no trace is of {', '.join(missing)}: {there}"
        )
    if data.trace_choice != "shortest_verified" or any(trace.verified for trace in traces):
        return
    if count := len(traces) or sum(problem.trace is not None for problem in problems):
        raise RecipeError(
            f"data.trace_choice=shortest_verified: none of {count} traces is marked right: verify"
            " them with red-mcore prepare, or use first"
        )


def told(problems: Sequence[Problem], data: Data) -> list[Note]:
    """How many traces of how many problems there are, and how one of them is chosen; [] where no
    problem has more than one, nor anything is known of it."""
    several = [problem for problem in problems if problem.traces]
    if not several:
        return []
    traces = [trace for problem in several for trace in problem.traces]
    counts = {
        "marked right": sum(trace.verified is True for trace in traces),
        "known to be wrong": sum(trace.verified is False for trace in traces),
        "cut off": sum(trace.finish_reason == "length" for trace in traces),
    }
    known = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    usable = sum(problem.trace is not None for problem in several)
    line = f"{len(traces)} traces of {len(several)} problems"
    if known:
        line += f" ({known})"
    line += f"; {usable} have one to choose by data.trace_choice={data.trace_choice}"
    if data.trace_sources:
        line += f" of data.trace_sources={', '.join(data.trace_sources)}"
    return [Note("traces", len(traces), line)]
