"""Which columns of a data file hold problem, gold and trace; the formats that are about are read
without being told.

- GSM8K: question, answer (``#### gold``). The trace is the worked solution, its last line made
  ``\\boxed{gold}``.
- MATH: problem, solution. The gold is the last box of ``solution``, which is the trace.
- MATH levels 3-5: problem, gt_answer. There is no trace: its ``solution`` has no box.
- LUFFY: problem, answer, distill. The trace is ``distill``.
- verl, DAPO, Skywork: prompt (turns), reward_model. The gold is ``reward_model.ground_truth``.
  There is no trace.
- OpenR1 chats: the same, and target (turns). The trace is the last turn of ``target``.
- OpenR1-Math: problem, answer, generations. The trace is the first of ``generations`` that is
  marked right (``correctness_math_verify`` or ``_llama``) and complete.
- NuminaMath: problem, solution, perhaps messages. It is read as MATH.
- DeepMath: question, final_answer, r1_solution_1. The trace is the first of ``r1_solution_1`` to
  ``3``.
- OpenMathReasoning: problem, expected_answer, generated_solution. The trace is
  ``generated_solution``.
- s1K: question, solution, attempt, thinking_trajectories. The trace is both of the last two, the
  thinking in ``<think>`` tags.
- chats, ShareGPT: messages or conversations. The trace is the assistant's turn, the gold its last
  box.
- benchmarks: prompt or question, and answer. There is no trace.
- OlympiadBench: question, final_answer (a list). There is no trace.
- plain: problem, answer, perhaps trace.

The problem is in the first column of PROBLEM that is there, the gold in the first of GOLD or else
of SOLUTIONS, the trace in the first of TRACES, SOLUTIONS or CHATS that has one, where that of
SOLUTIONS is worked: its gold is marked, by a box or by ``####``. So is a gold column's own text.
Capitals in the names do not matter. A solution without mark is a gold only where it can be an
answer by itself (``red_mcore.data.cells.bare``).

``data.problem_field``, ``gold_field`` and ``trace_field`` go before all of this. A name with dots
goes into objects and lists (``reward_model.ground_truth``, ``messages.1.content``), also into such
that are kept as JSON.

A problem given as turns is its one user turn. System turns, and a column ``system``, are left out.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

from red_mcore.config.recipe import Data, RecipeError
from red_mcore.data import cells
from red_mcore.data.files import Row

T = TypeVar("T")

CHATS = ("messages", "conversations", "conversation")
PROBLEM = ("problem", "question", "prompt", "query", "instruction", "input", *CHATS)
GOLD = (
    "gt_answer", "answer", "final_answer", "expected_answer", "ground_truth", "ground_truth_answer",
    "reference_answer", "correct_answer", "gold", "gold_answer", "reward_model.ground_truth", "gt",
    "label", "answers", "extra_info.ground_truth", "extra_info.answer",
)  # fmt: skip
SOLUTIONS = ("solution", "ground_truth_solution", "target", "output", "response", "completion")
"""Columns of worked solutions, some of which hold bare answers."""
TRACES = (
    "trace", "distill", "generations", "r1_solution_1", "r1_solution_2", "r1_solution_3",
    "generated_solution", "deepseek_attempt", "attempt", "deepseek_solution",
)  # fmt: skip
RESPONSES = ("response", "completion")
"""The SOLUTIONS that are a trace as they are, where the gold is in another column."""
THOUGHTS = {
    "attempt": "thinking_trajectories",
    "deepseek_attempt": "deepseek_thinking_trajectory",
    "deepseek_solution": "deepseek_reasoning",
}
"""Columns of the reasoning that belongs before a trace."""
RIGHT = ("correctness_math_verify", "correctness_llama")
"""Columns of marks, a boolean for each solution of a list: right where one of them says so."""
COMPLETE = "is_reasoning_complete"
_BESIDE = (*THOUGHTS.values(), *RIGHT, COMPLETE, "system", "input")
"""Columns that ``read`` looks at whatever the layout."""
FIELDS = ("problem_field", "gold_field", "trace_field")
"""The fields of ``Data`` by which a recipe names columns."""


Columns = frozenset[str] | None
"""Names of columns; None for all."""


class Content(NamedTuple):
    """What a row holds; None for what it lacks."""

    text: str | None
    gold: cells.Gold | None
    trace: str | None
    system: str | None
    """The system turn, which is no part of a problem."""


@dataclass(frozen=True)
class Layout:
    """Where a file's rows have what; names as ``value`` takes them."""

    problem: str
    gold: str
    traces: tuple[str, ...]
    """The first that has one."""
    is_trace_named: bool
    """Whether the recipe names it: then it is taken as it stands."""
    columns: tuple[str, ...]

    def used(self, columns: Columns = frozenset()) -> set[str] | None:
        """Top-level columns that ``read`` and ``kept`` look at; None for all."""
        if columns is None:
            return None
        wanted: set[str] = set()
        for name in (self.problem, self.gold, *self.traces, *_BESIDE, *columns):
            wanted |= {name.lower(), name.lower().partition(".")[0]}
        return {name for name in self.columns if name.lower() in wanted}


