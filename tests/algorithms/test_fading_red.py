import json

import pytest
import torch
from loss_inputs import loss_inputs
from one_step import DEMO, group, rolled

from red_mcore.algorithms.fading_red import FadingRED
from red_mcore.algorithms.mixins import TrainingProblems
from red_mcore.config.recipe import Model, Recipe
from red_mcore.samples.records import Problem

PROBLEMS = [Problem(id=i, text=f"q{i}", gold="", trace="t") for i in range(7)]
TRAINING = TrainingProblems(PROBLEMS, lambda problem: True, seed=3)


def test_imitation_fades():
    algorithm = FadingRED(fade_steps=20, first_lessons=32)
    assert [algorithm.strength(step) for step in (0, 10, 20, 90)] == pytest.approx([1, 0.5, 0, 0])
    recipe = Recipe(name="x", model=Model(), algorithm=algorithm, steps=100)
    taught = [
        len(algorithm.lessons([group(*rolled(1, 0))], {}, step, TRAINING)) for step in range(25)
    ]
    assert taught[:2] == [32, 32]
    assert taught[20:] == [0] * 5
    assert algorithm.optimizers(recipe)["imitation"] == (algorithm.imitation, sum(taught))
    assert sum(taught) == 336


def test_few_prompts_while_the_policy_moves_fast():
    algorithm = FadingRED(fade_steps=20, probe_prompts=4)
    assert [algorithm.prompts(step, 24) for step in (0, 9, 11, 30)] == [4, 4, 24, 24]
    assert algorithm.prompts(0, 2) == 2


def test_beta_is_the_squared_moving_average_of_accuracy():
    algorithm, state = FadingRED(accuracy_ema=0.7), {}
    (first, *_) = algorithm.lessons([group(*rolled(1, 0, 0, 0))], state, 0, TRAINING)
    assert first.beta == pytest.approx(0.25**2)
    assert first.lr_scale == 1
    (second, *_) = algorithm.lessons([group(*rolled(1, 1, 1, 1))], state, 10, TRAINING)
    assert second.beta == pytest.approx((0.7 * 0.25 + 0.3) ** 2)
    assert second.lr_scale == pytest.approx(0.5)


def test_lessons_go_through_the_problems_and_on_after_a_checkpoint():
    algorithm = FadingRED(lesson_traces=3, first_lessons=2)
    groups = [group(*rolled(1, 0))]

    def drawn(state: dict, step: int) -> list[int]:
        return [
            p.id
            for lesson in algorithm.lessons(groups, state, step, TRAINING)
            for p in lesson.problems
        ]

    state: dict = {}
    first = drawn(state, 0)
    assert len(first) == len(set(first)) == 6
    resumed = json.loads(json.dumps(state))
    assert drawn(resumed, 1) == drawn(state, 1)


def test_an_improbable_token_teaches_less_where_the_policy_is_able():
    logp = torch.tensor(DEMO, dtype=torch.float64).log().requires_grad_()
    for beta, expected in ((0.0, [1, 1, 1]), (0.125, [0.98630137, 0.88888889, 0.07476636])):
        given = loss_inputs(logp, old_logp=logp.detach(), beta=beta)
        loss = FadingRED().token_losses(given, {}, 0)["sft"]
        (gradient,) = torch.autograd.grad(loss.sum(), logp)
        assert (-gradient).tolist() == pytest.approx(expected, abs=1e-6)
