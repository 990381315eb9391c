"""The training problems of a run, and the held-out ones that measure it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import numpy as np

from red_mcore.config.recipe import Data, RecipeError
from red_mcore.data import arithmetic, cells, choosing, duplicates, files, formats, sources
from red_mcore.data.cursor import largest_due
from red_mcore.data.duplicates import Note
from red_mcore.samples.records import Problem

logger = logging.getLogger(__name__)

ARITHMETIC_PROBLEMS = 2048
"""Training problems of the built-in task where ``data.problems`` is None."""
FIRST_ROWS = 100
"""Rows among which ``first`` looks for problems."""
CHECKED_ROWS = 10_000
"""Rows that ``check_data`` reads, at most: seconds, also where each has a long trace."""


@dataclass
class Loaded:
    """The problems of a run, and what is to be told of those that are not among them."""

    training: list[Problem]
    held_out: list[Problem]
    notes: list[Note] = field(default_factory=list)


@dataclass
class _Rows:
    problems: list[Problem]
    count: int
    is_whole: bool
    notes: list[Note]


def load_problems(data: Data, seed: int) -> tuple[list[Problem], list[Problem]]:
    """(training, held-out) problems of ``read_problems``, whose notes are logged."""
    loaded = read_problems(data, seed)
    for note in loaded.notes:
        logger.warning("%s: %s", ", ".join(sources.paths(data)), note.line)
    return loaded.training, loaded.held_out


def read_problems(data: Data, seed: int, columns: formats.Columns = frozenset()) -> Loaded:
    """Training and held-out problems; none is in both, and the held-out ones of a file are its
    last.

    ``seed`` draws the built-in arithmetic. A file keeps its order: shuffling is the cursor's
    business. An id is the place among the rows that have a problem and a gold: those of a held-out
    source of its own come first, so that what is sampled for them does not depend on the training
    data, then those of the sources in order. ``columns``: those of a row that its problem keeps.
    Raises RecipeError naming file, line and columns for whatever cannot be read.
    """
    _check_counts(data)
    if not (parts := sources.training(data)):
        count = data.problems or ARITHMETIC_PROBLEMS
        drawn = arithmetic.make_problems(data.arithmetic, data.held_out + count, seed)
        # The held-out ones come first, so that they stay the same when data.problems changes.
        return Loaded(drawn[data.held_out :], drawn[: data.held_out])
    return _split(_read_all(parts, columns=columns), _read_held_out(data, columns=columns), data)


def first(data: Data, count: int, columns: formats.Columns = frozenset()) -> list[Problem]:
    """The first problems, of hub data and folders none; RecipeError as in ``read_problems``."""
    if not (parts := sources.training(data)):
        return arithmetic.make_problems(data.arithmetic, count, data.seed)
    for part, _ in parts:
        if not files.is_function(sources.path(part)) and not files.is_file(sources.path(part)):
            return []
    found: list[Problem] = []
    for read in _read_all(parts, FIRST_ROWS, columns):
        found += read.problems[:count]
    return found


def check_data(data: Data) -> None:
    """What can be told at once: counts, settings, the files' existence, suffix, columns and first
    CHECKED_ROWS rows.

    Files of no more rows are checked whole. Hub data and folders are opened only in
    ``read_problems``. Raises RecipeError.
    """
    _check_counts(data)
    parts, apart = sources.training(data), sources.held_out(data)
    if not parts:
        arithmetic.check(data.arithmetic)
        return
    here = [(part, name) for part, name in parts if _is_here(part, name)]
    reads = _read_all(here, CHECKED_ROWS)
    if apart is not None and not _is_here(apart, sources.HELD_OUT):
        return
    held_out = _read_held_out(data, CHECKED_ROWS)
    if len(here) < len(parts) or not all(read.is_whole for read in reads):
        return
    if held_out is None or held_out.is_whole:
        _split(reads, held_out, data)


def _is_here(part: Data, name: str) -> bool:
    """Whether the source can be opened at once."""
    path = sources.path(part)
    with sources.named(name):
        return files.is_function(path) or files.is_file(path)


def _check_counts(data: Data) -> None:
    if data.held_out < 0:
        raise RecipeError(f"data.held_out={data.held_out}: want 0 or more")
    if data.problems is not None and data.problems < 1:
        raise RecipeError(f"data.problems={data.problems}: want 1 or more, or null for all")
    sources.check(data)


def _read_all(
    parts: Sequence[tuple[Data, str]],
    most: int | None = None,
    columns: formats.Columns = frozenset(),
) -> list[_Rows]:
    """The rows of each of ``parts``, as ``sources.training`` has them."""
    reads = []
    for part, name in parts:
        with sources.named(name):
            reads.append(_read(part, most, columns))
    return reads


def _read_held_out(
    data: Data, most: int | None = None, columns: formats.Columns = frozenset()
) -> _Rows | None:
    apart = sources.held_out(data)
    if apart is None:
        return None
    with sources.named(sources.HELD_OUT):
        known = files.columns(apart, most)
        for name in formats.FIELDS:
            # A column that is named is the training data's; these may have it, too.
            if not formats.has(known, getattr(apart, name) or ""):
                nothing: dict[str, Any] = {name: None}
                apart = replace(apart, **nothing)
        return _read(apart, most, columns)


def _split(reads: Sequence[_Rows], apart: _Rows | None, data: Data) -> Loaded:
    """``apart``: what the held-out problems come from, if not from ``reads``."""
    problems: list[Problem] = []
    held_out_count = len(apart.problems) if apart else 0
    for source, read in enumerate(reads):
        begin = held_out_count + len(problems)
        if begin:  # else they are what they should be
            problems += [replace(p, id=begin + p.id, source=source) for p in read.problems]
        else:
            problems += read.problems
    if apart:
        training, held_out, notes = duplicates.split_from(problems, apart.problems, data.held_out)
    else:
        order = _from_the_ends(reads, data)
        training, held_out, notes = duplicates.split(problems, data.held_out, order)
    used: list[Problem] = []
    told: list[Note] = []
    for source, (part, name) in enumerate(sources.training(data)):
        found = [problem for problem in training if problem.source == source]
        if not found:
            _nothing_left(reads[source], part, name, data)
        used += found[: part.problems]
        for note in reads[source].notes:
            if len(reads) > 1:
                note = note._replace(line=f"{part.path}: {note.line}")
            told.append(note)
    choosing.check(used, data)
    told += choosing.told(used, data)
    for note in apart.notes if apart else ():
        line = f"{data.held_out_path}: {note.line}"
        told.append(Note(f"held_out_{note.name}", note.count, line))
    return Loaded(used, held_out, told + notes)


def _from_the_ends(reads: Sequence[_Rows], data: Data) -> Iterator[int] | None:
    """Places among the problems of all ``reads`` from each one's end, by weight; None for one,
    which ends as all do."""
    if len(reads) == 1:
        return None
    counts = np.array([len(read.problems) for read in reads])
    weights = np.array([source.weight for source in data.mixture])
    ends = np.cumsum(counts)

    def places() -> Iterator[int]:
        taken = np.zeros_like(counts)
        while len(left := np.flatnonzero(taken < counts)):
            source = left[largest_due(weights[left].tolist(), taken[left].tolist())]
            taken[source] += 1
            yield int(ends[source] - taken[source])

    return places()


def _nothing_left(read: _Rows, part: Data, name: str, data: Data) -> None:
    different = len({duplicates.key(problem.text) for problem in read.problems})
    if name == "data." and data.held_out_path is None:
        raise RecipeError(
            f"data.held_out={data.held_out} leaves nothing to train on: {part.path} has {different}"
            f" different problems in {read.count} rows; lower data.held_out"
        )
    raise RecipeError(
        f"{name}path {part.path}: nothing to train on is left of its {different} different"
        " problems: all are held out, or of a source before it"
    )


def _read(data: Data, most: int | None = None, columns: formats.Columns = frozenset()) -> _Rows:
    """The problems of the first ``most`` rows; RecipeError where none of all rows has any."""
    layout = formats.find(files.columns(data, most) or _empty(data), data, sources.path(data))
    found: list[tuple[Problem, cells.Gold]] = []
    lost = _Lost(layout)
    count, is_whole, systems = 0, True, 0
    unmarked: Counter[str] = Counter()
    for where, row in files.rows(data, layout.used(columns)):
        if count == most:
            is_whole = False
            break
        count += 1
        content = formats.read(layout, row, where)
        systems += content.system is not None
        if content.text is None:
            lost.add("problem", where)
        elif content.gold is None:
            lost.add("gold", where)
        else:
            if content.left:
                unmarked[content.left] += 1
            problem = choosing.problem_of(content, content.gold, len(found), data)
            more = formats.kept(row, columns, layout.columns, where)
            found.append((replace(problem, columns=more), content.gold))
    if not count:
        _empty(data)
    # Where golds are marked, a sentence without mark is a solution that lacks its answer.
    is_marked = 2 * sum(gold.is_worked for _, gold in found) > len(found)
    problems: list[Problem] = []
    for problem, gold in found:
        if is_marked and gold.is_sentence:
            lost.add("mark")
        else:
            problems.append(replace(problem, id=len(problems)))
    if not problems and is_whole:
        raise RecipeError(
            f"data.path {data.path}: none of its {count} rows can be used: {lost.reasons()}; set"
            " data.problem_field and data.gold_field to other columns"
        )
    notes = lost.notes()
    if systems:
        line = f"left out the system turns of {systems} rows; data.system_prompt sets one for all"
        notes.append(Note("system_turns", systems, line))
    notes += _ignored(layout, unmarked)
    return _Rows(problems, count, is_whole, notes)


def _ignored(layout: formats.Layout, unmarked: Counter[str]) -> list[Note]:
    """What is not taken of columns that may be traces. ``unmarked``: how many texts of which."""
    notes = []
    for name, count in unmarked.items():
        line = (
            f"{count} texts of the column '{name}' are no traces, for they mark no answer by"
            f" \\boxed{{...}} or ####; data.trace_field={name} takes them all the same"
        )
        notes.append(Note("unmarked_solutions", count, line))
    if others := layout.passed_over:
        line = (
            f"the traces of the columns {', '.join(others)} are not used, for"
            f" data.trace_field={layout.traces[0]} names others"
        )
        notes.append(Note("columns_passed_over", len(others), line))
    return notes


class _Lost:
    """Rows that cannot be used, by what they lack."""

    def __init__(self, layout: formats.Layout) -> None:
        golds = f"whose gold (column '{layout.gold}') is"
        hint = ""
        if layout.gold.lower() not in formats.GOLD:
            hint = ": neither \\boxed{...}, nor ####, nor a bare answer"
        self._lines = {
            "problem": f"whose problem (column '{layout.problem}') is empty",
            "gold": f"{golds} empty{hint}",
            "mark": f"{golds} a sentence, where most are marked by \\boxed{{...}} or ####",
        }
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, lacks: str, where: str | None = None) -> None:
        self._counts[lacks] += 1
        if where is not None:
            self._first.setdefault(lacks, f"; the first: {where}")

    def reasons(self) -> str:
        found = [f"{self._counts[r]} {line}" for r, line in self._lines.items() if self._counts[r]]
        return " and ".join(found)

    def notes(self) -> list[Note]:
        notes = []
        for lacks, line in self._lines.items():
            if count := self._counts[lacks]:
                line = f"left out {count} rows {line}{self._first.get(lacks, '')}"
                notes.append(Note(f"without_{lacks}", count, line))
        return notes


def _empty(data: Data) -> NoReturn:
    raise RecipeError(f"data.path {data.path} is empty")
