"""What a run refuses once it has read its data."""

import pytest

from red_mcore import setup
from red_mcore.algorithms.bread import BREAD
from red_mcore.algorithms.grpo import GRPO
from red_mcore.algorithms.red import RED
from red_mcore.data.tokenizer import build_tokenizer
from red_mcore.recipe import Model, Recipe, RecipeError, Rollout
from red_mcore.records import Problem


@pytest.mark.parametrize("algorithm", [RED(), BREAD()])
def test_methods_that_learn_from_traces_need_one_that_fits(algorithm):
    recipe = Recipe(name="x", model=Model(), algorithm=algorithm, rollout=Rollout(max_response_tokens=8))
    tokenizer = build_tokenizer()
    useless = [Problem(0, "1+1", "2"), Problem(1, "1+1", "2", trace=""), Problem(2, "1+1", "2", trace="12345678")]
    with pytest.raises(RecipeError, match=r"none of the 3 problems has one of at most rollout.max_response_tokens=8"):
        setup._check_traces(recipe, tokenizer, useless)
    setup._check_traces(recipe, tokenizer, [*useless, Problem(3, "1+1", "2", trace="1234567")])


def test_grpo_needs_none():
    recipe = Recipe(name="x", model=Model(), algorithm=GRPO())
    setup._check_traces(recipe, build_tokenizer(), [Problem(0, "1+1", "2")])
