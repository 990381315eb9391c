"""The loop and its hooks: which moment comes when, what is done at it, and in which order."""

from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from red_mcore.algorithms.grpo import GRPO
from red_mcore.config.recipe import Benchmarks, Evaluation, Model, Recipe, Until
from red_mcore.train import trainer
from red_mcore.train.clock import Clock
from red_mcore.train.hooks import all_hooks, budgets, evaluating, kept_rollouts, saving
from red_mcore.train.hooks.hook import Hook
from red_mcore.train.hooks.metrics_row import MetricsRow
from red_mcore.train.hooks.progress import Progress
from red_mcore.train.hooks.saving import Saving
from red_mcore.train.hooks.warnings import Warnings
from red_mcore.train.state import State
from red_mcore.train.step import Step

pytestmark = pytest.mark.usefixtures("one_rank")


class Screen:
    def __init__(self):
        self.lines: list[str] = []

    def phase(self, name: str) -> None:
        self.lines.append(name)

    def part(self, done: int, total: int) -> None:
        raise AssertionError("nothing is sampled here")

    def update(self, step: int, metrics: dict, total: int) -> None:
        self.lines.append(f"{step}/{total}")


class FakeRun(SimpleNamespace):
    """What hooks ask of a run; ``events`` has what they did."""

    def __init__(self, **settings):
        recipe = Recipe("x", Model(), GRPO(), **settings)
        engine = SimpleNamespace(version=0)
        super().__init__(
            recipe=recipe,
            state=State(before={}),
            ranks=SimpleNamespace(is_main=True),
            sampler=SimpleNamespace(engine=engine, watch=None),
            saver=SimpleNamespace(poll=lambda: None, finish=lambda: self.events.append("finish")),
            evaluator=None,
            benchmarks={},
            tokenizer=None,
            screen=Screen(),
            stopping=False,
            saving=False,
            events=[],
            rows=[],
        )

    def say(self, text: str) -> None:
        self.events.append(text)

    def log(self, row: dict[str, float]) -> None:
        self.rows.append(row)

    def agree(self) -> None:
        self.stopping = self.stopping or self.state.step == getattr(self, "signal_at", None)

    def checkpoint_due(self) -> bool:
        return (
            self.recipe.checkpoint.every > 0 and self.state.step % self.recipe.checkpoint.every == 0
        )

    def save(self) -> None:
        self.events.append(f"save {self.state.step}")

    @contextmanager
    def progress(self, description: str, total: int, done: int):
        self.events.append(f"begin {description} {done}/{total}")
        yield
        self.events.append("end")


def make_step(run: FakeRun, tokens: float = 10.0, seconds: float = 1.0) -> Step:
    run.state.step += 1
    clock = Clock(run.screen.phase)
    clock.seconds["time/update_seconds"] = seconds
    return Step(run.recipe.algorithm, clock, metrics={"rollout/generated_tokens": tokens})


def test_each_moment_reaches_each_hook_in_the_order_of_the_list(monkeypatch):
    monkeypatch.setattr(trainer, "make_step", make_step)
    run = FakeRun(steps=2)

    class Told(Hook):
        def __init__(self, name):
            self.name = name

        def before_training(self, run):
            run.events.append(f"{self.name} before")

        def after_step(self, run, step):
            run.events.append(f"{self.name} {run.state.step}")

    trainer.train(run, [Told("a"), Told("b")])
    steps = ["begin GRPO 0/2", "a 1", "b 1", "a 2", "b 2", "end"]
    assert run.events == ["a before", "b before", *steps]
    trainer.train(run, [Told("a")])
    assert run.events[-3:] == ["a before", "begin GRPO 2/2", "end"]  # nothing is left to do


def test_a_row_has_what_all_hooks_add_and_a_checkpoint_what_all_change():
    order = [type(hook) for hook in all_hooks()]
    assert len(set(order)) == len(order)
    after_evaluating = [Warnings, MetricsRow, Saving, Progress]
    places = [
        order.index(kind) for kind in (budgets.Budgets, evaluating.Evaluating, *after_evaluating)
    ]
    assert places == sorted(places)
    assert issubclass(order[0], Hook)


