"""What a run leaves behind: rows, tables, the summary, and the same in a real MLflow database."""

import errno
import json
import sqlite3
import subprocess
from pathlib import Path

import pytest
import warm
from mlflow.tracking import MlflowClient

from red_mcore.config.recipe import Algorithm, Model, Recipe, RecipeError
from red_mcore.evaluation import benchmarks
from red_mcore.system import disk
from red_mcore.system.disk import read_lines, write_atomic
from red_mcore.tracking import Tracker, database, outlet
from red_mcore.tracking.mlflow_run import MlflowParent


@pytest.fixture
def recipe(tmp_path) -> Recipe:
    return Recipe(
        name="small",
        runs=str(tmp_path),
        model=Model(config={"vocab_size": 64}),
        algorithm=Algorithm(),
    )


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
    again.table(
        "evaluation", [{"text": "a", "verdict": "wrong"}, {"text": "b", "reward": 1.0}], step=2
    )
    again.summary({"accuracy_after": 0.75, "model": "x"})
    again.close("FINISHED")

    run = client.get_run(first.run_id)
    assert (run.info.run_name, run.info.status) == ("small", "FINISHED")
    assert run.data.params["model.config.vocab_size"] == "64"
    assert [(m.step, m.value) for m in client.get_metric_history(first.run_id, "update/loss")] == [
        (1, 0.5),
        (2, 0.25),
    ]
    assert run.data.metrics["summary/accuracy_after"] == 0.75
    assert (
        run.info.artifact_uri == f"mlflow-artifacts:/{first.run_id}/artifacts"
    )  # relative: the folder may be moved
    table = (
        Path(recipe.runs)
        / "mlartifacts"
        / first.run_id
        / "artifacts/rollouts/evaluation-000002.json"
    )
    assert json.loads(table.read_text()) == {
        "columns": ["text", "verdict", "reward"],
        "data": [["a", "wrong", None], ["b", None, 1.0]],
    }


def test_runs_of_a_folder_share_a_database_whichever_way_they_start(tmp_path):
    """Three at once where there is none yet: MLflow alone would make its tables three times, and
    two would fail."""
    code = (
        "import sys\n"
        "from red_mcore.recipe import Algorithm, Model, Recipe\n"
        "from red_mcore.tracking import Tracker\n"
        "name, runs = sys.argv[1:]\n"
        "recipe = Recipe(name=name, runs=runs, model=Model(), algorithm=Algorithm())\n"
        "tracker = Tracker(recipe, recipe.folder)\n"
        "for step in range(1, 21):\n"
        "    tracker.log(step, {'update/loss': 1.0})\n"
        "tracker.close('FINISHED')\n"
    )
    started = [
        subprocess.Popen([warm.python(), "-c", code, f"r{i}", str(tmp_path)]) for i in range(3)
    ]
    assert [process.wait() for process in started] == [0, 0, 0]
    client = MlflowClient(database.address(tmp_path / "mlruns.db"))
    experiment = client.get_experiment_by_name("red-mcore")
    runs = client.search_runs([experiment.experiment_id])
    assert {(run.info.run_name, run.info.status) for run in runs} == {
        (f"r{i}", "FINISHED") for i in range(3)
    }
    assert [len(client.get_metric_history(run.info.run_id, "update/loss")) for run in runs] == [
        20,
        20,
        20,
    ]
    assert (
        experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    )  # its page shows runs


def test_a_folder_that_has_its_own_database_from_before_goes_on_there(recipe):
    own = database.address(recipe.folder / "mlflow.db")
    recipe.tracking.uri = own
    before = Tracker(recipe, recipe.folder)
    before.log(1, {"update/loss": 0.5})
    before.close("KILLED")
    recipe.tracking.uri = None
    again = Tracker(recipe, recipe.folder, before.run_id)
    again.log(2, {"update/loss": 0.25})
    again.close("FINISHED")
    assert again.run_id == before.run_id
    assert len(MlflowClient(own).get_metric_history(before.run_id, "update/loss")) == 2
    assert not (Path(recipe.runs) / "mlruns.db").exists()


def test_a_folder_that_was_moved_goes_on_with_its_artifacts(recipe, tmp_path):
    recipe.runs = str(tmp_path / "here")
    first = Tracker(recipe, recipe.folder)
    first.table("evaluation", [{"text": "a"}], step=1)
    first.close("KILLED")
    Path(recipe.runs).rename(tmp_path / "there")
    recipe.runs = str(tmp_path / "there")
    again = Tracker(recipe, recipe.folder, first.run_id)
    again.table("evaluation", [{"text": "b"}], step=2)
    again.close("FINISHED")
    assert again.run_id == first.run_id
    kept = tmp_path / "there/mlartifacts" / first.run_id / "artifacts/rollouts"
    assert sorted(file.name for file in kept.iterdir()) == [
        "evaluation-000001.json",
        "evaluation-000002.json",
    ]
    assert not (tmp_path / "here").exists()


