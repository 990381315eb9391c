"""The training problems of a run, and the held-out ones that measure it."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from red_mcore.data import arithmetic, cells, duplicates, files, formats
from red_mcore.data.duplicates import Note
from red_mcore.recipe import Data, RecipeError
from red_mcore.records import Problem

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
        logger.warning("%s: %s", data.path, note.line)
    return loaded.training, loaded.held_out


def read_problems(data: Data, seed: int, columns: formats.Columns = frozenset()) -> Loaded:
    """Training and held-out problems; none is in both, and the held-out ones of a file are its last.

    ``seed`` draws the built-in arithmetic. A file keeps its order: shuffling is the cursor's business. An id is the
    place among the file's rows that have a problem and a gold. ``columns``: those of a row that its problem keeps.
    Raises RecipeError naming file, line and columns for whatever cannot be read.
    """
    _check_counts(data)
    if data.path is None:
        count = data.problems or ARITHMETIC_PROBLEMS
        drawn = arithmetic.make_problems(data.arithmetic, data.held_out + count, seed)
        # The held-out ones come first, so that they stay the same when data.problems changes.
        return Loaded(drawn[data.held_out :], drawn[: data.held_out])
    return _split(_read(data, columns=columns), data)


def first(data: Data, count: int, columns: formats.Columns = frozenset()) -> list[Problem]:
    """The first problems, of hub data and folders none; RecipeError as in ``read_problems``."""
    if data.path is None:
        return arithmetic.make_problems(data.arithmetic, count, data.seed)
    return _read(data, FIRST_ROWS, columns).problems[:count] if files.is_file(data.path) else []


def check_data(data: Data) -> None:
    """What can be told at once: counts, settings, the file's existence, suffix, columns and first CHECKED_ROWS rows.

    A file of no more rows is checked whole. Hub data and folders are opened only in ``read_problems``. Raises
    RecipeError.
    """
    _check_counts(data)
    if data.path is None:
        arithmetic.check(data.arithmetic)
    elif files.is_file(data.path):
        read = _read(data, CHECKED_ROWS)
        if read.is_whole:
            _split(read, data)


def _check_counts(data: Data) -> None:
    if data.held_out < 0:
        raise RecipeError(f"data.held_out={data.held_out}: want 0 or more")
    if data.problems is not None and data.problems < 1:
        raise RecipeError(f"data.problems={data.problems}: want 1 or more, or null for all")


def _split(read: _Rows, data: Data) -> Loaded:
    training, held_out, notes = duplicates.split(read.problems, data.held_out)
    if not training:
        different = len({duplicates.key(problem.text) for problem in read.problems})
        raise RecipeError(
            f"data.held_out={data.held_out} leaves nothing to train on: {data.path} has {different} different problems"
            f" in {read.count} rows; lower data.held_out"
        )
    return Loaded(training[: data.problems], held_out, [*read.notes, *notes])


def _read(data: Data, most: int | None = None, columns: formats.Columns = frozenset()) -> _Rows:
    """The problems of the first ``most`` rows. RecipeError where all rows are read and none has problem and gold."""
    layout = formats.find(files.columns(data, most) or _empty(data), data, data.path)
    contents: list[tuple[str, cells.Gold, str | None, dict[str, Any] | None]] = []
    lost: Counter[str] = Counter()
    first: dict[str, str] = {}
    count, is_whole, systems = 0, True, 0
    for where, row in files.rows(data, layout.used(columns)):
        if count == most:
            is_whole = False
            break
        count += 1
        text, gold, trace, system = formats.read(layout, row, where)
        systems += system is not None
        if text is None or gold is None:
            reason = "problem" if text is None else "gold"
            lost[reason] += 1
            first.setdefault(reason, where)
        else:
            contents.append((text, gold, trace, formats.kept(row, columns, layout.columns, where)))
    if not count:
        _empty(data)
    # Where golds are marked, a sentence without mark is a solution that lacks its answer.
    is_marked = 2 * sum(gold.is_worked for _, gold, *_ in contents) > len(contents)
    kept = [content for content in contents if not (is_marked and content[1].is_sentence)]
    lost["mark"] = len(contents) - len(kept)
    hint = "" if layout.gold.lower() in formats.GOLD else ": neither \\boxed{...}, nor ####, nor a bare answer"
    lines = {
        "problem": f"whose problem (column '{layout.problem}') is empty",
        "gold": f"whose gold (column '{layout.gold}') is empty{hint}",
        "mark": f"whose gold (column '{layout.gold}') is a sentence, where most are marked by \\boxed{{...}} or ####",
    }
    notes = []
    for reason, line in lines.items():
        if lost[reason]:
            place = f"; the first: {first[reason]}" if reason in first else ""
            notes.append(Note(f"without_{reason}", lost[reason], f"left out {lost[reason]} rows {line}{place}"))
    if not kept and is_whole:
        raise RecipeError(
            f"data.path {data.path}: none of its {count} rows can be used: "
            + " and ".join(f"{lost[reason]} {line}" for reason, line in lines.items() if lost[reason])
            + "; set data.problem_field and data.gold_field to other columns"
        )
    if systems:
        line = f"left out the system turns of {systems} rows; data.system_prompt sets one for all"
        notes.append(Note("system_turns", systems, line))
    problems = [
        Problem(id=i, text=text, gold=gold.text, trace=trace, columns=more)
        for i, (text, gold, trace, more) in enumerate(kept)
    ]
    return _Rows(problems, count, is_whole, notes)


def _empty(data: Data):
    raise RecipeError(f"data.path {data.path} is empty")