def find(columns: Sequence[str], data: Data, where: str) -> Layout:
    """The layout of these ``columns``; RecipeError where a named or a known one is missing."""
    for field in FIELDS:
        name = getattr(data, field)
        if name is not None and not has(columns, name):
            near = difflib.get_close_matches(name, columns, n=1)
            nearest = f"; nearest is '{near[0]}'" if near else ""
            raise RecipeError(
                f"{where}: no column '{name}' (data.{field}); columns: {_shown(columns)}{nearest}"
            )
    # Of columns that differ in capitals alone the first counts.
    there = {name.lower(): name for name in reversed(columns)}
    problem = data.problem_field or _first(there, PROBLEM)
    solutions = [name for name in SOLUTIONS if there.get(name, problem) != problem]
    chat = _first(there, CHATS)
    gold = data.gold_field or _first(there, (*GOLD, *solutions)) or chat
    if problem is None or gold is None:
        unknown = [name for name, found in (("problem", problem), ("gold", gold)) if found is None]
        fields = " and ".join(f"data.{name}_field" for name in unknown)
        raise RecipeError(
            f"{where}: columns {_shown(columns)} are of no known format; set {fields} to where the"
            f" {' and '.join(unknown)} are (a dot goes into an object: a.b)"
        )
    if data.trace_field is not None:
        return Layout(problem, gold, (data.trace_field,), True, tuple(columns))
    candidates = (there.get(name, problem) for name in (*TRACES, *SOLUTIONS))
    traces = [name for name in candidates if name != problem] + [gold]
    if chat is not None:
        traces.append(chat)
    return Layout(problem, gold, tuple(dict.fromkeys(traces)), False, tuple(columns))


def _shown(columns: Sequence[str]) -> str:
    """The columns for a message, without what is within objects."""
    return ", ".join(
        name for name in columns if "." not in name or name.partition(".")[0] not in columns
    )


def has(columns: Sequence[str], name: str) -> bool:
    """Whether ``columns`` have the one called ``name``, or the one that its first dot goes into."""
    there = {column.lower() for column in columns}
    return bool({name.lower(), name.lower().partition(".")[0]} & there)


def read(layout: Layout, row: Row, where: str) -> Content:
    """What the row holds. RecipeError names place and column of a cell that is not understood."""

    def cell(name: str, understand: Callable[[Any], T]) -> T:
        try:
            return understand(value(row, name))
        except cells.CellError as error:
            raise RecipeError(
                f"{where}: column '{name}' {error}; columns: {', '.join(row)}"
            ) from None

    text, system = cell(layout.problem, partial(_problem, layout.problem))
    if layout.problem.lower() == "instruction" and text and (more := cell("input", cells.text)):
        text = f"{text}\n{more}"  # Alpaca
    gold = cell(layout.gold, partial(_gold, layout.gold))
    trace = None
    for name in layout.traces:
        trace = cell(name, partial(_trace, layout, row, name))
        if trace is not None:
            break
    if trace is not None and not layout.is_trace_named and (thoughts := THOUGHTS.get(name.lower())):
        trace = cells.think(cell(thoughts, cells.trace), trace)
    apart = value(row, "system")
    if not system and isinstance(apart, str) and apart.strip():
        system = apart
    return Content(text, gold, trace, system)


