"""The traces that a row holds, and what its publisher says of them: who wrote each, whether it is
right, whether it came to its end."""

from __future__ import annotations

from typing import Any

from red_mcore.data import cells, paths, schema
from red_mcore.data.columns import (
    CHATS,
    COMPLETE,
    FINISHES,
    GRADES,
    OWN,
    RESPONSES,
    RIGHT,
    SOLUTIONS,
    TEACHERS,
    THOUGHTS,
    TRACES,
)
from red_mcore.data.files import Row
from red_mcore.data.paths import value
from red_mcore.samples.records import Trace


def in_column(row: Row, name: str, where: str, *, is_named: bool, is_gold: bool) -> list[Trace]:
    """All traces in the cell called ``name``, right or not.

    ``is_named``: the recipe names it, so that one text is taken as it stands, whatever is known of
    it. Else only what is sure to be a trace is taken: of columns that may hold bare answers
    (``is_gold`` where it is also the gold's) the worked ones. CellError for what is neither text,
    chat nor a list of these; RecipeError for an object that is no trace of the project's schema.
    """
    column = name.lower()
    cell = cells.unspelled(cells.plain(value(row, name)))
    if column == OWN and _are_of_schema(cell):
        found = []
        for number, item in enumerate(cell, start=1):
            found += _of_schema(item, f"{where}: column '{name}': trace {number}")
        return found
    if is_named and paths.column(column) == OWN and _is_of_schema(cell):
        named = _of_schema(cell, f"{where}: '{name}'")
        return [Trace(trace.text, trace.source) for trace in named]
    chat = cells.turns(cell)
    if column in CHATS or (chat and not is_named):
        is_answered = chat is not None and chat[-1].role == "assistant"
        return _alone(cells.trace(cell)) if is_answered else []
    if not is_named and column not in TRACES:
        is_worked = isinstance(cell, str) and _is_worked(column, cell, is_gold)
        return _alone(cells.trace(cell)) if is_worked else []
    if isinstance(cell, list) and chat is None:
        return _of_list(row, cell)
    text = cells.trace(cell)
    if text is None or is_named:
        return _alone(text)
    if thoughts := THOUGHTS.get(column):
        text = cells.think(_thoughts(row, thoughts), text)
    assert text is not None, "thoughts do not make it nothing"
    return [Trace(text, TEACHERS.get(column), _grade(row, column))]


def is_left(row: Row, name: str) -> bool:
    """Whether the column holds a text of a solution that ``in_column`` does not take, for it marks
    no answer."""
    cell = value(row, name)
    if name.lower() not in SOLUTIONS or not isinstance(cell, str) or cells.missing(cell):
        return False
    return not cells.bare(cell.strip()) and not _is_worked(name.lower(), cell, is_gold=False)


def _alone(text: str | None) -> list[Trace]:
    return [] if text is None else [Trace(text)]


def _is_of_schema(item: Any) -> bool:
    return isinstance(item, dict) and "text" in item


def _are_of_schema(cell: Any) -> bool:
    return isinstance(cell, list) and all(map(_is_of_schema, cell))


def _of_schema(item: Any, where: str) -> list[Trace]:
    """The trace in an object, none where it is empty."""
    trace = schema.trace(item, where)
    return [] if cells.text(trace.text) is None else [trace]


def _thoughts(row: Row, column: str) -> str | None:
    try:
        return cells.trace(value(row, column))
    except cells.CellError as error:
        raise cells.CellError(f"goes with the column '{column}', which {error}") from None


def _grade(row: Row, column: str) -> bool | None:
    if column not in GRADES:
        return None
    said = value(row, GRADES[column])
    if isinstance(said, str):
        return {"yes": True, "no": False}.get(said.strip().lower())
    return said if isinstance(said, bool) else None


def _is_worked(column: str, text: str, is_gold: bool) -> bool:
    if column in RESPONSES and not is_gold:
        return True
    gold = cells.gold(text)
    if gold is None:
        return False
    return gold.is_worked or (column in SOLUTIONS and gold.text != text.strip())


def _of_list(row: Row, items: list[Any]) -> list[Trace]:
    """The traces of a list, with the marks that other columns have for as many."""
    right = [marks for name in RIGHT if (marks := _marks(row, name, len(items)))]
    complete = _marks(row, COMPLETE, len(items))
    finishes = _marks(row, FINISHES, len(items))
    found = []
    for place, item in enumerate(items):
        text = cells.trace(item)
        if text is None:
            continue
        verified = _verdict([marks[place] for marks in right])
        finish = _finish(complete[place] if complete else None, finishes and finishes[place])
        found.append(Trace(text, verified=verified, finish_reason=finish))
    return found


def _finish(is_complete: Any, reason: Any) -> str | None:
    """A trace whose reasoning has no end is cut, whatever it is said to have ended by."""
    if is_complete is False:
        return "length"
    if isinstance(reason, str) and reason:
        return reason
    return "stop" if is_complete is True else None


def _verdict(marks: list[Any]) -> bool | None:
    """Right where one mark says so, wrong where none does and one says that, else unknown."""
    if True in marks:
        return True
    return False if False in marks else None


def _marks(row: Row, name: str, count: int) -> list[Any] | None:
    """The column's marks of so many solutions; None where it has none."""
    marks = cells.unspelled(cells.plain(value(row, name)))
    return marks if isinstance(marks, list) and len(marks) == count else None
