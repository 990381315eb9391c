"""What a run leaves behind: rows, tables, the summary, and the same in a real MLflow database."""

import json

import pytest
from mlflow.tracking import MlflowClient

from red_mcore.recipe import Algorithm, Model, Recipe, RecipeError
from red_mcore.tracking import Tracker
from red_mcore.tracking.files import read_lines, write_atomic
from red_mcore.tracking.mlflow_run import MlflowParent


@pytest.fixture
def recipe(tmp_path) -> Recipe:
    return Recipe(name="small", runs=str(tmp_path), model=Model(config={"vocab_size": 64}), algorithm=Algorithm())


@pytest.fixture
def local(recipe) -> Tracker:
    recipe.tracking.mlflow = False
    return Tracker(recipe, recipe.folder)


def test_a_run_is_in_mlflow_and_goes_on_under_its_id(recipe):
    client = MlflowClient(tracking_uri=f"sqlite:///{recipe.runs}/mlruns.db")
    first = Tracker(recipe, recipe.folder)
    first.log(1, {"update/loss": 0.5, "rollout/tokens": 7})
    first.close("KILLED")
    assert client.get_run(first.run_id).info.status == "KILLED"

    again = Tracker(recipe, recipe.folder, first.run_id)
    again.log(2, {"update/loss": 0.25})
    again.table("evaluation", [{"text": "a", "verdict": "wrong"}, {"text": "b", "reward": 1.0}], step=2)
    again.summary({"accuracy_after": 0.75, "model": "x"})
    again.close("FINISHED")

    run = client.get_run(first.run_id)
    assert (run.info.run_name, run.info.status) == ("small", "FINISHED")
    assert run.data.params["model.config.vocab_size"] == "64"
    assert [(m.step, m.value) for m in client.get_metric_history(first.run_id, "update/loss")] == [(1, 0.5), (2, 0.25)]
    assert run.data.metrics["summary/accuracy_after"] == 0.75
    (table,) = recipe.folder.glob("artifacts/*/artifacts/rollouts/*.json")
    assert json.loads(table.read_text()) == {
        "columns": ["text", "verdict", "reward"],
        "data": [["a", "wrong", None], ["b", None, 1.0]],
    }


def test_runs_are_nested_under_a_parent_that_is_found_again(recipe, tmp_path):
    recipe.tracking.uri, recipe.tracking.experiment = f"sqlite:///{tmp_path}/mlflow.db", "comparison"
    parent, again, other = (
        MlflowParent(recipe.tracking.uri, "comparison", name, tmp_path / "artifacts") for name in ("all", "all", "none")
    )
    assert parent.run_id == again.run_id != other.run_id
    recipe.tracking.parent = parent.run_id
    recipe.name = "all"  # a nested run of the parent's name is not taken for it
    nested = Tracker(recipe, recipe.folder)
    assert MlflowParent(recipe.tracking.uri, "comparison", "all", tmp_path / "artifacts").run_id == parent.run_id

    client = MlflowClient(tracking_uri=recipe.tracking.uri)
    run = client.get_run(nested.run_id)
    assert run.data.tags["mlflow.parentRunId"] == parent.run_id
    assert run.info.experiment_id == client.get_run(parent.run_id).info.experiment_id
    for text in ("first", "second"):
        (tmp_path / "table.md").write_text(text)
        parent.artifact(tmp_path / "table.md")
    (kept,) = (tmp_path / "artifacts").rglob("table.md")
    assert kept.read_text() == "second"
    parent.end("FINISHED")
    assert client.get_run(parent.run_id).info.status == "FINISHED"


def test_a_failing_mlflow_is_an_error_at_start(recipe):
    recipe.tracking.uri = "nonsense://x"
    with pytest.raises(RecipeError, match=r"MLflow at nonsense://x \(tracking.uri\) does not work"):
        Tracker(recipe, recipe.folder)


def test_an_unknown_run_id_is_an_error_at_start(recipe):
    with pytest.raises(RecipeError, match="0123"):
        Tracker(recipe, recipe.folder, "0123")


def test_a_failing_mlflow_later_costs_one_warning_and_no_row(recipe, capsys):
    tracker = Tracker(recipe, recipe.folder)
    MlflowClient(tracking_uri=f"sqlite:///{recipe.runs}/mlruns.db").delete_run(tracker.run_id)
    tracker.log(1, {"update/loss": 0.5})
    tracker.log(2, {"update/loss": 0.25})
    tracker.close("FINISHED")
    assert capsys.readouterr().err.count("warning: MLflow failed") == 1
    assert [row["step"] for row in read_lines(recipe.folder / "metrics.jsonl")] == [1, 2]


def test_truncate_drops_what_the_checkpoint_does_not_know_and_a_torn_line(local, recipe):
    for step in range(4):
        local.log(step, {"update/loss": 1.0})
    path = recipe.folder / "metrics.jsonl"
    with path.open("a") as file:
        file.write('{"step": 4, "upd')
    local.truncate(after_step=2)
    local.log(3, {"update/loss": 2.0})
    assert [(row["step"], row["update/loss"]) for row in read_lines(path)] == [(0, 1.0), (1, 1.0), (2, 1.0), (3, 2.0)]
    local.truncate(after_step=-1)
    assert path.read_text() == ""


def test_rows_are_strict_json(local, recipe):
    local.log(1, {"update/loss": float("nan")})
    local.summary({"accuracy_after": float("inf"), "steps": 3})
    assert read_lines(recipe.folder / "metrics.jsonl") == [{"step": 1, "update/loss": None}]
    assert json.loads((recipe.folder / "summary.json").read_text()) == {"accuracy_after": None, "steps": 3}


@pytest.mark.parametrize("name", ["loss", "eval/pass@8", "Update/loss"])
def test_a_name_that_mlflow_would_refuse_is_refused_at_once(local, name):
    with pytest.raises(ValueError, match="phase/quantity_unit"):
        local.log(1, {name: 1.0})


def test_a_table_is_kept_by_step(local, recipe):
    local.table("evaluation", [{"text": "a"}], step=20)
    assert read_lines(recipe.folder / "rollouts" / "evaluation-000020.jsonl") == [{"text": "a"}]


def test_a_write_that_fails_keeps_the_old_file(tmp_path):
    path = tmp_path / "summary.json"
    write_atomic(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "new \ud800")
    assert path.read_text() == "old"