def kept(row: Row, columns: Columns, there: Sequence[str], where: str) -> dict[str, Any] | None:
    """The ``columns`` of a row that its file has (``there``), None for what the row lacks; None
    if the file has none.

    Where all are kept, cells that JSON has no word for (bytes, images) are left out; RecipeError
    for one that is named.
    """
    names = {name.lower() for name in there}
    found: dict[str, Any] = {}
    for name in row if columns is None else sorted(columns):
        if name.lower() not in names:
            continue
        cell = cells.plain(value(row, name))
        try:
            json.dumps(cell)
        except (TypeError, ValueError):
            if columns is not None:
                raise RecipeError(
                    f"{where}: column '{name}', which a reward function asks for, holds"
                    f" {type(cell).__name__}: want text, numbers, lists or objects"
                ) from None
        else:
            found[name] = cell
    return found or None


def value(row: Row, name: str) -> Any:
    """The cell called ``name``, in any case, or what its dots lead to; None where nothing is."""
    # A column's own name may have dots.
    found = _member(row, name)
    if found is not None or name in row or "." not in name:
        return found
    found = row
    for part in name.split("."):
        found = cells.unspelled(cells.plain(found))
        if isinstance(found, dict):
            found = _member(found, part)
        elif isinstance(found, list) and part.isdigit() and int(part) < len(found):
            found = found[int(part)]
        else:
            return None
    return found


def _member(row: Row, name: str) -> Any:
    if name in row:
        return row[name]
    return next((row[key] for key in row if key.lower() == name.lower()), None)


def _first(there: dict[str, str], names: Sequence[str]) -> str | None:
    return next((there[name] for name in names if name in there), None)


def _problem(column: str, cell: Any) -> tuple[str | None, str | None]:
    """(text of the one user turn, text of the system turns)."""
    chat = cells.turns(cell)
    if chat is None:
        return cells.text(cell), None
    users = [turn.text for turn in chat if turn.role == "user"]
    if len(users) != 1:
        raise cells.CellError(
            f"has {len(users)} user turns, and a problem is one: leave such rows out of the file"
        )
    system = "\n".join(turn.text for turn in chat if turn.role == "system")
    answers = [turn for turn in chat if turn.role == "assistant"]
    if len(answers) > (column.lower() in CHATS) or (answers and chat[-1].role != "assistant"):
        raise cells.CellError(
            f"has {len(answers)} assistant turns beside the user's: want none, or in"
            f" {' or '.join(CHATS[:2])} one after"
        )
    return cells.text(users[0]), system or None


def _gold(column: str, cell: Any) -> cells.Gold | None:
    """The last box of a chat's last turn; a solution without mark is its gold where it is bare."""
    if (chat := cells.turns(cell)) is not None:
        if chat[-1].role != "assistant":
            return None
        cell = cells.trace(cell)
    gold = cells.gold(cell)
    # A worked solution that marks no answer would be compared as a whole.
    is_solution = column.lower() in (*SOLUTIONS, *CHATS)
    return None if gold and gold.is_sentence and is_solution else gold


def _trace(layout: Layout, row: Row, column: str, cell: Any) -> str | None:
    """The trace in the cell; where the recipe does not name it, only one that is sure to be one."""
    found, name = cells.unspelled(cells.plain(cell)), column.lower()
    chat = cells.turns(found)
    if name in CHATS or (chat and not layout.is_trace_named):
        return cells.trace(cell) if chat and chat[-1].role == "assistant" else None
    is_sure = layout.is_trace_named or name in TRACES
    if not is_sure and isinstance(found, str):
        is_sure = _is_worked(name, found, column == layout.gold)
    if not is_sure:
        return None
    if isinstance(found, list):
        return cells.trace(cell, _marks(row, len(found)))
    return cells.trace(cell)


def _is_worked(name: str, text: str, is_gold: bool) -> bool:
    if name in RESPONSES and not is_gold:
        return True
    gold = cells.gold(text)
    if gold is None:
        return False
    return gold.is_worked or (name in SOLUTIONS and gold.text != text.strip())


def _marks(row: Row, solutions: int) -> list[list[bool]]:
    """Lists of marks, one for each solution: whether it is right, and whether it is complete."""
    right = [mark for name in RIGHT if (mark := _mark(row, name, solutions))]
    complete = _mark(row, COMPLETE, solutions)
    marks = [complete] if complete else []
    if right:
        marks.append([any(mark[place] for mark in right) for place in range(solutions)])
    return marks


def _mark(row: Row, name: str, solutions: int) -> list[bool] | None:
    """The column's marks of so many solutions; None where it has none."""
    mark = cells.unspelled(cells.plain(value(row, name)))
    return mark if isinstance(mark, list) and len(mark) == solutions else None
