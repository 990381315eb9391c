"""Recorded responses, of whatever program, graded without a model: ``tools/evaluate.py
--generations``.

JSON lines, each a problem or a response. Names of the columns, the first that is there:

==========  ==================================================================================
gold        ``gold``, ``gt``, ``answer``, ``ground_truth``
problem     ``problem``, ``question``, ``prompt``
responses   ``responses``, ``response``, ``code``, ``completions``, ``completion``, ``outputs``,
            ``output``, ``generations``, ``generation``: a text, a list of texts, or a list of
            objects with ``text`` (and ``tokens``, ``finish``) as in ``items.jsonl``
verdicts    ``score``, ``scores``, ``correct``: booleans or 0 and 1, of an earlier grader; optional
==========  ==================================================================================

``benchmark`` and ``kind`` are taken where they are there, else the file's name and ``math``. Lines
of one problem, by ``item`` or else by the problem's text, are samples of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from red_mcore.config.recipe import Data, RecipeError, Reward
from red_mcore.data import cells, files
from red_mcore.evaluation import items
from red_mcore.evaluation.items import Row
from red_mcore.rewards.verifier import Verifier, graded
from red_mcore.samples.records import Kind, Problem
from red_mcore.samples.responses import Response
from red_mcore.tracking.console import Watch, unwatched

_GOLD = ("gold", "gt", "answer", "ground_truth")
_PROBLEM = ("problem", "question", "prompt")
_RESPONSES = (
    *("responses", "response", "code", "completions", "completion", "outputs", "output"),
    *("generations", "generation"),
)
_VERDICTS = ("score", "scores", "correct")
_SHOWN = ("benchmark", "item", "sample", "gold", "answer")
"""Fields of a response that is judged otherwise than before."""
_TOGETHER = 256
"""Responses that are graded between two words on how far it is."""


class Recorded(NamedTuple):
    """A response as another program recorded it."""

    response: Response
    """Ungraded."""
    earlier: bool | None
    """The earlier grader's verdict, None where there is none."""


@dataclass
class _Problem:
    """What some lines of the file say of one problem."""

    benchmark: str
    item: int | None
    """None where the file has no number for it."""
    text: str
    gold: str
    kind: Kind
    prompt_ids: Any
    responses: list[Row] = field(default_factory=list)
    earlier: list[bool | None] = field(default_factory=list)


def read(file: Path) -> list[Recorded]:
    """The responses, those to one problem together.

    RecipeError naming the line and the column that is missing or wrong.
    """
    if not file.is_file():
        raise RecipeError(f"--generations {file} does not exist")
    found: dict[tuple[str, str], _Problem] = {}
    for where, row in files.rows(Data(path=str(file))):
        problem = _problem_of(row, where, file.stem)
        # A problem with neither number nor text is one of its own.
        place = problem.text or where
        if "item" in row:
            place = f"item {row['item']}"  # as text: an item may be "aime-1"
        one = found.setdefault((problem.benchmark, place), problem)
        if (one.text, one.gold, one.kind) != (problem.text, problem.gold, problem.kind):
            raise RecipeError(
                f"{where}: another problem or gold than an earlier line of item {row.get('item')}"
            )
        responses, earlier = _responses(row, where)
        one.responses += responses
        one.earlier += earlier
    if not found:
        raise RecipeError(f"--generations {file} is empty")
    return _numbered(list(found.values()))


def _problem_of(row: Row, where: str, name: str) -> _Problem:
    """The problem of a line, which is of benchmark ``name`` where it does not say."""
    gold = _gold(_first(row, _GOLD, where), where)
    kind = row.get("kind", "math")
    if kind not in ("math", "choice"):
        raise RecipeError(f"{where}: kind is {kind!r}, want math or choice")
    benchmark = str(row.get("benchmark", name))
    if not re.fullmatch(r"[\w.:-]+", benchmark):
        raise RecipeError(
            f"{where}: benchmark '{benchmark}' becomes part of a metric's name: use letters and"
            " digits"
        )
    text = _text(_known(row, _PROBLEM, ""), where)
    item = row.get("item")
    if not isinstance(item, int):  # a number is made for it (``_numbered``)
        item = None
    return _Problem(benchmark, item, text, gold, kind, row.get("prompt_ids"))


