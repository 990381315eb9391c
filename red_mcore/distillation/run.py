"""A distillation from its problems to its set: one function, and what it is given."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from red_mcore.config.recipe import Data, RecipeError, Reward
from red_mcore.config.redaction import redacted
from red_mcore.data import sources
from red_mcore.distillation import problems, result
from red_mcore.distillation.estimate import estimate
from red_mcore.distillation.keeping import wanted
from red_mcore.distillation.ledger import FILE, Ledger, digest
from red_mcore.distillation.settings import Keeping, Limits, Prices, Sampling
from red_mcore.distillation.teacher import Task, Teacher
from red_mcore.distillation.work import Distilling, Judge
from red_mcore.rewards import functions
from red_mcore.tracking.console import Console

CHARACTERS_PER_TOKEN = 4
"""Of prompts, where no tokenizer is here."""
TEMPLATE_TOKENS = 20
"""Of a prompt, that a chat template adds."""


@dataclass(frozen=True)
class Job:
    """What is to be distilled, and how."""

    data: Data
    out: Path
    sampling: Sampling = field(default_factory=Sampling)
    keeping: Keeping = field(default_factory=Keeping)
    limits: Limits = field(default_factory=Limits)
    prices: Prices = field(default_factory=Prices)
    reward: Reward = field(default_factory=Reward)
    """Of it workers, timeout_seconds, boxed_only and verdict."""
    source: str | None = None
    """What traces call the teacher; None is its own name."""
    suffix: str = ".jsonl"
    """Of the set: ``.jsonl`` or ``.parquet``."""
    add: bool = False
    """Whether traces that the problems' rows have stay in the set."""
    expected_tokens: float | None = None
    """Of an answer, for the estimate before there are any."""
    only_estimate: bool = False

    def check(self) -> None:
        """RecipeError naming the option that cannot work."""
        for part in (self.sampling, self.keeping, self.limits, self.prices):
            part.check()
        if self.expected_tokens is not None and not self.expected_tokens > 0:
            raise RecipeError(f"--expected-tokens {self.expected_tokens:g}: use a number above 0")
        if self.reward.workers < 1:
            raise RecipeError(f"--workers {self.reward.workers}: use 1 or more")
        if not self.reward.timeout_seconds > 0:
            raise RecipeError(
                f"--verdict-timeout {self.reward.timeout_seconds:g}: use a number above 0"
            )
        if self.reward.verdict is not None:
            functions.check_path("--verdict", self.reward.verdict)


def distil(
    job: Job, engage: Callable[[Sequence[Task]], Teacher], say: Callable[[str], None] = print
) -> Path | None:
    """Ask what is not there yet, and write set and manifest; the set's file, None where only an
    estimate was wanted.

    ``engage`` makes the teacher, once the problems are known. Whenever it is killed, what was
    answered is in the ledger, and the same call goes on. RecipeError for what cannot work,
    RuntimeError where the teacher fails; what is there stays.
    """
    job.check()
    tasks, notes = problems.read(job.data, functions.columns(job.reward))
    for note in notes:
        say(f"warning: {note}")
    if not tasks:
        raise RecipeError(f"{_place(job.data)} has no problems")
    asked = [task.problem for task in tasks]
    functions.try_out(job.reward, lambda _: {_place(job.data): asked})
    ledger = Ledger(job.out)
    try:
        judge = Judge(job.reward, job.reward.boxed_only)
        try:
            return _distil(job, tasks, engage, ledger, judge, say)
        finally:
            judge.close()
    finally:
        ledger.close()


def _distil(
    job: Job,
    tasks: Sequence[Task],
    engage: Callable[[Sequence[Task]], Teacher],
    ledger: Ledger,
    judge: Judge,
    say: Callable[[str], None],
) -> Path | None:
    used, left_out = _usable(job, tasks, judge)
    for id_, fault in left_out[:5]:
        say(f"warning: problem {id_} is not asked: its gold cannot be used: {fault}")
    if not used:
        raise RecipeError(f"{_place(job.data)}: no gold of its {len(tasks)} problems can be used")
    _check_questions(used, ledger, job.out)
    teacher = engage(used)
    source = job.source or teacher.name
    ledger.claim({"teacher": teacher.about, "sampling": job.sampling.row()})
    bar: list[Console] = []
    first: list[tuple[float, int]] = []
    """When the first answer came, and the tokens that were there by then."""

    def told(work: Distilling) -> None:
        if bar:
            first[:] = first[:1] or [(time.monotonic(), ledger.tokens)]
            (began, before) = first[0]
            speed = (ledger.tokens - before) / max(1.0, time.monotonic() - began)
            bar[0].update(work.done, _metrics(job, ledger, work, speed), work.planned)

    work = Distilling(used, job.keeping, job.sampling.seed, ledger, judge, told)
    say(
        f"{len(used)} problems of {_place(job.data)} for {teacher.place},"
        f" {_rule(job.keeping)}; {work.done} of {work.planned} answers are in {job.out / FILE}"
    )
    for line in _estimate(job, used, teacher, ledger, work):
        say(line)
    if job.only_estimate:
        return None
    with Console("answers", work.planned, work.done) as console:
        bar.append(console)
        console.phase("judging what is there")
        work.settle()
        if not work.is_over:
            console.phase("starting the teacher")
            teacher.work(work)
            work.settle()
            teacher.close()
        bar.clear()
    return _write(job, used, left_out, teacher, source, ledger, work, judge, say)


