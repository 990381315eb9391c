"""Pushing an export: what is asked of the hub, and the one line where it cannot be."""

import os

import pytest

from red_mcore.config.recipe import Hub, RecipeError
from red_mcore.convert import hub


@pytest.fixture
def export(tmp_path):
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def no_token(tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "nosuch"))
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)


@pytest.mark.parametrize("name", ["", "name", "a/b/c", "owner/na me"])
def test_a_name_that_is_none(name):
    with pytest.raises(RecipeError, match="is no name of a hub repository: write owner/name"):
        hub.check(name)


def test_without_a_token_there_is_one_line_that_says_what_to_do(no_token, export, capsys):
    with pytest.raises(
        RecipeError,
        match=r"hub\.name=owner/name: there is no token to push with: run 'hf auth login'",
    ):
        hub.check("owner/name")
    assert hub.main([str(export), "owner/name"]) == 2
    error = capsys.readouterr().err
    assert "repository=owner/name: there is no token" in error
    assert error.count("\n") == 1


def test_what_is_asked_of_the_hub(export, monkeypatch, capsys):
    asked = []

    class Api:
        def create_repo(self, name, **settings):
            asked.append((name, settings))
            return f"https://huggingface.co/{name}"

        def upload_folder(self, **settings):
            asked.append(settings)

    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_x")
    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    assert hub.main([str(export), "owner/name"]) == 0
    assert capsys.readouterr().out == "https://huggingface.co/owner/name\n"
    assert asked[0] == ("owner/name", {"private": True, "exist_ok": True})
    assert (asked[1]["repo_id"], asked[1]["folder_path"]) == ("owner/name", export)

    def refuse(self, **settings):
        raise ConnectionError("no way to https://me:hunter2@hub\nat all")

    monkeypatch.setattr(Api, "upload_folder", refuse)
    assert hub.main([str(export), "owner/name"]) == 2
    error = capsys.readouterr().err
    assert "cannot be pushed to owner/name: no way to https://***@hub at all" in error
    assert error.count("\n") == 1


def test_a_folder_that_is_no_export(tmp_path):
    with pytest.raises(RecipeError, match=r"has no config\.json: name an export"):
        hub.push(tmp_path, "owner/name", private=True)


def test_a_run_is_done_also_where_its_export_could_not_be_pushed(export, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "nosuch"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    line = hub.push_apart(export, Hub(name="owner/name", private=False))
    assert line.startswith(
        "red_mcore: warning: push: error: repository=owner/name: there is no token"
    )
    assert line.endswith(f"; try again with: python tools/push.py {export} owner/name --public")
    assert os.environ["HF_HUB_OFFLINE"] == "1"
