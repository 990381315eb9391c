"""Every recipe that ships can be planned on a machine with nothing but Python."""

from pathlib import Path

import pytest

from red_mcore.planning import describe, validate
from red_mcore.recipe import load

ROOT = Path(__file__).parent.parent
RECIPES = sorted(path.relative_to(ROOT) for path in (ROOT / "recipes").rglob("*.py"))


@pytest.mark.parametrize("file", RECIPES, ids=str)
def test_recipe(file, tmp_path):
    recipe = load(str(ROOT / file), [f"runs={tmp_path}"])
    validate(recipe)
    assert f"{recipe.steps} steps of {type(recipe.algorithm).__name__}" in describe(recipe)


def test_names_are_different():
    names = [load(str(ROOT / file)).name for file in RECIPES]
    assert len(RECIPES) > 10
    assert len(set(names)) == len(names)
