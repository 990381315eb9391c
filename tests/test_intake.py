"""What a run refuses once it has read its data."""

import json

import pytest

from red_mcore import intake
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
        intake.check_traces(recipe, tokenizer, useless)
    intake.check_traces(recipe, tokenizer, [*useless, Problem(3, "1+1", "2", trace="1234567")])


def test_grpo_needs_none():
    recipe = Recipe(name="x", model=Model(), algorithm=GRPO())
    intake.check_traces(recipe, build_tokenizer(), [Problem(0, "1+1", "2")])


class Judge:
    asked = 0

    def gold_faults(self, problems):
        self.asked += 1
        return ["is empty" if not p.gold else None for p in problems]


def test_problems_of_bad_golds_are_left_out_told_and_remembered(tmp_path):
    recipe = Recipe(name="x", model=Model(), algorithm=GRPO(), runs=str(tmp_path))
    recipe.folder.mkdir()
    problems = [Problem(0, "1+1", "2"), Problem(1, "2+2", ""), Problem(2, "3+3", "6")]
    judge, said = Judge(), []
    assert intake.bad_golds(recipe, judge, problems, said.append) == {1}
    assert "left out 1 of 3 problems whose gold cannot be used" in said[0]
    (row,) = json.loads((recipe.folder / "bad_golds.json").read_text())["rows"]
    assert row == {"id": 1, "problem": "2+2", "gold": "", "fault": "is empty"}
    assert intake.bad_golds(recipe, judge, problems, said.append) == {1}
    assert (judge.asked, len(said)) == (1, 2)  # told again, judged once
    assert intake.bad_golds(recipe, judge, problems[2:], said.append) == set()
    assert (judge.asked, len(said)) == (2, 2)