def test_an_address_of_artifacts_leads_nowhere_else():
    uri = database.address(Path("/x/mlruns.db"))
    assert database.artifacts(uri, "mlflow-artifacts:/a/b") == Path("/x/mlartifacts/a/b")
    for foreign in ("mlflow-artifacts:/../b", "mlflow-artifacts://etc", "s3://bucket/a", "/x/y"):
        assert database.artifacts(uri, foreign) is None
    assert database.artifacts("http://server", "mlflow-artifacts:/a/b") is None


def test_runs_are_nested_under_a_parent_that_is_found_again(recipe, tmp_path):
    recipe.tracking.uri, recipe.tracking.experiment = (
        f"sqlite:///{tmp_path}/mlflow.db",
        "comparison",
    )
    parent, again, other = (
        MlflowParent(recipe.tracking.uri, "comparison", name)
        for name in ("all's", "all's", '"none"')
    )
    assert parent.run_id == again.run_id != other.run_id
    recipe.tracking.parent = parent.run_id
    recipe.name = "all's"  # a nested run of the parent's name is not taken for it
    nested = Tracker(recipe, recipe.folder)
    assert MlflowParent(recipe.tracking.uri, "comparison", "all's").run_id == parent.run_id

    client = MlflowClient(tracking_uri=recipe.tracking.uri)
    run = client.get_run(nested.run_id)
    assert run.data.tags["mlflow.parentRunId"] == parent.run_id
    assert run.info.experiment_id == client.get_run(parent.run_id).info.experiment_id
    for text in ("first", "second"):
        (tmp_path / "table.md").write_text(text)
        parent.artifact(tmp_path / "table.md")
    (kept,) = (tmp_path / "mlartifacts").rglob("table.md")
    assert kept.read_text() == "second"
    parent.close("FINISHED")
    assert client.get_run(parent.run_id).info.status == "FINISHED"


def test_a_failing_mlflow_is_an_error_at_start(recipe):
    recipe.tracking.uri = "nonsense://x"
    with pytest.raises(RecipeError, match=r"MLflow at nonsense://x \(tracking.uri\) does not work"):
        Tracker(recipe, recipe.folder)


