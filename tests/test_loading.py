"""Recipes from Python and YAML files, and a user's own modules beside them."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from red_mcore.algorithms.dft import DFT
from red_mcore.algorithms.grpo import GRPO
from red_mcore.algorithms.red import RED
from red_mcore.algorithms.relift import ReLIFT
from red_mcore.config.loading import load
from red_mcore.config.overrides import override
from red_mcore.config.recipe import (
    Base,
    Benchmarks,
    Data,
    Evaluation,
    Format,
    Hub,
    Model,
    Optimizer,
    Recipe,
    RecipeError,
    Reward,
    Source,
    Tracking,
    Until,
)
from red_mcore.config.tree import flatten, to_yaml

ROOT = Path(__file__).parent.parent
RECIPES = ("red_1p5b.py", "red_tiny.py", "paper/chord_phi.py", "tiny/fading_red.py", "tiny/dapo.py")


def written(folder: Path, recipe: Recipe) -> str:
    """What a run keeps of its recipe."""
    file = folder / "recipe.yaml"
    file.write_text(to_yaml(recipe))
    return str(file)


def test_the_folder_of_the_recipe_is_kept_where_an_import_path_needs_it(tmp_path, monkeypatch):
    file = tmp_path / "mine.py"
    (tmp_path / "their_module.py").write_text("")
    file.write_text(
        RECIPE.format(
            imports="from red_mcore.algorithms.red import RED as Mine", name="Mine"
        ).replace("sharpness", "gamma")
    )
    assert load(str(file)).imports == []
    for change in (
        "reward.functions={their_module:f: 1}",
        "reward.verdict=their_module:f",
        "data.path=their_module:f",
        "data.mixture=[{path: their_module:f}]",
        "tracking.monitors=[their_module:Monitor]",
        "evaluation.benchmarks={names: [their_module:f]}",
        "algorithm={class: red_mcore.algorithms.custom_loss:CustomLoss, loss: their_module:f}",
    ):
        assert load(str(file), [change]).imports == [str(tmp_path)], change
    monkeypatch.chdir(tmp_path.parent)
    assert load(str(file), ["data.path=their_module:f"]).imports == [tmp_path.name]


@pytest.mark.parametrize("name", RECIPES)
def test_what_a_run_keeps_is_the_same_recipe_again(name, tmp_path):
    recipe = load(str(ROOT / "recipes" / name))
    assert load(written(tmp_path, recipe)) == recipe


def everything() -> Recipe:
    """A recipe with every section on, and texts that YAML or OmegaConf could take for something
    else."""
    return Recipe(
        name="all",
        model=Model(
            config={"model_type": "qwen2", "a.b": {"c": [1, 2.5, "3", None, True, "yes", "1e3"]}}
        ),
        algorithm=ReLIFT(imitation=Optimizer(lr=0.25, betas=(0.5, 0.75)), clip_low=0.125),
        until=Until(train_seconds=1e15),
        data=Data(
            mixture=[
                Source(path="a.jsonl", weight=3.0),
                Source(path="b: #1.parquet", problems=7, subset="007"),
            ],
            instruction="End with a line #### ANSWER\n\n"
            "  ${x} ??? 'a' \"b\" \\\\ \t: - {y} \u2028 \u00e9",
            system_prompt="???",
            template_arguments={"enable_thinking": False, "on": "off"},
        ),
        reward=Reward(
            functions={"my.rewards:brevity": 1e-3},
            format=Format(tags=["yes", "1"]),
            answer_after=" ",
        ),
        base=Base(optimizer=Optimizer(lr=1e-3)),
        evaluation=Evaluation(benchmarks=Benchmarks(["GSM8K", "2024"])),
        hub=Hub(name="owner/name"),
    )


def test_every_section_and_any_text_is_kept(tmp_path):
    assert load(written(tmp_path, everything())) == everything()


def test_overrides_of_what_a_run_keeps(tmp_path):
    again = load(
        written(tmp_path, everything()),
        ["name=anew", "optimizer.lr=0.5", "algorithm.imitation.lr=0.125"],
    )
    assert (again.name, again.optimizer.lr, again.algorithm.imitation.lr) == ("anew", 0.5, 0.125)
    assert again.algorithm.imitation.betas == (0.5, 0.75)


def test_the_class_of_the_algorithm_is_in_the_tree():
    assert flatten(everything())["algorithm.class"] == "red_mcore.algorithms.relift:ReLIFT"
    assert "algorithm.imitation.class" not in flatten(everything())
    assert flatten(replace(everything(), algorithm=DFT())) != flatten(
        replace(everything(), algorithm=RED())
    )


def test_a_secret_is_not_kept_and_is_asked_for(tmp_path):
    kept = written(
        tmp_path, replace(everything(), tracking=Tracking(uri="https://me:hunter2@host/x?token=a"))
    )
    assert "hunter2" not in Path(kept).read_text()
    with pytest.raises(
        RecipeError,
        match=r"tracking\.uri=https://\*\*\*@host/x\?token=\*\*\* was written without its",
    ):
        load(kept)
    given = "https://me:hunter2@host/x?token=a"
    assert load(kept, [f"tracking.uri={given}"]).tracking.uri == given
    kept = written(
        tmp_path,
        replace(everything(), data=Data(mixture=[Source(path="https://host/a.jsonl?key=a")])),
    )
    with pytest.raises(
        RecipeError,
        match=r"data\.mixture=.* was written without its secret: add data\.mixture=\.\.\.",
    ):
        load(kept)


ALGORITHM = """
from dataclasses import dataclass
from red_mcore.algorithms.grpo import GRPO

