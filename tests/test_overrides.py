"""A recipe file, its overrides and its printed forms."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from red_mcore.algorithms.base import GroupAlgorithm
from red_mcore.config.loading import load
from red_mcore.config.overrides import override
from red_mcore.config.recipe import Algorithm, Base, Data, Model, Recipe, RecipeError, Source
from red_mcore.config.tree import flatten, to_yaml


def small() -> Recipe:
    return Recipe(name="small", model=Model(config={"model_type": "qwen2"}), algorithm=Algorithm())


def write(folder: Path, body: str) -> str:
    file = folder / "small.py"
    file.write_text(
        f"from dataclasses import dataclass, field; from red_mcore.recipe import *\n{body}\n"
    )
    return str(file)


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("steps=7", "steps", 7),
        ("steps=0x10", "steps", 16),
        ("steps=1_000", "steps", 1000),
        ("optimizer.lr=0.5", "optimizer.lr", 0.5),
        ("tracking.mlflow=0", "tracking.mlflow", False),
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
        ("model.config[a.b]=null", "model.config.a.b", None),
        ("reward.functions.my.rewards:brevity=1e-3", "reward.functions.my.rewards:brevity", 1e-3),
        ("reward.functions={my.rewards:yes: 1}", "reward.functions.my.rewards:yes", 1.0),
        (
            "reward.format={tags: [yes, 1e3, 007, 'a b']}",
            "reward.format.tags",
            ["yes", "1e3", "007", "a b"],
        ),
        ("data={instruction: yes, held_out: 1}", "data.instruction", "yes"),
        (
            "evaluation.benchmarks={names: [2024, on]}",
            "evaluation.benchmarks.names",
            ["2024", "on"],
        ),
    ],
)
def test_an_override_changes_one_field(text, field, value):
    assert flatten(override(small(), [text]))[field] == value


@pytest.mark.parametrize(
    "typed",
    [
        *(
            "end with a line #### ANSWER",
            "#",
            "a: b",
            "yes",
            "1e3",
            "007",
            " spaced out ",
            "\\(x\\) \\n",
            "$5",
            "${x}",
            "???",
        ),
        *(
            "${oc.env:HOME}",
            "[a]",
            "[a",
            "{x}",
            "{x: 1}",
            "!x",
            "&x",
            "*x",
            "%x",
            "@x",
            "`x`",
            "|",
            "- a",
            "a\nb: c\n",
        ),
        *('"a" or "b"', "'tis", '"', "a=b", "Null and ~", "2020-01-01", "\u2028 caf\u00e9"),
    ],
)
def test_text_is_taken_as_it_was_typed(typed):
    changed = override(small(), [f"data.instruction={typed}", f"data.system_prompt={typed}"])
    assert changed.data.instruction == changed.data.system_prompt == typed
    assert override(changed, ["steps=7"]).data.instruction == typed  # as a recipe file's own text
    assert flatten(changed)["data.instruction"] == typed
    assert yaml.safe_load(to_yaml(changed))["data"]["instruction"] == typed


def test_text_in_quotes_and_no_text():
    for typed, text in (
        ('"a\\nb"', "a\nb"),
        ("'it''s ~'", "it's ~"),
        ("'null'", "null"),
        ("~", None),
        ("null", None),
    ):
        assert override(small(), [f"data.system_prompt={typed}"]).data.system_prompt == text
    assert override(small(), ["data.instruction="]).data.instruction == ""
    with pytest.raises(RecipeError, match="not Optional"):
        override(small(), ["data.instruction=null"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepz=3", "the recipe has no field 'stepz'; nearest is 'steps'"),
        ("parallel.tensr=2", "'parallel' has no field 'tensr'; nearest is 'tensor'"),
        ("parallel={tensr: 2}", "tensor"),
        ("lr=1", "the recipe has no field 'lr'; nearest is 'optimizer.lr'"),
        ("kv_cache_mib=1", "nearest is 'rollout.kv_cache_mib'"),
        ("rollout.tensr=1", "'rollout' has no field 'tensr'; nearest is 'tensor'"),
        ("rollout.pipeline=1", "'rollout' has no field 'pipeline'; nearest is 'parallel.pipeline'"),
        ("temp=1", "nearest is 'rollout.temperature' or 'evaluation.temperature'"),
        ("steps=010", "'010' may be read as 8 or as 10: write the number that is meant"),
        ("steps=-07_0", "'-07_0' may be read as -56 or as -70"),
        ("optimizer.lr=08", "'08' begins with a 0: write the number that is meant"),
        ("optimizer.lr=01.5", "'01.5' begins with a 0"),
        ("steps=1:30", "'1:30' may be read in base 60"),
        ("model.config.hidden_size=0128", "'0128' begins with a 0"),
        ("parallel={ranks: 010}", "'010' may be read as 8 or as 10"),
        ("tracking.mlflow=2", "it is neither true nor false"),
        (f"steps={'9' * 5000}", "override steps=99999"),
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
        ("steps=a\nb", "override steps=a\\nb: Value"),
        ("model.config={[a]: 1}", "a name is a list or a mapping"),
        ("reward.functions.my.rewards:brevity=[1]", "could not be converted to Float"),
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
        (
            "def recipe(): return Recipe(name='x', model=Model(), algorithm=Algorithm(),"
            " steps='many')",
            "steps: Value",
        ),
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


def of_another() -> Recipe:
    """A recipe that says a lot of its own model and data."""
    recipe = small()
    recipe.base = Base()
    recipe.data = Data(
        path="own",
        subset="main",
        gold_field="gold",
        held_out_path="own",
        held_out=9,
        instruction="?",
    )
    recipe.data.problems = 5
    return recipe


def test_another_model_needs_no_more_than_its_path():
    assert override(of_another(), ["model.path=folder"]).model == Model(path="folder")
    assert override(of_another(), ["model={path: folder}"]).base is None
    made = override(
        of_another(), ["model.config.rope_theta=9", "model.path=folder", "base.steps=3"]
    )
    assert made.model.config == {"rope_theta": 9}, (
        "what an override says is of the model that it names"
    )
    assert made.base.steps == 3, "and is left for the check, which refuses it"
    assert override(of_another(), ["model.path=null", "base=null"]).model == of_another().model
    compared = override(of_another(), ["model.path=folder", "base=null"])
    assert (compared.base, compared.model.config) == (None, {})


def test_other_data_are_not_read_by_what_the_recipe_says_of_its_own():
    data = override(of_another(), ["data.path=mine.jsonl"]).data
    assert data == Data(path="mine.jsonl", held_out=9, instruction="?")
    data = override(
        of_another(), ["data.path=mine.jsonl", "data.gold_field=answer", "data.held_out_path=own"]
    ).data
    assert (data.gold_field, data.held_out_path, data.subset) == ("answer", "own", None)
    data = override(
        of_another(), ["data.mixture=[{path: a, weight: 2}, {path: b, problems: 3, subset: 007}]"]
    ).data
    assert (data.path, data.held_out_path) == (None, None)
    assert data.mixture == [
        Source(path="a", weight=2.0),
        Source(path="b", problems=3, subset="007"),
    ]
    mixed = replace(of_another(), data=data)
    assert override(mixed, ["data.path=c"]).data.mixture == []
    assert override(of_another(), ["data.held_out=3"]).data.subset == "main"


def test_a_constant_that_follows_the_longest_response():
    recipe = replace(small(), algorithm=GroupAlgorithm(constant=None))
    assert override(recipe, []).algorithm.constant == 8192
    assert override(recipe, ["rollout.max_response_tokens=64"]).algorithm.constant == 64
    assert (
        override(
            recipe, ["rollout.max_response_tokens=64", "algorithm.constant=9"]
        ).algorithm.constant
        == 9
    )
    assert recipe.algorithm.constant is None