def test_a_run_goes_on_until_both_budgets_are_spent():
    run = FakeRun(steps=2, until=Until(generated_tokens=35, train_seconds=2.5, most_steps=9))
    hook, spends = budgets.Budgets(), []
    while not budgets.done(run):
        step = make_step(run)
        hook.after_step(run, step)
        spends.append(step.spends_budget)
    assert run.state.step == 4  # 40 tokens, 4 seconds
    assert spends == [False, False, True, True]  # the seconds, then the tokens
    assert budgets.budgets(run) == [(40.0, 35), (4.0, 2.5)]
    run.recipe.until.generated_tokens = 1e6
    assert budgets.expected_steps(run) == 9
    run.state.step = 9
    assert budgets.done(run)  # at most_steps, whatever is spent
    run = FakeRun(steps=2, until=Until(generated_tokens=95, train_seconds=0, most_steps=90))
    run.state.step = 2
    assert budgets.expected_steps(run) == 2  # nothing is spent that tells a pace
    run.state.generated_tokens = 20.0
    assert budgets.expected_steps(run) == 10


@pytest.fixture
def measured(monkeypatch):
    """Names the steps at which held-out problems and benchmarks are measured."""

    def evaluate(run):
        run.state.evaluated = run.state.step
        run.events.append(f"evaluate {run.state.step}")
        return {"evaluation/pass1": 0.5}

    def benchmark(run, watch):
        if run.evaluator is None:
            return {}
        run.state.benchmarked = run.state.step
        run.events.append(f"benchmark {run.state.step}")
        return {"evaluation/AMC_mean": 0.25}

    monkeypatch.setattr(evaluating, "evaluate", evaluate)
    monkeypatch.setattr(evaluating, "benchmark", benchmark)
    monkeypatch.setattr(evaluating, "show", lambda run, found: None)


@pytest.mark.usefixtures("measured")
def test_what_is_measured_when():
    run = FakeRun(
        steps=5, evaluation=Evaluation(every=2, benchmarks=Benchmarks(names=["AMC"], every=3))
    )
    run.evaluator = object()
    run.state.before = None
    hook = evaluating.Evaluating()
    hook.before_training(run)
    hook.before_training(run)  # as of a run that goes on
    assert run.rows == [{"evaluation/pass1": 0.5, "evaluation/AMC_mean": 0.25}]
    for _ in range(5):
        step = make_step(run)
        step.spends_budget = run.state.step == 1
        hook.after_step(run, step)
    hook.after_training(run)
    assert run.events == [
        *("evaluate 0", "benchmark 0"),
        "evaluate 1",  # which spends a budget
        "evaluate 2",
        "benchmark 3",
        "evaluate 4",
        *("evaluate 5", "benchmark 5"),
    ]
    assert step.metrics["evaluation/AMC_mean"] == 0.25
    assert run.state.after == {"evaluation/pass1": 0.5, "evaluation/AMC_mean": 0.25}
    assert "time/evaluate_seconds" in step.clock.seconds


@pytest.mark.usefixtures("measured")
def test_a_run_that_asks_for_no_more_steps_gets_the_evaluation_that_it_lacks():
    run = FakeRun(steps=3)
    run.state = State(step=3, evaluated=2, before={"evaluation/pass1": 0.1})
    run.stopping = True
    evaluating.Evaluating().after_training(run)
    assert run.events == []
    run.stopping = False
    for _ in range(2):
        evaluating.Evaluating().after_training(run)
    assert run.events == ["evaluate 3"]


def test_checkpoints_come_at_their_interval_at_the_end_and_when_a_signal_asks(monkeypatch):
    monkeypatch.setattr(trainer, "make_step", make_step)
    run = FakeRun(steps=7)
    run.recipe.checkpoint.every = 3
    trainer.train(run, [saving.Saving()])
    assert run.events[1:-1] == ["save 3", "save 6", "save 7"]
    run = FakeRun(steps=7)
    run.recipe.checkpoint.every = 0
    run.signal_at = 2
    trainer.train(run, [saving.Saving()])
    assert run.events[1:-1] == ["save 2"]
    assert run.screen.lines == ["save"]
    saving.Saving().after_training(run)
    assert run.events[-1] == "finish"


def test_the_first_step_s_rollouts_are_kept_and_those_of_an_interval(tmp_path, monkeypatch):
    monkeypatch.setattr(
        kept_rollouts, "training_rows", lambda tokenizer, groups: [{"groups": len(groups)}]
    )
    run = FakeRun(steps=9, runs=str(tmp_path))
    run.recipe.tracking.rollouts_every = 4
    for _ in range(9):
        kept_rollouts.KeptRollouts().after_step(run, make_step(run))
    kept = sorted(file.name for file in Path(run.recipe.folder, "rollouts").iterdir())
    assert kept == ["training-000001.jsonl", "training-000004.jsonl", "training-000008.jsonl"]
