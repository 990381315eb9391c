"""No secret of an address leaves memory."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from red_mcore.algorithms.grpo import GRPO
from red_mcore.checkpoints import resume
from red_mcore.config.recipe import Data, Model, Recipe, RecipeError, Tracking
from red_mcore.config.redaction import redacted
from red_mcore.config.tree import flatten, to_yaml

SECRET = "hunter2"
REPOSITORY = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://me:hunter2@host:5000", "http://***@host:5000"),
        ("https://hunter2@host/x", "https://***@host/x"),
        ("http://:hunter2@host", "http://***@host"),
        (
            "postgresql+psycopg2://me:hun@ter2/hunter2@db:5432/m",
            "postgresql+psycopg2://***@db:5432/m",
        ),
        ("http://me:p?w#hunter2@host", "http://***@host"),
        ("https:/me:hunter2@host/x", "https:/***@host/x"),  # as a path shows it
        ("http://a/http://me:hunter2@host", "http://a/http://***@host"),
        ("http://a/http%3A%2F%2Fme%3Ahunter2%40host/x", "http://a/http%3A%2F%2F***@host/x"),
        (
            "http://host/a?token=hunter2&x=1#access_token=hunter2",
            "http://host/a?token=***&x=1#access_token=***",
        ),
        ("http://host/a?X-Amz-Signature=hunter2", "http://host/a?X-Amz-Signature=***"),
        (
            "mssql+pyodbc:///?odbc_connect=UID%3Dme%3BPWD%3Dhunter2",
            "mssql+pyodbc:///?odbc_connect=***",
        ),
    ],
)
def test_secrets_are_taken_out(address, shown):
    assert redacted(address) == shown
    assert (
        redacted(f"MLflow at {address} (tracking.uri) fails")
        == f"MLflow at {shown} (tracking.uri) fails"
    )
    assert SECRET not in redacted(f"a={address!r}\n[{address}]")


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////home/a@b/c.db",
        "sqlite:///a@b.db",
        "file:///tmp/a@b",
        "http://h:5000/#/experiments/1?page=2",
        "hf://datasets/a/b@main/x",
        "C:/a/x@y",
        "me@a.b and http://a.b/c, key=5; and/or a:b@c",
        "x" * 100_000 + "/",
    ],
)
def test_all_else_stays(text):
    assert redacted(text) == text


@pytest.fixture
def recipe(tmp_path) -> Recipe:
    tracking = Tracking(uri=f"http://me:{SECRET}@127.0.0.1:1")
    data = Data(path=f"https://me:{SECRET}@host/data.jsonl")
    return Recipe(
        name="x", model=Model(), algorithm=GRPO(), runs=str(tmp_path), tracking=tracking, data=data
    )


def test_what_is_kept_of_a_recipe_has_no_secret(recipe):
    kept = flatten(recipe)
    assert (kept["tracking.uri"], kept["data.path"]) == (
        "http://***@127.0.0.1:1",
        "https://***@host/data.jsonl",
    )
    assert "uri: http://***@127.0.0.1:1\n" in to_yaml(recipe)
    assert SECRET not in to_yaml(recipe) + json.dumps(kept)
    assert recipe.tracking.uri == f"http://me:{SECRET}@127.0.0.1:1"
    assert SECRET not in str(RecipeError(f"data.path {recipe.data.path}: no such file"))


def test_a_run_goes_on_under_another_password(recipe):
    """Of a run that an earlier version started, the old one is still there."""
    now = replace(recipe, tracking=Tracking(uri="http://you:other@127.0.0.1:1"))
    now = replace(now, data=Data(path="https://other@host/data.jsonl"))
    for earlier in (
        flatten(recipe),
        flatten(recipe) | {"tracking.uri": recipe.tracking.uri, "data.path": recipe.data.path},
    ):
        assert resume.same_tracker(now, earlier)
        resume._check_fields(now, earlier, 0)
    elsewhere = replace(recipe, data=Data(path=f"https://me:{SECRET}@else/data.jsonl"))
    with pytest.raises(
        RecipeError,
        match=r"started with data.path=https://\*\*\*@host/data.jsonl, now it is https://",
    ):
        resume._check_fields(elsewhere, flatten(recipe), 0)


def test_a_server_that_cannot_be_reached_is_told_without_the_password(recipe, tmp_path):
    from red_mcore.tracking import Tracker

    with pytest.raises(
        RecipeError, match=r"MLflow at http://\*\*\*@127.0.0.1:1 \(tracking.uri\) does not work"
    ) as error:
        Tracker(recipe, tmp_path)
    assert SECRET not in str(error.value)


def test_mlflow_s_database_has_no_secret(recipe, tmp_path):
    from red_mcore.tracking import Tracker

    database = tmp_path / "mlflow.db"
    # An address with a token that a file can stand for
    uri = f"sqlite:///file:{database}?token={SECRET}&uri=true"
    tracker = Tracker(replace(recipe, tracking=Tracking(uri=uri)), tmp_path)
    tracker.log(0, {"loss/total": 1.0})
    tracker.close("FINISHED")
    assert database.stat().st_size > 0
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file


@pytest.mark.parametrize(
    "arguments",
    [
        ["--dry-run", f"tracking.uri=http://me:{SECRET}@host"],
        ["--print-config", "yaml", f"tracking.uri=http://me:{SECRET}@host"],
        [f"tracking.uri=http://me:{SECRET} @host"],
        [f"model.path=https://{SECRET}@host/x", "model.config={}", "base=null"],
        [f"data.path=https://me:{SECRET}@host/x"],
        [f"steps=http://me:{SECRET}@host"],
        [f"--tracking.uri=http://me:{SECRET}@host"],
    ],
)
def test_the_command_prints_no_secret(arguments, tmp_path):
    command = [
        sys.executable,
        "-m",
        "red_mcore.run",
        "recipes/red_tiny.py",
        f"runs={tmp_path}",
        *arguments,
    ]
    if "--print-config" not in command and "--dry-run" not in command:
        command.append("--dry-run")
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=REPOSITORY, env={"HF_HUB_OFFLINE": "1"}
    )
    assert done.returncode == (0 if "http://***@host" in done.stdout else 2)
    assert SECRET not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_traceback_has_no_secret():
    program = (
        "from red_mcore.config.redaction import guard_output\n"
        "guard_output()\n"
        "import logging\n"
        f"logging.warning('no answer of %s', 'http://me:{SECRET}@host')\n"
        f"raise OSError('http://me:' + '{SECRET}' + '@host is gone')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY
    )
    assert done.returncode == 1
    assert "OSError: http://***@host is gone" in done.stderr
    assert "no answer of http://***@host" in done.stderr
