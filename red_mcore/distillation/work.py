"""The work of a distillation: which answer is asked for next, and what comes of each."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Condition

from red_mcore.checkpoints import fingerprints
from red_mcore.config.recipe import Reward
from red_mcore.distillation.keeping import Seen, wanted
from red_mcore.distillation.ledger import Key, Ledger, Line, Verdict, digest
from red_mcore.distillation.settings import Keeping
from red_mcore.distillation.teacher import Answer, Request, Task, request_seed
from red_mcore.rewards.verifier import Verifier, graded

BATCH = 256
"""Answers that are judged at once, at most."""
HOPELESS = 8
"""Refusals before any answer at which the teacher is given up."""


class Judge:
    """The reward pool in a thread of its own: what it starts is tied to the thread that uses it."""

    def __init__(self, reward: Reward, boxed_only: bool) -> None:
        self._reward, self._boxed_only = reward, boxed_only
        self._by = json.dumps(fingerprints.of_functions(reward.paths))
        """Who judges: the user's function, with its code, or nobody else."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="judge")
        self._verifier = self._thread.submit(Verifier, reward).result()
        self.failures = self._verifier.failures

    def mark(self, task: Task) -> str:
        """A digest of what a verdict on answers to the problem depends on beside the answer."""
        return digest(self._by, str(self._boxed_only), task.problem.gold)

    def gold_faults(self, tasks: Sequence[Task]) -> list[str | None]:
        """Why each problem's gold can be met by no answer, or None; by a user's judge any can."""
        if self._reward.verdict is not None:
            return [None] * len(tasks)
        problems = [task.problem for task in tasks]
        return self._thread.submit(self._verifier.gold_faults, problems).result()

    def submit(self, call: Callable[[], None]) -> Future[None]:
        """Call it in the thread, after what was submitted before."""
        return self._thread.submit(call)

    def verdicts(self, asked: Sequence[tuple[Task, str, int]]) -> list[Verdict]:
        """Of (problem, text of the answer, its tokens) each; in the thread alone."""
        questions = [(task.problem, text, tokens) for task, text, tokens in asked]
        grades = graded(self._verifier, self._reward, questions, boxed_only=self._boxed_only)
        return [
            Verdict(grade.verdict, grade.answer, self.mark(task))
            for grade, (task, *_) in zip(grades, asked, strict=True)
        ]

    def close(self) -> None:
        """End the children."""
        self._thread.submit(self._verifier.close).result()
        self._thread.shutdown()


