from contextlib import nullcontext

import pytest

from red_mcore.algorithms.mixins import stage_of
from red_mcore.algorithms.sft import SFT
from red_mcore.algorithms.sft_then_grpo import SFTThenGRPO
from red_mcore.config.recipe import Batch, Model, Optimizer, Recipe, RecipeError, Until


def test_stages():
    algorithm = SFTThenGRPO(sft_steps=30)
    assert [type(stage_of(algorithm, step)) is SFTThenGRPO for step in (0, 29, 30, 99)] == [
        False,
        False,
        True,
        True,
    ]
    first = stage_of(algorithm, 0)
    assert isinstance(first, SFT)
    assert (first.rollouts, first.traces, first.optimizer) == (False, 1, "imitation")
    assert (algorithm.rollouts, algorithm.traces, algorithm.optimizer) == (True, 0, "main")


def test_each_stage_has_a_schedule_of_its_own_length():
    algorithm = SFTThenGRPO(sft_steps=30, imitation=Optimizer(lr=1e-3))
    recipe = Recipe(
        name="x", model=Model(), algorithm=algorithm, steps=100, batch=Batch(updates_per_step=2)
    )
    assert algorithm.optimizers(recipe) == {
        "main": (recipe.optimizer, 140),
        "imitation": (Optimizer(lr=1e-3), 60),
    }


@pytest.mark.parametrize(
    ("algorithm", "until", "message"),
    [
        (
            SFTThenGRPO(sft_steps=30, kl_coefficient=0.1),
            None,
            "the reference would be the model before SFT",
        ),
        (
            SFTThenGRPO(sft_steps=100),
            None,
            "algorithm.sft_steps=100 leaves no step of steps=100 to GRPO",
        ),
        (SFTThenGRPO(sft_steps=100), Until(), None),
        (SFTThenGRPO(sft_steps=99), None, None),
    ],
)
def test_what_cannot_work(algorithm, until, message):
    recipe = Recipe(name="x", model=Model(), algorithm=algorithm, steps=100, until=until)
    with pytest.raises(RecipeError, match=message) if message else nullcontext():
        algorithm.check(recipe)
