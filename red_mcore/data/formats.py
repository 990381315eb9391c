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
- OpenR1-Math: problem, answer, generations. The traces are ``generations``, marked by
  ``correctness_math_verify`` (or ``_llama``), ``is_reasoning_complete`` and ``finish_reasons``.
- NuminaMath, DeepScaleR: problem, solution, perhaps answer and messages. They are read as MATH.
- DeepMath: question, final_answer, r1_solution_1. The traces are ``r1_solution_1`` to ``3``.
- OpenMathReasoning: problem, expected_answer, generated_solution. The trace is
  ``generated_solution``.
- s1K: question, solution, attempt, thinking_trajectories. The trace is both of the last two, the
  thinking in ``<think>`` tags. s1K-1.1 has two, of ``deepseek_*`` and of ``gemini_*``, each with a
  grade.
- LIMO: question, answer, solution. The trace is ``solution``.
- OpenThoughts (metadata): problem, ground_truth_solution, deepseek_reasoning, deepseek_solution.
  The trace is both of the last two, the reasoning in ``<think>`` tags.
- chats, ShareGPT: messages or conversations. The trace is the assistant's turn, the gold its last
  box.
- benchmarks: prompt or question, and answer. There is no trace.
- OlympiadBench: question, final_answer (a list). There is no trace.
- plain: problem, answer, perhaps trace.
- the project's own (``schema.py``): id, problem, gold, traces, meta.

The problem is in the first column of PROBLEM that is there, the gold in the first of GOLD or else
of SOLUTIONS. The traces are all of those in TRACES or, where these have none, the first of
SOLUTIONS or CHATS that is one, where that of SOLUTIONS is worked: its gold is marked, by a box or
by ``####``. So is a gold column's own text. Capitals in the names do not matter. A solution without
mark is a gold only where it can be an answer by itself (``red_mcore.data.cells.bare``).

``data.problem_field``, ``gold_field`` and ``trace_field`` go before all of this. They may lead into
objects and lists (``paths.py``).

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
from red_mcore.data import cells, paths, traces
from red_mcore.data.columns import BESIDE, CHATS, GOLD, PROBLEM, SCHEMA, SOLUTIONS, TRACES
from red_mcore.data.files import Row
from red_mcore.data.paths import value
from red_mcore.samples.records import Trace

T = TypeVar("T")

FIELDS = ("problem_field", "gold_field", "trace_field")
"""The fields of ``Data`` by which a recipe names columns."""


Columns = frozenset[str] | None
"""Names of columns; None for all."""


class Found(NamedTuple):
    """A trace, and where it was."""

    column: str
    trace: Trace


class Content(NamedTuple):
    """What a row holds; None for what it lacks."""

    text: str | None
    gold: cells.Gold | None
    traces: tuple[Found, ...]
    """All of the row, right or not."""
    system: str | None
    """The system turn, which is no part of a problem."""
    left: str | None
    """A column whose worked solution is no trace, for it marks no answer, where there is no other
    trace."""
    name: str | None
    """What a row of the project's own schema is called."""


@dataclass(frozen=True)
class Layout:
    """Where a file's rows have what; names as ``value`` takes them."""

    problem: str
    gold: str
    traces: tuple[str, ...]
    """All of TRACES; of the others, in order, the first that has one."""
    is_trace_named: bool
    """Whether the recipe names it: then it is taken as it stands."""
    columns: tuple[str, ...]

    @property
    def is_own(self) -> bool:
        """Whether the file is of the project's own schema."""
        return {name.lower() for name in self.columns} >= set(SCHEMA)

    @property
    def passed_over(self) -> list[str]:
        """The columns of traces that are not read, for the recipe names another."""
        if not self.is_trace_named:
            return []
        named = {paths.column(name).lower() for name in self.traces}
        known = set(TRACES) - named
        return [name for name in self.columns if name.lower() in known]

    def used(self, columns: Columns = frozenset()) -> set[str] | None:
        """Top-level columns that ``read`` and ``kept`` look at; None for all."""
        if columns is None:
            return None
        wanted: set[str] = set()
        for name in (self.problem, self.gold, *self.traces, *BESIDE, *columns):
            wanted |= {name.lower(), paths.column(name.lower())}
        return {name for name in self.columns if name.lower() in wanted}


def find(columns: Sequence[str], data: Data, where: str) -> Layout:
    """The layout of these ``columns``; RecipeError where a named or a known one is missing."""
    for field in FIELDS:
        name = getattr(data, field)
        if name is not None and not has(columns, name):
            if (fault := paths.fault(name)) is not None:
                raise RecipeError(f"{where}: data.{field}={name} {fault}")
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
            f" {' and '.join(unknown)} are (a dot goes into an object: a.b, brackets into a list:"
            " a[0])"
        )
    if data.trace_field is not None:
        return Layout(problem, gold, (data.trace_field,), True, tuple(columns))
    candidates = (there.get(name, problem) for name in (*TRACES, *SOLUTIONS))
    found = [name for name in candidates if name != problem] + [gold]
    if chat is not None:
        found.append(chat)
    return Layout(problem, gold, tuple(dict.fromkeys(found)), False, tuple(columns))


def _shown(columns: Sequence[str]) -> str:
    """The columns for a message, without what is within objects."""
    return ", ".join(
        name for name in columns if "." not in name or name.partition(".")[0] not in columns
    )


def has(columns: Sequence[str], name: str) -> bool:
    """Whether ``columns`` have the one called ``name``, or the one that its way begins at."""
    there = {column.lower() for column in columns}
    is_way = paths.fault(name) is None and paths.column(name).lower() in there
    return name.lower() in there or is_way


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
    found: list[Found] = []
    for name in layout.traces:
        is_sure = layout.is_trace_named or name.lower() in TRACES
        if found and not is_sure:
            break  # what may be a solution or a chat tells the same again
        understand = partial(_traces, layout, row, name, where)
        found += [Found(name, trace) for trace in cell(name, understand)]
    left = None
    if not found:
        left = next((name for name in layout.traces if traces.is_left(row, name)), None)
    apart = value(row, "system")
    if not system and isinstance(apart, str) and apart.strip():
        system = apart
    own = value(row, "id") if layout.is_own else None
    return Content(text, gold, tuple(found), system, left, own if isinstance(own, str) else None)


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


def _traces(layout: Layout, row: Row, name: str, where: str, _: Any) -> list[Trace]:
    is_gold = name == layout.gold
    return traces.in_column(row, name, where, is_named=layout.is_trace_named, is_gold=is_gold)
