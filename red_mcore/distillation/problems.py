"""The problems that a teacher is asked, from any source of data."""

from __future__ import annotations

from dataclasses import replace

from red_mcore.config.recipe import Data, RecipeError
from red_mcore.config.redaction import redacted
from red_mcore.data import files, formats, schema, sources
from red_mcore.data.problems import read_problems
from red_mcore.data.schema import Entry
from red_mcore.distillation.teacher import Task
from red_mcore.samples.records import Problem

ID = "id"
"""The column that names a row, where a source has one."""
OWN = {"id", "problem", "gold", "traces"}
"""The columns of the project's own schema."""
BUILT_IN = "arithmetic"


def read(data: Data, columns: formats.Columns = frozenset()) -> tuple[list[Task], list[str]]:
    """The problems of ``data``, none held out, and lines on what was left out.

    Rows of the project's own schema keep id, traces and ``meta``; of others the column ``id`` names
    the problem where all differ in it, else its place does. ``columns``: what a user's verdict asks
    for. RecipeError as in ``read_problems``, and for ids that are there twice.
    """
    if data.path is not None and not data.mixture and set(_columns(data)) >= OWN:
        return _own(data, columns), []
    # Columns may be asked by name alone: where ``columns`` is None they are all taken.
    asked = None if columns is None else columns | {ID}
    loaded = read_problems(replace(data, held_out=0, held_out_path=None), data.seed, asked)
    named = [_id(problem) for problem in loaded.training]
    are_names = None not in named and len(set(named)) == len(named)
    origins = [redacted(path) for path in sources.paths(replace(data, held_out_path=None))]
    tasks = []
    for place, problem in enumerate(loaded.training):
        id_ = named[place] if are_names else None
        origin = origins[problem.source] if origins else BUILT_IN
        entry = Entry(id_ or str(problem.id), problem.text, problem.gold, (), {"origin": origin})
        tasks.append(Task(entry, problem))
    return tasks, [note.line for note in loaded.notes]


def _columns(data: Data) -> list[str]:
    """The columns of the source; none where it has to be asked for rows."""
    place = sources.path(data)
    if files.is_function(place) or not files.is_file(place):
        return []
    return files.columns(data, 1)


def _own(data: Data, columns: formats.Columns) -> list[Task]:
    tasks: list[Task] = []
    known: dict[str, str] = {}
    for where, row in files.rows(data):
        if data.problems is not None and len(tasks) >= data.problems:
            break
        entry = schema.entry(row, where)
        if entry.id in known:
            raise RecipeError(
                f"{where}: id '{entry.id}' is that of {known[entry.id]}, too: every problem needs"
                " one of its own"
            )
        known[entry.id] = where
        kept = formats.kept(row, columns, list(row), where)
        problem = Problem(id=len(tasks), text=entry.problem, gold=entry.gold, columns=kept)
        tasks.append(Task(entry, problem))
    return tasks


def _id(problem: Problem) -> str | None:
    for name, cell in (problem.columns or {}).items():
        if name.lower() == ID and isinstance(cell, str | int) and str(cell).strip():
            return str(cell)
    return None
