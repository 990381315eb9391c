"""The training problems of a run, and the held-out ones that measure it."""

from __future__ import annotations

import logging

from red_mcore.data import arithmetic, files
from red_mcore.recipe import Data, RecipeError
from red_mcore.records import Problem

logger = logging.getLogger(__name__)

ARITHMETIC_PROBLEMS = 2048
"""Training problems of the built-in task where ``data.problems`` is None."""


def load_problems(data: Data, seed: int) -> tuple[list[Problem], list[Problem]]:
    """(training, held-out) problems; no arithmetic text is in both, and held-out rows of a file are its last.

    ``seed`` draws the built-in arithmetic. A file keeps its order: shuffling is the cursor's business.
    Raises RecipeError naming file, line and columns for whatever cannot be read.
    """
    _check_counts(data)
    if data.path is None:
        count = data.problems or ARITHMETIC_PROBLEMS
        drawn = arithmetic.make_problems(data.arithmetic, data.held_out + count, seed)
        # The held-out ones come first, so that they stay the same when data.problems changes.
        return drawn[data.held_out :], drawn[: data.held_out]
    problems = _read(data)
    _check_held_out(data, len(problems))
    count = len(problems) - data.held_out
    return problems[:count][: data.problems], problems[count:]


def check_data(data: Data) -> None:
    """What can be told at once: counts, settings, the file's existence, suffix, number of rows and first row's columns.

    Hub data are opened only in ``load_problems``. Raises RecipeError.
    """
    _check_counts(data)
    if data.path is None:
        arithmetic.check(data.arithmetic)
    elif files.is_file(data.path):
        where, first = next(files.rows(data), (data.path, None))
        if first is None:
            raise RecipeError(f"data.path {data.path} is empty")
        files.problem_fields(files.row_reader(first, data, where), first, where)
        _check_held_out(data, files.count(data.path))


def _check_held_out(data: Data, count: int) -> None:
    if data.held_out >= count:
        raise RecipeError(
            f"data.held_out={data.held_out} leaves nothing to train on: {data.path} has {count} problems; "
            f"lower data.held_out"
        )


def _check_counts(data: Data) -> None:
    if data.held_out < 0:
        raise RecipeError(f"data.held_out={data.held_out}: want 0 or more")
    if data.problems is not None and data.problems < 1:
        raise RecipeError(f"data.problems={data.problems}: want 1 or more, or null for all")


def _read(data: Data) -> list[Problem]:
    problems: list[Problem] = []
    read, without_gold = None, 0
    for where, row in files.rows(data):
        if read is None:
            read = files.row_reader(row, data, where)
        text, gold, trace = files.problem_fields(read, row, where)
        if gold:
            problems.append(Problem(id=len(problems), text=text, gold=gold, trace=trace))
        else:
            without_gold += 1  # MATH's level 3-5 split has two such rows
    if without_gold:
        logger.warning("%s: left out %d rows whose gold is empty", data.path, without_gold)
    return problems
