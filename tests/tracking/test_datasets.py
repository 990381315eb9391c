"""A run whose data are a prepared set has it among MLflow's datasets."""

import hashlib
import json

import mlflow.data
import pytest
from mlflow.tracking import MlflowClient

from red_mcore.config.recipe import Algorithm, Data, Model, Recipe
from red_mcore.data import schema
from red_mcore.data.schema import Entry
from red_mcore.tracking import Tracker, datasets


@pytest.fixture
def made_set(tmp_path):
    folder = tmp_path / "mix"
    folder.mkdir()
    file = folder / "set.jsonl"
    schema.write(file, [Entry("a", "1+1?", "2")])
    about = {
        "format": schema.MANIFEST_FORMAT,
        "set": {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()},
        **{name: {} for name in datasets.PROFILE},
        "teachers": [{"teacher": "R1", "traces": 3, "share": 1.0}],
        "benchmarks": {"AIME24": {"overlap": {"rows": 2, "hits": [{"row": "line 3"}]}}},
    }
    (folder / schema.MANIFEST).write_text(json.dumps(about))
    return file


def test_the_run_has_the_set_with_its_digest_and_its_lineage(made_set, tmp_path):
    data = Data(path=str(made_set), held_out_path=str(tmp_path / "other.jsonl"))
    model = Model(config={"vocab_size": 64})
    recipe = Recipe(
        name="x", runs=str(tmp_path / "runs"), model=model, algorithm=Algorithm(), data=data
    )
    tracker = Tracker(recipe, recipe.folder)
    tracker.close("FINISHED")
    client = MlflowClient(tracking_uri=f"sqlite:///{recipe.runs}/mlruns.db")
    (found,) = client.get_run(tracker.run_id).inputs.dataset_inputs
    assert found.dataset.name == "mix"
    assert hashlib.sha256(made_set.read_bytes()).hexdigest().startswith(found.dataset.digest)
    profile = json.loads(found.dataset.profile)
    assert profile["teachers"] == [{"teacher": "R1", "traces": 3, "share": 1.0}]
    assert profile["benchmarks"] == {"AIME24": {"overlap": {"rows": 2}}}
    assert [(tag.key, tag.value) for tag in found.tags] == [("mlflow.data.context", "training")]
    assert mlflow.data.get_source(found).load() == str(made_set)


def test_a_set_that_has_changed_is_told_of_and_not_logged(made_set, capfd):
    assert datasets.manifest_of(made_set) is not None
    made_set.write_text("{}")
    assert datasets.manifest_of(made_set) is None
    assert "has changed since manifest.json" in "".join(capfd.readouterr())


def test_other_programs_manifests_say_nothing(made_set):
    for content in ("{", "[]", "{}"):
        (made_set.parent / schema.MANIFEST).write_text(content)
        assert datasets.manifest_of(made_set) is None
