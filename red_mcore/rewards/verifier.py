"""Verdicts on answers, and users' reward functions, in child processes that their CPU time ends.

Symbolic comparison of what a model wrote can take for ever (``9^{9^{9}}``) or bring its process
down, and no signal reaches a thread that sits in C code. So the rank never parses an answer itself:
the children of a ``Pool`` do. Five verdicts are told apart, because a rising share of any of the
last three is news of its own:

- ``correct``, ``wrong``: both sides are understood; the word of ``grading.judge`` on their
  equality;
- ``unparsable``: no answer (with ``boxed_only``, no balanced ``\\boxed{...}``), or none that can be
  read;
- ``timeout``: the child was ended after ``timeout_seconds`` of CPU time (or after ``pool.WALL``
  times that of waiting);
- ``crash``: the answer brought its child down, again and again, or made the comparison fail.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from red_mcore.config.recipe import Reward
from red_mcore.rewards.answers import certain, final_answer
from red_mcore.rewards.choices import final_choice
from red_mcore.rewards.functions import Call, attempt, load, outcome
from red_mcore.rewards.pool import Pool
from red_mcore.samples.records import Kind, Problem

REMEMBERED = 200
"""Characters of an answer up to which its verdict is kept: longer ones seldom come twice."""
VERDICTS = ("correct", "wrong", "unparsable", "timeout", "crash")
NO_VERDICT = VERDICTS[3:]
"""Verdicts that say nothing of the answer; load on the machine may have caused them."""


class Question(NamedTuple):
    """What is to be graded; gold and answer have their order here and nowhere else."""

    gold: str
    text: str
    """The whole response."""
    kind: Kind = "math"


class _Task(NamedTuple):
    """What a child is asked: equal ones have equal verdicts."""

    kind: Kind
    gold: str
    answer: str | None


class Grade(NamedTuple):
    """What came of it."""

    verdict: str
    answer: str | None
    """What was compared with the gold; None where the response has no answer."""


class Verifier:
    """Grades responses in ``settings.workers`` child processes; close it, or use it as a context
    manager.

    The children import math-verify, and neither torch nor Megatron; see ``Pool`` for how they live
    and die.
    """

    def __init__(self, settings: Reward) -> None:
        self.settings = settings
        self._known: dict[_Task, str] = {}
        self.failures: dict[str, str] = {}
        """The first failure of each of the user's functions, with its traceback."""
        self.told: set[str] = set()
        """Functions whose first failure the user knows."""
        self.warned: set[str] = set()
        """Functions that the user knows to fail often."""
        # The user's modules are each child's own: they may start threads and processes when they
        # are imported.
        begin = partial(load, settings.paths)
        self._pool = Pool(_work, settings.workers, settings.timeout_seconds, _prepare, begin)

    def grade(self, questions: Iterable[tuple], boxed_only: bool | None = None) -> list[Grade]:
        """A grade of each ``Question`` (or tuple of its fields), in order; ``boxed_only`` None is
        the settings' value.

        The verdict depends on kind, gold and answer: equal ones are judged once in the verifier's
        life. Timeouts and crashes are judged anew in each call, since what else happens on the
        machine may have caused them. Raises RuntimeError where the children cannot be started, e.g.
        where math-verify is not installed.
        """
        asked = [self._task(Question(*each), boxed_only) for each in questions]
        verdicts: dict[_Task, Any] = {}
        for task in asked:
            if task not in verdicts:
                verdicts[task] = self._verdict_at_once(task)
        new = [task for task, verdict in verdicts.items() if verdict is None]
        results = iter(self._pool.run([("judge", *task) for task in new]))
        for task in new:
            how, value = next(results)
            verdicts[task] = value if how == "done" else how
            # Load on the machine may have caused the others: they are judged anew.
            if how == "done" and len(task.answer or "") <= REMEMBERED:
                self._known[task] = value
        return [Grade(verdicts[task], task.answer) for task in asked]

    def _task(self, question: Question, boxed_only: bool | None) -> _Task:
        read = final_choice if question.kind == "choice" else final_answer
        answer = read(question.text, self._is_boxed_only(boxed_only))
        return _Task(question.kind, question.gold, answer)

    def _verdict_at_once(self, task: _Task) -> str | None:
        """The verdict where no child is needed to know it."""
        if task.answer is None:
            return "unparsable"
        return certain(task.kind, task.gold, task.answer) or self._known.get(task)

    def _is_boxed_only(self, asked: bool | None) -> bool:
        return self.settings.boxed_only if asked is None else asked

    def gold_faults(self, problems: Sequence[Problem]) -> list[str | None]:
        """Why each gold cannot be used, or None: it has to be understood, and equal to itself."""
        faults: list[str | None] = [None] * len(problems)
        unsure = [i for i, problem in enumerate(problems) if not _is_certain(problem)]
        for _ in range(2):  # a second time for those that load on the machine may have failed
            tasks = [("gold", problems[i].kind, problems[i].gold) for i in unsure]
            results = iter(self._pool.run(tasks))
            failed = []
            for i in unsure:
                how, faults[i] = next(results)
                if how != "done":
                    faults[i] = f"{how} while it was compared with itself"
                    failed.append(i)
            unsure = failed
        return faults

    def call(self, path: str, arguments: Sequence[tuple]) -> list[float | None]:
        """What the user's function at the import path ``module:function`` returns, None where it
        fails.

        ``arguments``: a ``Call``, or a tuple of its fields, each. The first failure is kept in
        ``failures``.
        """
        outcomes = self._own("term", path, arguments)
        return [value if how == "done" else None for how, value in outcomes]

    def judge(self, calls: Sequence[Call], boxed_only: bool | None = None) -> list[Grade]:
        """A grade of each response by ``settings.verdict``; nothing is no answer, and one that
        fails is a ``crash``.

        ``boxed_only`` decides what is shown as the answer, and no more.
        """
        boxed_only = self._is_boxed_only(boxed_only)
        path = self.settings.verdict
        assert path is not None, "who has no judge of their own asks for grades"
        written = [call for call in calls if call.response.strip()]
        results = iter(self._own("verdict", path, written))
        grades = []
        for call in calls:
            verdict = "unparsable"
            if call.response.strip():
                how, value = next(results)
                verdict = {"done": value, "timeout": "timeout"}.get(how, "crash")
            grades.append(Grade(verdict, final_answer(call.response, boxed_only)))
        return grades

    def _own(self, what: str, path: str, calls: Sequence[tuple]) -> list[tuple[str, Any]]:
        """``functions.outcome`` of each call of the user's function."""
        results = self._pool.run([("own", what, path, tuple(call)) for call in calls])
        found = [outcome(*result) for result in results]
        for how, value in found:
            if how != "done":
                self.failures.setdefault(path, value)
        return found

    def close(self) -> None:
        """End the children, whatever they are doing."""
        self._pool.close()

    def __enter__(self) -> Verifier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def graded(
    verifier: Verifier, reward: Reward, asked: Sequence[tuple[Problem, str, int]], **options: Any
) -> list[Grade]:
    """Grades of (problem, what is judged of its response, that one's tokens), by the user's verdict
    if there is one.

    ``options``: ``boxed_only``.
    """
    if reward.verdict is None:
        questions = [(problem.gold, text, problem.kind) for problem, text, _ in asked]
        return verifier.grade(questions, **options)
    calls = []
    for problem, text, tokens in asked:
        calls.append(Call(problem.text, problem.gold, text, tokens, problem.columns))
    return verifier.judge(calls, **options)


def _is_certain(problem: Problem) -> bool:
    """Whether it is known without a child that the gold equals itself."""
    return certain(problem.kind, problem.gold, problem.gold) == "correct"


def _prepare() -> None:
    """Runs once, for all children that come after one another."""
    from red_mcore.rewards import grading

    # It warns that its own time limits are off. They are, for they do not reach into C code; the
    # pool's do.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    grading.warm_up()


def _work(what: str, *arguments: Any) -> Any:
    """Runs in a child."""
    from red_mcore.rewards import grading

    if what == "judge":
        return grading.judge(*arguments)
    if what == "gold":
        return grading.gold_fault(*arguments)
    return attempt(*arguments)
