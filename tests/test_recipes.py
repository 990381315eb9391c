"""Every recipe that ships can be planned on a machine with nothing but Python."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

from red_mcore.cli import chain
from red_mcore.config.loading import load
from red_mcore.config.recipe import RecipeError
from red_mcore.planning.checks import validate
from red_mcore.planning.plan import describe

ROOT = Path(__file__).parent.parent
RECIPES = sorted(path.relative_to(ROOT) for path in (ROOT / "recipes").rglob("*.py"))
PAPER, TINY, PRETRAINED = (
    {path.stem: path for path in RECIPES if path.parts[1] == folder}
    for folder in ("paper", "tiny", "hf")
)


@pytest.mark.parametrize("file", RECIPES, ids=str)
def test_recipe(file, tmp_path):
    recipe = load(str(ROOT / file), [f"runs={tmp_path}"])
    if recipe.algorithm.teacher is not None:  # which some run makes, or a hub has
        recipe.algorithm.teacher.path = "somebody/teacher"
    validate(recipe)
    length = f"{recipe.steps} steps" if recipe.epochs is None else f"{recipe.epochs:g} epochs"
    assert f"{length} of {type(recipe.algorithm).__name__}" in describe(recipe)
    for name, (settings, updates) in recipe.algorithm.optimizers(recipe).items():
        assert 0 <= settings.warmup_steps < updates, name


def test_refills_are_refused_where_nothing_is_sampled():
    for method in ("sft", "dft"):
        recipe = load(str(ROOT / TINY[method]), ["batch.refills=2"])
        with pytest.raises(
            RecipeError, match=r"batch\.refills=2: (SFT|DFT) samples nothing .* use 0"
        ):
            validate(recipe)


def test_names_are_different():
    names = [load(str(ROOT / file)).name for file in RECIPES]
    assert len(RECIPES) > 10
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("method", PAPER)
def test_every_published_method_has_a_tiny_recipe(method):
    assert method in TINY
    paper, tiny = (load(str(ROOT / files[method])).algorithm for files in (PAPER, TINY))
    assert type(paper) is type(tiny)
    assert load(str(ROOT / PAPER[method])).name == f"paper_{method}"


@pytest.mark.parametrize("method", PAPER)
def test_a_paper_recipe_says_where_its_settings_come_from_and_what_was_reported(method):
    text = ast.get_docstring(ast.parse((ROOT / PAPER[method]).read_text()))
    assert re.search(r"arXiv \d{4}\.\d{5}", text)
    for part in ("known", "reported"):
        assert part in text.lower()


def test_paper_recipes_that_share_a_model_do_not_change_it_for_each_other():
    """Two papers train the model with its positions as they are, four others; the rest extend
    them."""
    positions = {
        name: load(str(ROOT / path)).model.config["max_position_embeddings"]
        for name, path in PAPER.items()
    }
    others = {"sert": 32768, "mix_long": 32768, "mix_large": 32768, "distill_920": 131072}
    assert positions == dict.fromkeys(PAPER, 16384) | {"dft": 4096, "dr_grpo": 4096} | others


@pytest.mark.parametrize("method", PRETRAINED)
def test_a_pretrained_model_is_not_trained_with_a_toy_s_settings(method):
    recipe = load(
        str(ROOT / PRETRAINED[method]), ["model.path=folder", "rollout.max_response_tokens=300"]
    )
    assert (recipe.model.config, recipe.base, recipe.data.problems) == ({}, None, None)
    assert "\\boxed{}" in recipe.data.instruction
    rates = {
        name: settings.lr for name, (settings, _) in recipe.algorithm.optimizers(recipe).items()
    }
    assert rates == {"sft": {"main": 1e-5}, "sft_then_grpo": {"main": 1e-6, "imitation": 1e-5}}.get(
        method, {"main": 1e-6}
    )
    if recipe.algorithm.aggregation == "constant":
        assert recipe.algorithm.constant == 300


CHAINS = [path for path in RECIPES if "CHAIN" in (ROOT / path).read_text()]


@pytest.mark.parametrize("file", CHAINS, ids=str)
def test_every_stage_of_a_chain_is_a_command_line(file, tmp_path, monkeypatch):
    """Of trainings the overrides fit the recipe; of the others the options are known."""
    chained = chain.stages(ROOT / file, tmp_path, ["seed=7"])
    assert len(chained) > 1
    for command, *words in chained:
        if command == "run":
            assert load(words[0], words[1:]).seed == 7
        else:
            parser = import_module(f"red_mcore.cli.{command}")._parser()
            parse = parser.parse_intermixed_args if command == "distill" else parser.parse_args
            parse(words)


def test_chains_have_trainings_and_what_makes_their_data(tmp_path):
    commands = {words[0] for file in CHAINS for words in chain.stages(ROOT / file, tmp_path, [])}
    assert commands == {"run", "distill", "traces"}


def test_there_are_recipes_for_pretrained_models():
    assert set(PRETRAINED) == {"sft", "grpo", "red", "sft_then_grpo", "opd"}
