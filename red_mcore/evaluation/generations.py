"""Recorded responses, of whatever program, graded without a model: ``tools/evaluate.py --generations``.

JSON lines, each a problem or a response. Names of the columns, the first that is there:

==========  ==================================================================================
gold        ``gold``, ``gt``, ``answer``, ``ground_truth``
problem     ``problem``, ``question``, ``prompt``
responses   ``responses``, ``response``, ``code``, ``completions``, ``completion``, ``outputs``,
            ``output``, ``generations``, ``generation``: a text, a list of texts, or a list of
            objects with ``text`` (and ``tokens``, ``finish``) as in ``items.jsonl``
verdicts    ``score``, ``scores``, ``correct``: booleans or 0 and 1, of an earlier grader; optional
==========  ==================================================================================

``benchmark`` and ``kind`` are taken where they are there, else the file's name and ``math``. Lines of one problem, by
``item`` or else by the problem's text, are samples of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from red_mcore.config.recipe import Data, RecipeError, Reward
from red_mcore.data import cells, files
from red_mcore.evaluation.items import Row
from red_mcore.rewards.verifier import Grade, Verifier, graded
from red_mcore.samples.records import Problem
from red_mcore.tracking.console import Watch, unwatched

_GOLD = ("gold", "gt", "answer", "ground_truth")
_PROBLEM = ("problem", "question", "prompt")
_RESPONSES = (
    *("responses", "response", "code", "completions", "completion", "outputs", "output", "generations", "generation"),
)
_VERDICTS = ("score", "scores", "correct")
_TOGETHER = 256
"""Responses that are graded between two words on how far it is."""


def read(file: Path) -> list[Row]:
    """Rows as in ``items.jsonl``, ungraded; ``recorded`` holds the earlier grader's verdicts, None where it has none.

    RecipeError naming the line and the column that is missing or wrong.
    """
    if not file.is_file():
        raise RecipeError(f"--generations {file} does not exist")
    found: dict[tuple[str, str], Row] = {}
    for where, row in files.rows(Data(path=str(file))):
        gold, responses = _gold(_first(row, _GOLD, where), where), _first(row, _RESPONSES, where)
        responses = [responses] if isinstance(responses, str | dict) else responses
        if not isinstance(responses, list) or not responses:
            raise RecipeError(f"{where}: the responses are {str(responses)[:60]}, want texts")
        recorded = next((row[name] for name in _VERDICTS if row.get(name) is not None), None)
        recorded = [recorded] if isinstance(recorded, bool | int | float) else recorded
        if recorded is not None and len(recorded) != len(responses):
            raise RecipeError(f"{where}: {len(recorded)} verdicts for {len(responses)} responses")
        kind = row.get("kind", "math")
        if kind not in ("math", "choice"):
            raise RecipeError(f"{where}: kind is {kind!r}, want math or choice")
        benchmark = str(row.get("benchmark", file.stem))
        if not re.fullmatch(r"[\w.:-]+", benchmark):
            raise RecipeError(
                f"{where}: benchmark '{benchmark}' becomes part of a metric's name: use letters and digits"
            )
        text = _problem(next((row[name] for name in _PROBLEM if row.get(name) is not None), ""), where)
        # As text: an item may be "aime-1". A problem without either is one of its own.
        place = benchmark, f"item {row['item']}" if "item" in row else text or where
        number = sum(name == benchmark for name, _ in found)
        one = found.setdefault(
            place,
            {
                "benchmark": benchmark,
                "item": row["item"] if isinstance(row.get("item"), int) else number,
                "problem": text,
                "gold": gold,
                "kind": kind,
                "prompt_ids": row.get("prompt_ids"),
                "responses": [],
                "recorded": [],
            },
        )
        if (one["problem"], one["gold"], one["kind"]) != (text, gold, kind):
            raise RecipeError(f"{where}: another problem or gold than an earlier line of item {row.get('item')}")
        one["responses"] += [_response(each, where) for each in responses]
        one["recorded"] += [None] * len(responses) if recorded is None else map(bool, recorded)
    if not found:
        raise RecipeError(f"--generations {file} is empty")
    return list(found.values())


def grade(
    rows: Sequence[Row],
    verifier: Verifier,
    boxed_only: bool,
    reward: Reward | None = None,
    watch: Watch = unwatched,
) -> list[Row]:
    """The rows with ``answer`` and ``verdict`` in each response, and without ``recorded``.

    A verdict of ``reward``, the verifier's settings, is told 0 tokens where their number is not recorded.
    """
    asked = [
        (Problem(row["item"], row["problem"], row["gold"], kind=row["kind"]), response["text"], response["tokens"] or 0)
        for row in rows
        for response in row["responses"]
    ]
    judged: list[Grade] = []
    for first in range(0, len(asked), _TOGETHER):
        judged += graded(verifier, reward or Reward(), asked[first : first + _TOGETHER], boxed_only=boxed_only)
        watch(len(judged), len(asked))
    grades, found = iter(judged), []
    for row in rows:
        responses = [response | next(grades)._asdict() for response in row["responses"]]
        found.append({name: value for name, value in row.items() if name != "recorded"} | {"responses": responses})
    return found


def disagreements(rows: Sequence[Row], graded: Sequence[Row]) -> tuple[list[dict[str, Any]], int]:
    """Responses that the earlier grader judged otherwise, to read; and how many it judged."""
    found, judged = [], 0
    for before, after in zip(rows, graded, strict=True):
        for sample, then in enumerate(before["recorded"]):
            if then is None:
                continue
            judged += 1
            response = after["responses"][sample]
            if then != (response["verdict"] == "correct"):
                found.append(
                    {
                        "benchmark": after["benchmark"],
                        "item": after["item"],
                        "sample": sample,
                        "gold": after["gold"],
                        "answer": response["answer"],
                        "recorded": "correct" if then else "not correct",
                        "verdict": response["verdict"],
                        "end": response["text"][-300:],
                    }
                )
    return found, judged


def problems(rows: Sequence[Row]) -> dict[str, list[Problem]]:
    """The problems of each benchmark."""
    found: dict[str, list[Problem]] = {}
    for row in rows:
        problem = Problem(row["item"], row["problem"], row["gold"], kind=row["kind"])
        found.setdefault(row["benchmark"], []).append(problem)
    return found


def _first(row: Row, names: Sequence[str], where: str) -> Any:
    for name in names:
        if row.get(name) is not None:
            return row[name]
    raise RecipeError(f"{where}: none of the columns {', '.join(names)}; there are {', '.join(row)}")


def _problem(value: Any, where: str) -> str:
    """A text, a number that stands for it, or the last user's turn of a chat."""
    try:
        asked = [turn.text for turn in cells.turns(value) or [] if turn.role == "user"]
        return asked[-1] if asked else str(value) if isinstance(value, int) else cells.text(value) or ""
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
        raise RecipeError(f"{where}: a response is {str(value)[:60]}, want text, or an object with text")
    return {"text": value["text"], **{name: value.get(name) for name in ("tokens", "finish", "token_ids")}}
