"""Which groups a step trains on; sampling itself is replaced by a table of accuracies."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from red_mcore.algorithms.grpo import GRPO, dapo
from red_mcore.data.cursor import Cursor
from red_mcore.groups import REFILL, SAMPLE, collect
from red_mcore.recipe import Batch, Model, Recipe
from red_mcore.recording import Recording
from red_mcore.records import Group, Problem, Sample

TEACHING = {0, 3, 5}
"""Problems some of whose rollouts are right; the others are all wrong."""
PROBLEMS = [Problem(id=i, text="", gold="") for i in range(40)]


class Table:
    """Stands for the sampler."""

    def __init__(self, teaching: set[int]):
        self.teaching, self.asked = teaching, []

    def groups(self, problems, count, key, *, with_traces):
        self.asked.append((key, [p.id for p in problems]))
        return [
            Group(p, [self.sample(float(p.id in self.teaching and i == 0)) for i in range(count)]) for p in problems
        ]

    @staticmethod
    def sample(correct: float) -> Sample:
        return Sample(prompt=np.zeros(2), response=np.zeros(5), accuracy=correct, reward=correct, verdict="wrong")


def step(teaching: set[int], refills: int, algorithm: GRPO | None = None):
    recipe = Recipe(
        name="x",
        model=Model(),
        algorithm=algorithm or dapo(),
        batch=Batch(prompts_per_step=4, samples_per_prompt=2, refills=refills),
    )
    run = SimpleNamespace(
        recipe=recipe,
        state=SimpleNamespace(step=7),
        cursor=Cursor(len(PROBLEMS), seed=0),
        problems=PROBLEMS,
        sampler=Table(teaching),
        recording=Recording(recipe.rollout, here=None),
    )
    groups, sampled, metrics = collect(run, recipe.algorithm)
    assert [g.problem.id for g in sampled] == [i for _, ids in run.sampler.asked for i in ids]
    return [g.problem.id for g in groups], metrics, run


def order() -> list[int]:
    return Cursor(len(PROBLEMS), seed=0).next(len(PROBLEMS))


def test_without_refills_a_step_takes_what_comes():
    groups, metrics, run = step(set(), 0)
    assert groups == order()[:4]
    assert run.sampler.asked == [((SAMPLE, 7), order()[:4])]
    assert "groups/refills" not in metrics


def test_each_round_asks_for_exactly_the_missing_groups():
    ids = order()
    teaching = {ids[1], ids[4], ids[7], ids[8]}
    groups, metrics, run = step(teaching, 10)
    assert groups == [ids[1], ids[4], ids[7], ids[8]]
    assert [asked for _, asked in run.sampler.asked] == [ids[:4], ids[4:7], ids[7:9]]
    assert [key for key, _ in run.sampler.asked] == [(SAMPLE, 7), (REFILL, 7, 1), (REFILL, 7, 2)]
    assert metrics["groups/refills"] == 2
    assert metrics["groups/sampled"] == 9
    # Cost and skill are told of everything that was sampled.
    assert metrics["rollout/generated_tokens"] == 9 * 2 * 5
    assert metrics["rollout/accuracy"] == pytest.approx(4 / 18)


def test_the_limit_holds_and_the_step_keeps_its_size():
    groups, metrics, _ = step({order()[0]}, 3)
    assert groups == [order()[0], *order()[10:13]]
    assert metrics["groups/refills"] == 3


def test_an_algorithm_that_keeps_every_group_asks_once():
    _, metrics, run = step(set(), 5, GRPO(entropy_coefficient=0.01))
    assert len(run.sampler.asked) == 1
    assert metrics["groups/refills"] == 0
