"""Addresses of MLflow are told to be none, or to be gone, without mlflow."""

import socket

import pytest

from red_mcore.config.recipe import RecipeError, Tracking
from red_mcore.tracking import addresses


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_server_that_answers_and_one_that_does_not(server):
    addresses.reach(Tracking(uri=f"http://me:secret@127.0.0.1:{server}/mlflow"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    gone = Tracking(uri=f"http://me:secret@127.0.0.1:{port}/mlflow?token=secret")
    wanted = (
        rf"tracking.uri=http://127.0.0.1:{port}/mlflow does not answer at 127.0.0.1 port {port}"
        r" \(.*refused\)"
    )
    with pytest.raises(RecipeError, match=wanted) as error:
        addresses.reach(gone)
    assert "secret" not in str(error.value)
    addresses.reach(Tracking(mlflow=False, uri=gone.uri))
    addresses.reach(Tracking())


def test_a_database_s_file(tmp_path):
    def reach(file) -> None:
        tracking = Tracking(uri=f"sqlite:///{file}")
        addresses.check(tracking)
        addresses.reach(tracking)

    odd = tmp_path / "100%#1"
    odd.mkdir()
    reach(odd / "new.db")
    (odd / "old.db").write_bytes(b"SQLite format 3\0...")
    reach(odd / "old.db")
    (odd / "empty.db").touch()
    reach(odd / "empty.db")
    (odd / "garbage.db").write_text("no database, but long enough")
    for file, message in (
        (odd / "garbage.db", "is no SQLite database"),
        (odd, "is a folder: name a file in it"),
        (tmp_path / "gone" / "x.db", "lies in .*gone, which is no folder"),
    ):
        with pytest.raises(RecipeError, match=message):
            reach(file)


@pytest.mark.parametrize(
    "uri", ["databricks", "postgresql+psycopg2://u:p@host/db", "https://host", "sqlite:///x.db"]
)
def test_what_may_be_one(uri):
    addresses.check(Tracking(uri=uri))


@pytest.mark.parametrize(
    "uri", ["./mlruns", "file:///x", "http://", "sqlite://", "sqlite:///", "http://h:p", "", "h:1"]
)
def test_what_can_be_none(uri):
    with pytest.raises(RecipeError, match=r"tracking\.uri"):
        addresses.check(Tracking(uri=uri))