@dataclass
class {name}(GRPO):
    sharpness: float = 0.5

    def token_losses(self, inputs, state, step):
        from {neighbour} import sharpen
        return sharpen(inputs)
"""
RECIPE = """
from red_mcore.recipe import Model, Recipe
{imports}

def recipe():
    return Recipe(name="theirs", model=Model(), algorithm={name}(sharpness=0.25))
"""


def repository(folder: Path, name: str, recipe: str = "mine.py") -> Path:
    """Somebody's own: a recipe, the algorithm in a module, and what that imports once it runs."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name.lower()}_method.py").write_text(
        ALGORITHM.format(name=name, neighbour=f"{name.lower()}_losses")
    )
    (folder / f"{name.lower()}_losses.py").write_text(
        "def sharpen(inputs):\n    return {'sharp': inputs}\n"
    )
    file = folder / recipe
    file.parent.mkdir(exist_ok=True)
    file.write_text(RECIPE.format(imports=f"from {name.lower()}_method import {name}", name=name))
    return file


@pytest.mark.parametrize(("name", "file"), [("Beside", "mine.py"), ("Above", "recipes/mine.py")])
def test_a_recipe_of_another_repository_imports_what_is_there_also_later(name, file, tmp_path):
    recipe = load(str(repository(tmp_path / "theirs", name, file)))
    assert recipe.algorithm.token_losses(1, {}, 0) == {"sharp": 1}
    assert recipe.imports == [str(tmp_path / "theirs")]
    kept = written(tmp_path, recipe)
    assert load(kept) == recipe
    # Whatever this process has seen, another one has not.
    code = (
        "from red_mcore.config.loading import load;"
        f" print(load({kept!r}).algorithm.token_losses(2, {{}}, 0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "{'sharp': 2}\n", done.stderr


def test_a_class_in_the_recipe_s_own_file_is_found_by_the_file(tmp_path):
    file = tmp_path / "own.1.py"
    body = ALGORITHM.format(name="Own", neighbour="nothing")
    file.write_text(body + RECIPE.format(imports="", name="Own"))
    recipe = load(str(file), ["algorithm.sharpness=2"])
    assert flatten(recipe)["algorithm.class"] == "own.1.py:Own"
    again = load(written(tmp_path, recipe))
    assert again == recipe
    assert again.imports == [str(tmp_path)]


@pytest.mark.parametrize(
    "algorithm",
    [
        "algorithm: red_mcore.algorithms.grpo:GRPO",
        "algorithm: {class: red_mcore.algorithms.grpo:GRPO, clip_high: .25}",
    ],
)
def test_a_recipe_written_by_hand_says_what_it_wants_and_no_more(algorithm, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"name: mine\nmodel: {{path: owner/name}}\n{algorithm}\n"
        "reward:\n  overlong: {buffer: 9}\n"
    )
    recipe = load(str(file))
    assert isinstance(recipe.algorithm, GRPO)
    assert recipe.algorithm.clip_high == (0.25 if "clip" in algorithm else 0.2)
    assert (recipe.reward.overlong.buffer, recipe.steps) == (9, Recipe.steps)


def test_an_override_names_another_algorithm():
    recipe = replace(everything(), algorithm=RED(constant=9.0))
    changed = override(recipe, ["algorithm=red_mcore.algorithms.dft:DFT"])
    assert changed.algorithm == DFT()
    changed = override(
        recipe, ["algorithm.class=red_mcore.algorithms.grpo:GRPO", "algorithm.keep=accuracy"]
    )
    assert changed.algorithm == GRPO(keep="accuracy")
    same = override(recipe, ["algorithm={class: red_mcore.algorithms.red:RED, weight_max: 3}"])
    assert same.algorithm == RED(constant=9.0, weight_max=3.0), (
        "of the same class only what is named changes"
    )


HEAD = "name: x\nmodel: {path: a/b}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "want the fields of a recipe"),
        ("- a", "want the fields of a recipe"),
        ("name: [", "line 1: "),
        (HEAD, "it has no algorithm"),
        (
            f"{HEAD}algorithm: GRPO",
            "algorithm: 'GRPO' is no import path: write package.module:Class",
        ),
        (
            f"{HEAD}algorithm: {{clip_low: 1}}",
            "algorithm has no class: write class: package.module:Class",
        ),
        (
            f"{HEAD}algorithm: nosuch.module:GRPO",
            "algorithm: no module 'nosuch' for 'nosuch.module:GRPO'",
        ),
        (
            f"{HEAD}algorithm: red_mcore.algorithms.grpo:GPRO",
            "red_mcore.algorithms.grpo has no class 'GPRO'",
        ),
        (
            f"{HEAD}algorithm: json:JSONDecoder",
            "algorithm=json:JSONDecoder: it is no dataclass below Algorithm",
        ),
        (
            f"{HEAD}algorithm: red_mcore.algorithms.grpo:dapo",
            "algorithm: red_mcore.algorithms.grpo:dapo is no class",
        ),
        (f"{HEAD}algorithm: nosuch.py:Mine", "algorithm: no file nosuch.py"),
        (
            f"{HEAD}algorithm: a:f.<locals>.Mine",
            "is made in a function, where no other run finds it",
        ),
        (
            f"{HEAD}algorithm: {{class: 'red_mcore.algorithms.red:RED', weigth_max: 3}}",
            "nearest is 'weight_max'",
        ),
        (f"{HEAD}algorithm: red_mcore.algorithms.red:RED\nsteps: many", "steps=many: Value 'many'"),
        (
            f"{HEAD}algorithm: red_mcore.algorithms.red:RED\nsteps: 010",
            "'010' may be read as 8 or as 10",
        ),
        (f"{HEAD}algorithm: red_mcore.algorithms.red:RED\nname: y", "'name' is there twice"),
        (
            f"{HEAD}algorithm: red_mcore.algorithms.red:RED\nrollout:\n  tensr: 2",
            "nearest is 'tensor'",
        ),
    ],
)
def test_a_broken_yaml_file_is_refused_in_one_line(text, message, tmp_path):
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError) as error:
        load(str(file))
    assert str(file) in str(error.value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_module_that_fails_is_named_with_its_line(tmp_path):
    (tmp_path / "failing_method.py").write_text("import json\njson.nothing\n")
    file = tmp_path / "mine.yml"
    file.write_text(f"{HEAD}algorithm: failing_method:Mine\n")
    with pytest.raises(
        RecipeError,
        match=r"failing_method:Mine cannot be imported: .*failing_method\.py line 2: Attr",
    ):
        load(str(file))


def test_an_override_says_where_classes_are(tmp_path):
    repository(tmp_path / "theirs", "Apart")
    file = tmp_path / "elsewhere" / "mine.yaml"
    file.parent.mkdir()
    file.write_text(f"{HEAD}algorithm: apart_method:Apart\n")
    with pytest.raises(
        RecipeError, match="no module 'apart_method' for 'apart_method:Apart': run where it is"
    ):
        load(str(file))
    recipe = load(str(file), [f"imports=[{tmp_path / 'theirs'}]", "algorithm.sharpness=0.75"])
    assert recipe.algorithm.sharpness == 0.75
    assert recipe.imports == [str(tmp_path / "theirs")]
    assert load(written(tmp_path, recipe)) == recipe


def test_another_kind_of_file_is_refused(tmp_path):
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps({"name": "x"}))
    with pytest.raises(RecipeError, match=r"want a name that ends in \.py or \.yaml"):
        load(str(file))