def _responses(row: Row, where: str) -> tuple[list[Row], Sequence[bool | None]]:
    """(Responses of a line, the earlier grader's verdict on each)."""
    responses = _first(row, _RESPONSES, where)
    if isinstance(responses, str | dict):
        responses = [responses]
    if not isinstance(responses, list) or not responses:
        raise RecipeError(f"{where}: the responses are {str(responses)[:60]}, want texts")
    found = [_response(each, where) for each in responses]
    verdicts = _known(row, _VERDICTS)
    if verdicts is None:
        return found, [None] * len(found)
    if isinstance(verdicts, bool | int | float):
        verdicts = [verdicts]
    if len(verdicts) != len(found):
        raise RecipeError(f"{where}: {len(verdicts)} verdicts for {len(found)} responses")
    return found, list(map(bool, verdicts))


def _numbered(problems: Sequence[_Problem]) -> list[Recorded]:
    """The records; a problem without a number gets the lowest that no other one of its benchmark
    has."""
    taken = {(problem.benchmark, problem.item) for problem in problems}
    found = []
    for problem in problems:
        if problem.item is None:
            problem.item = 0
            while (problem.benchmark, problem.item) in taken:
                problem.item += 1
            taken.add((problem.benchmark, problem.item))
        for number, response in enumerate(problem.responses):
            record = Response(
                benchmark=problem.benchmark,
                item=problem.item,
                sample=number,
                problem=problem.text,
                text=response["text"],
                verdict="",
                tokens=response.get("tokens"),
                truncated=items.truncated(response.get("finish")),
                prompt_ids=items.ids(problem.prompt_ids),
                token_ids=items.ids(response.get("token_ids")),
                gold=problem.gold,
                kind=problem.kind,
            )
            found.append(Recorded(record, problem.earlier[number]))
    return found


def grade(
    responses: Sequence[Response],
    verifier: Verifier,
    boxed_only: bool,
    reward: Reward | None = None,
    watch: Watch = unwatched,
) -> list[Response]:
    """The responses with answer and verdict.

    A verdict of ``reward``, the verifier's settings, is told 0 tokens where their number is not
    recorded.
    """
    reward = reward or Reward()
    found: list[Response] = []
    for first in range(0, len(responses), _TOGETHER):
        part = responses[first : first + _TOGETHER]
        asked = [(_as_problem(each), each.text, each.tokens or 0) for each in part]
        grades = graded(verifier, reward, asked, boxed_only=boxed_only)
        for response, grade in zip(part, grades, strict=True):
            found.append(replace(response, answer=grade.answer, verdict=grade.verdict))
        watch(len(found), len(responses))
    return found


def disagreements(
    recorded: Sequence[Recorded], graded: Sequence[Response]
) -> tuple[list[dict[str, Any]], int]:
    """Responses that the earlier grader judged otherwise, to read; and how many it judged."""
    found, judged = [], 0
    for (_, earlier), now in zip(recorded, graded, strict=True):
        if earlier is None:
            continue
        judged += 1
        if earlier != now.is_correct:
            row = {name: getattr(now, name) for name in _SHOWN}
            row["recorded"] = "correct" if earlier else "not correct"
            row["verdict"] = now.verdict
            row["end"] = now.text[-300:]  # where the answer stands
            found.append(row)
    return found, judged


def problems(responses: Sequence[Response]) -> dict[str, list[Problem]]:
    """The problems of each benchmark."""
    found: dict[str, list[Problem]] = {}
    for each in items.by_problem(responses).values():
        found.setdefault(each[0].benchmark, []).append(_as_problem(each[0]))
    return found


def _as_problem(response: Response) -> Problem:
    return Problem(response.item, response.problem, response.gold, kind=response.kind)


def _known(row: Row, names: Sequence[str], otherwise: Any = None) -> Any:
    """The cell of the first of the columns ``names`` that is there."""
    return next((row[name] for name in names if row.get(name) is not None), otherwise)


def _first(row: Row, names: Sequence[str], where: str) -> Any:
    """The same of columns one of which has to be there; RecipeError."""
    if (found := _known(row, names)) is not None:
        return found
    raise RecipeError(
        f"{where}: none of the columns {', '.join(names)}; there are {', '.join(row)}"
    )


def _text(value: Any, where: str) -> str:
    """A text, a number that stands for it, or the last user's turn of a chat."""
    try:
        asked = [turn.text for turn in cells.turns(value) or [] if turn.role == "user"]
        if asked:
            return asked[-1]
        return str(value) if isinstance(value, int) else cells.text(value) or ""
    except cells.CellError as error:
        raise RecipeError(f"{where}: the problem {error}") from None


def _gold(value: Any, where: str) -> str:
    try:
        return files.plain_gold(value)
    except cells.CellError as error:
        raise RecipeError(f"{where}: the gold {error}") from None


def _response(value: Any, where: str) -> Row:
    if isinstance(value, str):
        value = {"text": value}
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        raise RecipeError(
            f"{where}: a response is {str(value)[:60]}, want text, or an object with text"
        )
    return value