def _usable(
    job: Job, tasks: Sequence[Task], judge: Judge
) -> tuple[list[Task], list[tuple[str, str]]]:
    """The problems that are asked; id and fault of those whose gold no answer can meet, where the
    rule wants correct answers."""
    if not job.keeping.wants_correct:
        return list(tasks), []
    faults = judge.gold_faults(tasks)
    found = list(zip(tasks, faults, strict=True))
    used = [task for task, fault in found if fault is None]
    return used, [(task.entry.id, fault) for task, fault in found if fault is not None]


def _check_questions(tasks: Sequence[Task], ledger: Ledger, out: Path) -> None:
    """RecipeError where the ledger answers other problems by the same ids."""
    texts = {task.entry.id: task.problem.text for task in tasks}
    for (id_, _), line in ledger.lines.items():
        if id_ in texts and line.question != digest(texts[id_]):
            raise RecipeError(
                f"{out / FILE} has answers to another problem {id_} than the data has now: choose"
                " another --out, or the data that it was made with"
            )


def _estimate(
    job: Job, tasks: Sequence[Task], teacher: Teacher, ledger: Ledger, work: Distilling
) -> list[str]:
    if (left := work.planned - work.done) <= 0:
        return []
    prompt = teacher.prompt_tokens
    if prompt is None:
        around = len(job.sampling.system_prompt or "") + len(job.sampling.suffix)
        characters = sum(len(task.problem.text) + around for task in tasks) / len(tasks)
        prompt = characters / CHARACTERS_PER_TOKEN + TEMPLATE_TOKENS
    found = estimate(
        left, prompt, ledger.lines.values(), job.sampling.max_tokens, job.expected_tokens
    )
    told = found.lines(job.limits, job.prices)
    if job.keeping.rule == "fill":
        most = len(tasks) * job.keeping.most
        told.append(f"filling up may take more: {most:,} answers in all at most")
    return told


def _metrics(job: Job, ledger: Ledger, work: Distilling, speed: float) -> dict[str, float]:
    """What the progress shows beside what is done; ``speed`` in tokens per second."""
    judged = sum(work.counts.values())
    found = {"correct %": 100 * work.counts["correct"] / judged} if judged else {}
    found["tokens/s"] = speed
    if job.prices.prompt or job.prices.answer:
        found["cost"] = job.prices.of(ledger.prompt_tokens, ledger.tokens)
    return found


def _write(
    job: Job,
    tasks: Sequence[Task],
    left_out: Sequence[tuple[str, str]],
    teacher: Teacher,
    source: str,
    ledger: Ledger,
    work: Distilling,
    judge: Judge,
    say: Callable[[str], None],
) -> Path:
    seen = [work.seen(task) for task in tasks]
    made = result.Result(tasks, seen, ledger, source, job.sampling, job.keeping, add=job.add)
    file = job.out / f"traces{job.suffix}"
    written = made.write(file)
    used = []
    for task, known in zip(tasks, seen, strict=True):
        for index in wanted(job.keeping, known):
            if (line := ledger.lines.get((task.entry.id, index))) is not None:
                used.append(line)
    asked = result.totals(used, job.prices)
    refused = [(id_, index, reason) for (id_, index), reason in work.refusals]
    about: dict[str, Any] = {"source": source, **teacher.about}
    place = result.manifest(
        job.out,
        teacher=about,
        source={"path": _place(job.data), "problems": len(tasks) + len(left_out)},
        sampling=job.sampling,
        keeping=job.keeping,
        asked=asked,
        written=written,
        refused=refused,
        left_out=left_out,
    )
    for path, failure in judge.failures.items():
        say(f"warning: '{path}' failed, for the first time so:\n{failure}")
    if refused:
        say(
            f"warning: {len(refused)} requests were refused, the first: {refused[0][2]}; the same"
            " command asks them again"
        )
    if written["with_a_banned_text"]:
        say(
            f"warning: {written['with_a_banned_text']} traces hold a banned text all the same: by"
            " other tokens than those that were banned, or the server does not know bad_words"
        )
    correct = asked["verdicts"]["correct"]
    say(
        f"{written['traces']} traces of {written['problems_with_traces']} of {len(tasks)} problems;"
        f" {correct} of {asked['answers']} answers are correct,"
        f" {asked['finish_reasons'].get('length', 0)} are cut by --max-tokens"
    )
    say(f"{file}\n{place}")
    return file


def _place(data: Data) -> str:
    """Where the problems are from."""
    return redacted(", ".join(sources.paths(data))) or problems.BUILT_IN


def _rule(keeping: Keeping) -> str:
    if keeping.rule == "fill":
        return f"filled up to {keeping.count} correct answers each"
    kept = {"k_correct": f"the first {keeping.count} correct"}.get(keeping.rule, keeping.rule)
    return f"{keeping.samples} answers each, of which it keeps {kept.replace('_', ' ')}"
