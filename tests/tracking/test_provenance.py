"""What is kept of where a run comes from, without its secrets, and the card of an export."""

import json
import subprocess
import sys

import pytest
import yaml

from red_mcore.algorithms.grpo import GRPO
from red_mcore.checkpoints import manifests
from red_mcore.config.recipe import Data, Model, Recipe, Source, Tracking
from red_mcore.config.tree import to_yaml
from red_mcore.convert import card
from red_mcore.tracking import provenance


@pytest.fixture
def recipe(tmp_path):
    made = Recipe(
        name="trained",
        runs=str(tmp_path),
        model=Model(path="owner/model"),
        algorithm=GRPO(),
        data=Data(
            mixture=[Source(path="owner/problems"), Source(path="mine.jsonl")],
            instruction="In a\n\\boxed{}.",
        ),
        tracking=Tracking(uri="https://me:hunter2@tracking.example/x"),
    )
    made.folder.mkdir()
    (made.folder / "recipe.yaml").write_text(to_yaml(made))
    return made


def git(folder, *arguments):
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


def test_the_state_of_a_repository(tmp_path):
    assert provenance.git(tmp_path / "nosuch") is None
    git(tmp_path, "init", "-q")
    assert provenance.git(tmp_path) is None, "nothing is committed"
    (tmp_path / "code.py").write_text("1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    clean = provenance.git(tmp_path)
    assert len(clean["commit"]) == 40
    assert clean["changed_files"] == 0
    (tmp_path / "code.py").write_text("2\n")
    changed = provenance.git(tmp_path)
    assert (changed["commit"], changed["changed"]) == (clean["commit"], ["code.py"])
    (tmp_path / "code.py").write_text("3\n")
    assert provenance.git(tmp_path)["diff"] != changed["diff"]


def test_every_start_is_kept_and_no_secret(recipe, tmp_path, monkeypatch):
    weights = tmp_path / "snapshots" / "0123abc"
    secret = [
        "hub_token=hf_abc",
        "tracking.uri=https://me:hunter2@tracking.example/x",
        "rollout.max_prompt_tokens=64",
    ]
    monkeypatch.setattr(
        sys, "orig_argv", ["/bin/python", "-m", "red_mcore.run", "r.py", *secret, "--launched-by=7"]
    )
    provenance.begin(recipe, weights, "main", 0)
    provenance.begin(recipe, weights, "main", 50)
    kept = provenance.read(recipe.folder)
    assert kept["base_model"] == {"path": "owner/model", "revision": "0123abc"}
    assert [(start["stage"], start["step"]) for start in kept["starts"]] == [
        ("main", 0),
        ("main", 50),
    ]
    assert kept["starts"][0]["command"] == (
        "python -m red_mcore.run r.py hub_token=*** tracking.uri=https://***@tracking.example/x"
        " rollout.max_prompt_tokens=64"
    )
    assert {"host", "versions", "when", "code", "ranks"} <= kept["starts"][1].keys()
    (recipe.folder / provenance.FILE).write_text("{torn")
    provenance.begin(recipe, weights, "main", 60)
    assert len(provenance.read(recipe.folder)["starts"]) == 1


def row(step, pass1):
    evaluated = {
        "evaluation/pass1": pass1,
        "evaluation/pass1_stderr": 0.01,
        "evaluation/pass4": 0.9,
    }
    return {
        "step": step,
        **evaluated,
        "evaluation/length_tokens": 99.6,
        "evaluation/AIME24_mean": 0.125,
    }


def test_the_card_has_the_figures_up_to_its_step_and_no_secret(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "red_mcore.run", "r.py"])
    provenance.begin(recipe, tmp_path / "snapshots" / "0123456789abcdef", "main", 0)
    rows = [row(0, 0.25), {"step": 1, "loss/total": 1.0}, row(2, 0.5), row(4, 0.75)]
    (recipe.folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    made = card.texts(recipe.folder, "main", 3)
    head, text = made["README.md"].split("---\n")[1:]
    about = yaml.safe_load(head)
    assert (about["base_model"], about["datasets"]) == ("owner/model", ["owner/problems"])
    assert (
        "`owner/model` (0123456789ab), after 3 steps of GRPO on `owner/problems`, `mine.jsonl`"
        in text
    )
    assert "| step | pass@1 | pass@4 | tokens | cut off | AIME24 |" in text
    assert "| 2 | 0.500 ± 0.010 | 0.900 | 100 |  | 0.125 |" in text
    assert "| 4 |" not in text
    assert "a line `In a \\boxed{}.`" in text
    assert "python -m red_mcore.run r.py" in text
    assert "hunter2" not in str(made)
    kept = json.loads(made["provenance.json"])
    assert (kept["step"], kept["recipe"]["model"]["path"], len(kept["starts"])) == (
        3,
        "owner/model",
        1,
    )
    assert (
        "| 3 | 0.125 ± 0.010 |" in card.texts(recipe.folder, "main", 3, row(3, 0.125))["README.md"]
    )
    base = card.texts(recipe.folder, "base", 40)["README.md"]
    assert "40 steps of base training" in base
    assert "Figures" not in base.split("## How")[0]


def test_an_export_tells_what_it_began_with_where_that_was_exported_here(recipe, tmp_path):
    (tmp_path / provenance.FILE).write_text('{"run": "earlier", "step": 7}')
    assert provenance.base_model(recipe, tmp_path)["provenance"] == {"run": "earlier", "step": 7}


def test_a_checkpoint_of_a_run_has_a_card_where_the_run_can_be_read(recipe, capsys):
    checkpoint = recipe.folder / "checkpoints" / "main-000002"
    checkpoint.mkdir(parents=True)
    manifests.write(
        checkpoint, {"tag": checkpoint.name, "files": {}, "state": {"stage": "main", "step": 2}}
    )
    (recipe.folder / "metrics.jsonl").write_text(json.dumps(row(2, 0.5)) + "\n")
    assert "| 2 | 0.500" in card.of_checkpoint(checkpoint, recipe.folder / "model")["README.md"]
    assert card.of_checkpoint(checkpoint, checkpoint) == {}
    (recipe.folder / "recipe.yaml").write_text("a: [")
    assert card.of_checkpoint(checkpoint, recipe.folder / "model") == {}
    assert "warning: no model card" in capsys.readouterr().err
