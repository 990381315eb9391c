"""A recipe file, its overrides and its printed forms."""

from pathlib import Path

import pytest

from red_mcore.overrides import flatten, load, override, to_yaml
from red_mcore.recipe import Algorithm, Base, Model, Recipe, RecipeError


def small() -> Recipe:
    return Recipe(name="small", model=Model(config={"model_type": "qwen2"}), algorithm=Algorithm())


def write(folder: Path, body: str) -> str:
    file = folder / "small.py"
    file.write_text(f"from red_mcore.recipe import *\n{body}\n")
    return str(file)


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("steps=7", "steps", 7),
        ("optimizer.lr=2", "optimizer.lr", 2.0),
        ("optimizer.betas=[0.8,0.9]", "optimizer.betas", (0.8, 0.9)),
        ("rollout.logprob_gap_limit=1e-3", "rollout.logprob_gap_limit", 1e-3),
        ("tracking.mlflow=false", "tracking.mlflow", False),
        ("parallel={tensor: 2}", "parallel.tensor", 2),
        ("reward.overlong={buffer: 9}", "reward.overlong.buffer", 9),
        ("base={}", "base.steps", Base().steps),
        ("data.path=null", "data.path", None),
        ("data.path=a=b.jsonl", "data.path", "a=b.jsonl"),
        ("name=007", "name", "007"),
        ("data.instruction=Think: step by step", "data.instruction", "Think: step by step"),
        ("data.instruction=*think*", "data.instruction", "*think*"),
        ('data.instruction="\\nThink"', "data.instruction", "\nThink"),
        ("model.config.hidden_size=64", "model.config.hidden_size", 64),
    ],
)
def test_an_override_changes_one_field(text, field, value):
    assert flatten(override(small(), [text]))[field] == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepz=3", "the recipe has no field 'stepz'; nearest is 'steps'"),
        ("parallel.tensr=2", "'parallel' has no field 'tensr'; nearest is 'tensor'"),
        ("parallel={tensr: 2}", "tensor"),
        ("base.steps=3", "'base' is off (None) in this recipe; turn it on with 'base={}'"),
        ("steps.more=3", "'steps' is a value and has no field 'more'"),
        ("steps=many", "Value 'many' of type 'str' could not be converted to Integer"),
        ("steps=1.5", "could not be converted to Integer"),
        ("steps=null", "not Optional"),
        ("optimizer.betas=[0.9]", "length 1"),
        ("model.dtype=float16", "expected one of ['float32', 'bfloat16']"),
        ("parallel=3", "not a subclass of Parallel"),
        ("model.config={a", "parsing"),
        ("steps", "has no '='"),
    ],
)
def test_a_bad_override_is_refused_in_one_line(text, message):
    with pytest.raises(RecipeError) as error:
        override(small(), [text])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_override_leaves_the_given_recipe_alone():
    recipe = small()
    override(recipe, ["steps=1", "model.config.x=1"])
    assert recipe.steps != 1
    assert "x" not in recipe.model.config


def test_load_keeps_the_algorithm_s_own_class_and_fields(tmp_path):
    file = write(
        tmp_path,
        "@dataclass\nclass Mine(Algorithm):\n    clip: float = 0.2\n"
        "def recipe(): return Recipe(name='x', model=Model(), algorithm=Mine())",
    )
    recipe = load(file, ["algorithm.clip=0.3"])
    assert type(recipe.algorithm).__name__ == "Mine"
    assert recipe.algorithm.clip == 0.3


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def recipe(): return 3", "returned int, want Recipe"),
        ("def recipe(): return Recipe(nam='x')", "line 2: TypeError"),
        ("def recipe(): return 1 / 0", "line 2: ZeroDivisionError"),
        ("def recipe(:", "line 2: SyntaxError"),
        ("", "no attribute 'recipe'"),
        ("def recipe(): return Recipe(name='x', model=Model(), algorithm=Algorithm(), steps='many')", "steps: Value"),
    ],
)
def test_a_broken_recipe_file_is_named_with_its_line(tmp_path, body, message):
    file = write(tmp_path, body)
    with pytest.raises(RecipeError) as error:
        load(file)
    assert file in str(error.value)
    assert message in str(error.value)


def test_a_missing_recipe_file():
    with pytest.raises(RecipeError, match=r"nowhere\.py does not exist"):
        load("nowhere.py")


def test_yaml_says_what_flatten_says():
    recipe = override(small(), ["steps=3", "reward.overlong={}"])
    assert "steps: 3" in to_yaml(recipe)
    assert flatten(recipe)["reward.overlong.buffer"] == 2000
    assert flatten(recipe)["base"] is None
