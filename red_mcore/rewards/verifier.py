"""Verdicts on answers, and users' reward functions, in child processes that a wall clock can kill.

Symbolic comparison of what a model wrote can take for ever (``9^{9^{9}}``) or bring its process down, and no signal
reaches a thread that sits in C code. So the rank never parses an answer itself: the children of a ``Pool`` do. Five
verdicts are told apart, because a rising share of any of the last three is news of its own:

- ``correct``, ``wrong``: both sides are understood; the word of ``grading.judge`` on their equality;
- ``unparsable``: no balanced ``\\boxed{...}`` (with ``boxed_only``), or no answer to be found in what there is;
- ``timeout``: the child was killed at ``timeout_seconds``;
- ``crash``: the answer brought its child down, again and again, or made the comparison fail.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from red_mcore.recipe import Reward
from red_mcore.records import Kind, Problem
from red_mcore.rewards.answers import answer_part, certain, last_boxed
from red_mcore.rewards.pool import Pool

VERDICTS = ("correct", "wrong", "unparsable", "timeout", "crash")


class Question(NamedTuple):
    """What is to be graded; gold and answer have their order here and nowhere else."""

    gold: str
    text: str
    """The whole response."""
    kind: Kind = "math"


class Grade(NamedTuple):
    """What came of it."""

    verdict: str
    answer: str | None
    """Content of the last box in the answer part; None where there is none."""


class Verifier:
    """Grades responses in ``settings.workers`` child processes; close it, or use it as a context manager.

    The children import math-verify, and neither torch nor Megatron; see ``Pool`` for how they live and die.
    """

    def __init__(self, settings: Reward) -> None:
        self.settings = settings
        self._known: dict[tuple, str] = {}
        self._pool = Pool(_work, settings.workers, settings.timeout_seconds, _prepare_child)

    def grade(self, questions: Iterable[tuple], boxed_only: bool | None = None) -> list[Grade]:
        """A grade of each ``Question`` (or tuple of its fields), in order; ``boxed_only`` None is the settings' value.

        The verdict depends on kind, gold and boxed answer, or else on the whole answer part: equal ones are judged once
        in the verifier's life. Timeouts and crashes are judged anew in each call, since load on the machine may have
        caused them. Raises RuntimeError where the children cannot be started, e.g. where math-verify is not installed.
        """
        boxed_only = self.settings.boxed_only if boxed_only is None else boxed_only
        grades: list[Grade] = []
        asked: dict[tuple, list[int]] = {}
        for index, question in enumerate(Question(*fields) for fields in questions):
            part = answer_part(question.text)
            answer = last_boxed(part)
            verdict = None
            if answer is not None:
                verdict = certain(question.kind, question.gold, answer)
            elif boxed_only:
                verdict = "unparsable"
            grades.append(Grade(verdict, answer))
            if verdict is None:
                is_boxed = answer is not None
                task = ("judge", question.kind, question.gold, answer if is_boxed else part, is_boxed)
                asked.setdefault(task, []).append(index)
        new = [task for task in asked if task not in self._known]
        found = dict(zip(new, map(_verdict, self._pool.run(new)), strict=True))
        # Whole responses are long and seldom come twice: only boxed answers are kept.
        self._known |= {t: v for t, v in found.items() if t[-1] and v not in ("timeout", "crash")}
        for task, indices in asked.items():
            verdict = found.get(task) or self._known[task]
            for index in indices:
                grades[index] = grades[index]._replace(verdict=verdict)
        return grades

    def gold_faults(self, problems: Sequence[Problem]) -> list[str | None]:
        """Why each problem's gold cannot be used, or None: it has to be understood, and equal to itself."""
        unsure = [i for i, p in enumerate(problems) if certain(p.kind, p.gold, p.gold) != "correct"]
        tasks = [("gold", problems[i].kind, problems[i].gold) for i in unsure]
        faults: list[str | None] = [None] * len(problems)
        for i, (how, value) in zip(unsure, self._pool.run(tasks), strict=True):
            faults[i] = value if how == "done" else f"{how} while it was compared with itself"
        return faults

    def call(self, path: str, arguments: Sequence[tuple]) -> list[float | None]:
        """What the user's function at the import path ``module:function`` returns; None for a timeout or crash."""
        results = self._pool.run([("call", path, *each) for each in arguments])
        return [value if how == "done" else None for how, value in results]

    def close(self) -> None:
        """End the children, whatever they are doing."""
        self._pool.close()

    def __enter__(self) -> Verifier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _verdict(result: tuple[str, Any]) -> str:
    how, value = result
    return value if how == "done" else how


def _prepare_child() -> None:
    """Runs in each child before its first task."""
    from red_mcore.rewards import grading  # noqa: F401  imports math-verify, a second or so of no task's time

    # It warns that its own time limits are off. They are, for they do not reach into C code; the parent's clock does.
    logging.getLogger("math_verify").setLevel(logging.ERROR)


def _work(what: str, *arguments: Any) -> Any:
    """Runs in a child."""
    from red_mcore.rewards import grading

    if what == "judge":
        return grading.judge(*arguments)
    if what == "gold":
        return grading.gold_fault(*arguments)
    path, *rest = arguments
    return float(imported(path)(*rest))


def imported(path: str) -> Any:
    """The function at the import path ``package.module:function``; ImportError or AttributeError where it is not."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