class Distilling:
    """``teacher.Work`` on a ledger: deals what is not there, judges what comes, and asks on.

    What is asked for depends on the problems, the rule and the verdicts, never on who was faster.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        keeping: Keeping,
        seed: int,
        ledger: Ledger,
        judge: Judge,
        told: Callable[[Distilling], None] = lambda work: None,
    ) -> None:
        """``told`` is called after every answer and every verdict."""
        self._keeping, self._seed, self._ledger, self._judge = keeping, seed, ledger, judge
        self._told = told
        self._changed = Condition()
        self._seen: dict[str, dict[int, Seen]] = {task.entry.id: {} for task in tasks}
        self._dealt: dict[str, int] = {}
        """Answers to each problem that were asked for."""
        self._queue: deque[Request] = deque()
        self._underway = 0
        """Requests with a teacher, and answers without a verdict."""
        self._unjudged: deque[tuple[Task, int]] = deque()
        self.refusals: list[tuple[Key, str]] = []
        self.error: BaseException | None = None
        self.planned = 0
        """Answers that are wanted, as far as is known now."""
        self.done = 0
        """Of these, what is there."""
        self.counts: Counter[str] = Counter()
        """Verdicts on them."""
        for task in tasks:
            self._begin(task)
        if self._unjudged:
            judge.submit(self._judging)

    @property
    def is_over(self) -> bool:
        """As ``Work`` has it."""
        return self.error is not None or not (self._queue or self._underway)

    def take(self, wait: bool = True) -> Request | None:
        """As ``Work`` has it."""
        with self._changed:
            while wait and not self._queue and not self.is_over:
                self._changed.wait()
            if self.error is not None or not self._queue:
                return None
            self._underway += 1
            return self._queue.popleft()

    def tell(self, request: Request, answer: Answer) -> None:
        """As ``Work`` has it."""
        self._ledger.add(request, answer)
        with self._changed:
            self.done += 1
            is_first = not self._unjudged
            self._unjudged.append((request.task, request.index))
        if is_first:
            self._judge.submit(self._judging)
        self._told(self)

    def refuse(self, request: Request, reason: str) -> None:
        """As ``Work`` has it; the next start asks again."""
        with self._changed:
            self.refusals.append(((request.task.entry.id, request.index), reason))
            if len(self.refusals) >= HOPELESS and not self.done:
                self.error = self.error or RuntimeError(
                    f"the teacher refuses every request, {len(self.refusals)} so far: {reason}"
                )
            self._see(request.task, request.index, Seen(False, 0, is_empty=True))
            self._underway -= 1
            self._changed.notify_all()

    def give_up(self, error: BaseException) -> None:
        """As ``Work`` has it."""
        with self._changed:
            self.error = self.error or error
            self._changed.notify_all()

    def seen(self, task: Task) -> dict[int, Seen]:
        """What is known of the answers to a problem."""
        return self._seen[task.entry.id]

    def settle(self) -> None:
        """Wait until all that was told is judged; raise what the work was given up for."""
        self._judge.submit(lambda: None).result()
        if self.error is not None:
            raise self.error

    def _begin(self, task: Task) -> None:
        """Take up what the ledger has of a problem, and queue what is missing."""
        id_ = task.entry.id
        mark, index = self._judge.mark(task), 0
        self._dealt[id_] = 0
        while index < len(wanted(self._keeping, self._seen[id_])):
            line = self._ledger.lines.get((id_, index))
            if line is None:
                self._queue.append(Request(task, index, request_seed(self._seed, id_, index)))
            elif line.verdict is None or line.verdict.judge != mark:
                self._unjudged.append((task, index))
                self._underway += 1
                self.done += 1
            else:
                self.done += 1
                self.counts[line.verdict.verdict] += 1
                self._seen[id_][index] = _seen(line.verdict, line)
            index += 1
        self._dealt[id_] = index
        self.planned += index

    def _see(self, task: Task, index: int, seen: Seen) -> None:
        """Note what is known of an answer, and queue what the rule then wants."""
        id_ = task.entry.id
        self._seen[id_][index] = seen
        for more in wanted(self._keeping, self._seen[id_])[self._dealt[id_] :]:
            self._dealt[id_] = more + 1
            self.planned += 1
            line = self._ledger.lines.get((id_, more))
            if line is None:
                self._queue.append(Request(task, more, request_seed(self._seed, id_, more)))
            else:
                # Answers of a later round than the one that is not whole: an earlier start had a
                # verdict, or a refusal, that this one had to get again.
                self.done += 1
                self._underway += 1
                self._unjudged.append((task, more))
                self._judge.submit(self._judging)

    def _judging(self) -> None:
        """In the judge's thread: verdicts on all answers that wait for one."""
        try:
            while True:
                with self._changed:
                    batch = [self._unjudged[i] for i in range(min(BATCH, len(self._unjudged)))]
                if not batch:
                    return
                self._judge_batch(batch)
                self._told(self)
        except BaseException as error:
            self.give_up(error)

    def _judge_batch(self, batch: Sequence[tuple[Task, int]]) -> None:
        keys = [(task.entry.id, index) for task, index in batch]
        lines = [self._ledger.lines[key] for key in keys]
        asked = [
            (task, self._ledger.answer(key).text, line.tokens)
            for (task, _), key, line in zip(batch, keys, lines, strict=True)
        ]
        verdicts = self._judge.verdicts(asked)
        self._ledger.judge(list(zip(keys, verdicts, strict=True)))
        with self._changed:
            for (task, index), line, verdict in zip(batch, lines, verdicts, strict=True):
                self.counts[verdict.verdict] += 1
                self._unjudged.popleft()
                self._see(task, index, _seen(verdict, line))
                self._underway -= 1
            self._changed.notify_all()


def _seen(verdict: Verdict, line: Line) -> Seen:
    is_correct = verdict.verdict == "correct" and line.finish_reason == "stop"
    return Seen(is_correct, line.tokens, line.is_empty)