def test_a_run_that_mlflow_has_no_more_gets_a_new_one_with_all_rows(recipe):
    """As where its database was moved away, for it was damaged."""
    first = Tracker(recipe, recipe.folder)
    for step in (1, 2):
        first.log(step, {"update/loss": 1 / step, "update/lr": float("nan")})
    rows, file = first.rows(), Path(recipe.runs) / "mlruns.db"
    first.close("KILLED")
    file.write_bytes(b"damaged")
    with pytest.raises(
        RecipeError, match=r"MLflow's database .*mlruns\.db .*file is not a database: move it away"
    ):
        Tracker(recipe, recipe.folder, first.run_id)
    recipe.runs += "/elsewhere"  # this process keeps the damaged one open
    disk.write_atomic(recipe.folder / "metrics.jsonl", rows["metrics.jsonl"])
    file = Path(recipe.runs) / "mlruns.db"
    again = Tracker(recipe, recipe.folder, first.run_id)
    assert again.begin({"main": 2}, rows) == []
    again.log(3, {"update/loss": 1 / 3})
    again.close("FINISHED")
    history = MlflowClient(f"sqlite:///{file}").get_metric_history(again.run_id, "update/loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert again.run_id != first.run_id


def test_an_mlflow_that_fails_for_a_while_costs_one_warning_and_no_row(recipe, capsys, monkeypatch):
    monkeypatch.setattr(outlet, "_PAUSE", 0.0)
    tracker, file = Tracker(recipe, recipe.folder), Path(recipe.runs) / "mlruns.db"
    other = sqlite3.connect(file, isolation_level=None)
    other.execute(
        "ALTER TABLE runs RENAME TO elsewhere"
    )  # a lock would do, too, after 20 s for each row
    tracker.log(1, {"update/loss": 0.5})
    tracker.log(2, {"update/loss": 0.25})
    assert capsys.readouterr().err.count("warning: MLflow failed") == 1
    other.execute("ALTER TABLE elsewhere RENAME TO runs")
    other.close()
    tracker.log(3, {"update/loss": 0.125})
    tracker.close("FINISHED")
    history = MlflowClient(f"sqlite:///{file}").get_metric_history(tracker.run_id, "update/loss")
    assert [metric.step for metric in history] == [1, 2, 3]
    assert [row["step"] for row in read_lines(recipe.folder / "metrics.jsonl")] == [1, 2, 3]
    assert capsys.readouterr().err == ""


def test_an_mlflow_that_fails_to_the_end_is_told_once_more_with_what_it_lacks(recipe, capsys):
    tracker = Tracker(recipe, recipe.folder)
    MlflowClient(tracking_uri=f"sqlite:///{recipe.runs}/mlruns.db").delete_run(tracker.run_id)
    tracker.log(1, {"update/loss": 0.5})
    tracker.log(2, {"update/loss": 0.25})
    tracker.close("FINISHED")
    told = capsys.readouterr().err
    assert told.count("\n") == 2
    assert told.count("warning: MLflow failed") == 1
    assert "warning: MLflow lacks the last 3 entries of this run, which are in" in told
    assert [row["step"] for row in read_lines(recipe.folder / "metrics.jsonl")] == [1, 2]


def test_a_disk_without_room_is_told_once_and_rows_are_written_later(
    local, recipe, capsys, monkeypatch
):
    def refuse(path, content):
        raise disk.Unwritten(f"the disk is full: {path}") from OSError(
            errno.ENOSPC, "No space left on device"
        )

    for name in ("append", "write_lines"):
        monkeypatch.setattr(disk, name, refuse)
    local.log(1, {"update/loss": 0.5})
    local.table("evaluation", [{"text": "a"}], step=1)
    local.log(2, {"update/loss": 0.25})
    assert capsys.readouterr().err == (
        f"red_mcore: warning: the disk is full: {recipe.folder}/metrics.jsonl; the run goes on, up"
        " to its next checkpoint\n"
    )
    assert [json.loads(line)["step"] for line in local.rows()["metrics.jsonl"].splitlines()] == [
        1,
        2,
    ]
    monkeypatch.undo()
    local.log(3, {"update/loss": 0.125})
    assert [row["step"] for row in read_lines(recipe.folder / "metrics.jsonl")] == [1, 2, 3]


@pytest.mark.parametrize("name", ["a b", "50%25 of", "why?", "a#b"])
def test_a_folder_may_have_any_name(recipe, tmp_path, name):
    recipe.runs = str(tmp_path / name / "runs")
    tracker = Tracker(recipe, recipe.folder)
    tracker.log(1, {"update/loss": 0.5})
    tracker.table("evaluation", [{"text": "a"}], step=1)
    tracker.close("FINISHED")
    assert (Path(recipe.runs) / "mlruns.db").is_file()
    (table,) = (tmp_path / name).rglob("evaluation-000001.json")
    assert json.loads(table.read_text())["data"] == [["a"]]
    assert [path.name for path in tmp_path.iterdir()] == [name]
    client = MlflowClient(tracking_uri=database.address(Path(recipe.runs) / "mlruns.db"))
    assert client.get_run(tracker.run_id).data.metrics == {"update/loss": 0.5}


def test_a_start_drops_what_the_checkpoint_does_not_know_and_a_torn_line(local, recipe):
    for step in range(4):
        local.log(step, {"update/loss": 1.0})
    path = recipe.folder / "metrics.jsonl"
    with path.open("a") as file:
        file.write('{"step": 4, "upd')
    local.begin({"main": 2})
    local.log(3, {"update/loss": 2.0})
    assert [(row["step"], row["update/loss"]) for row in read_lines(path)] == [
        (0, 1.0),
        (1, 1.0),
        (2, 1.0),
        (3, 2.0),
    ]
    local.begin({"main": -1})
    assert path.read_text() == ""


def test_rows_are_strict_json(local, recipe):
    local.log(1, {"update/loss": float("nan")})
    local.summary({"accuracy_after": float("inf"), "steps": 3})
    assert read_lines(recipe.folder / "metrics.jsonl") == [{"step": 1, "update/loss": None}]
    assert json.loads((recipe.folder / "summary.json").read_text()) == {
        "accuracy_after": None,
        "steps": 3,
    }


@pytest.mark.parametrize("name", ["loss", "eval/pass@8", "Update/loss"])
def test_a_name_that_mlflow_would_refuse_is_refused_at_once(local, name):
    with pytest.raises(ValueError, match="phase/quantity_unit"):
        local.log(1, {name: 1.0})


def test_any_name_of_a_benchmark_is_one_of_metrics(recipe, tmp_path, monkeypatch):
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab/parts.py").write_text("sums = lambda: [{'problem': '1+1', 'gold': '2'}]")
    monkeypatch.syspath_prepend(tmp_path)
    names = ["MATH-500", "Olympiade_é-1.2", "lab.parts:sums"]
    for name in names[:2]:
        (tmp_path / f"{name}.jsonl").write_text('{"problem": "1+1", "gold": "2"}')
    benchmarks.check(names, str(tmp_path))
    metrics = {f"evaluation/{name}_mean": 0.5 for name in names}
    tracker = Tracker(recipe, recipe.folder)
    tracker.log(1, metrics)
    tracker.close("FINISHED")
    client = MlflowClient(tracking_uri=f"sqlite:///{recipe.runs}/mlruns.db")
    assert client.get_run(tracker.run_id).data.metrics == metrics


def test_a_table_is_kept_by_step(local, recipe):
    local.table("evaluation", [{"text": "a"}], step=20)
    assert read_lines(recipe.folder / "rollouts" / "evaluation-000020.jsonl") == [{"text": "a"}]


def test_a_write_that_fails_keeps_the_old_file(tmp_path):
    path = tmp_path / "summary.json"
    write_atomic(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "new \ud800")
    assert path.read_text() == "old"
