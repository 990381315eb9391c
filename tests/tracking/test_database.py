"""Addresses of MLflow's SQLite file, and what is said of a file that cannot be used."""

import sqlite3

import pytest

from red_mcore.config.recipe import RecipeError
from red_mcore.tracking import database


@pytest.mark.parametrize("name", ["plain", "a b", "100%", "50%25", "why?", "a#b", "?x=1&y", "é"])
def test_an_address_names_the_file_whatever_its_name(tmp_path, name):
    from sqlalchemy.engine import make_url

    file = tmp_path / name / "mlflow.db"
    assert make_url(database.address(file)).database == str(file)
    assert database.file_of(database.address(file)) == file


def test_other_addresses_name_no_file():
    for uri in ("http://host:5000", "sqlite://", "sqlite:///:memory:", "postgresql://u@h/db"):
        assert database.file_of(uri) is None
        database.check(uri)
    assert str(database.file_of("sqlite:///here/x.db?timeout=30")) == "here/x.db"


@pytest.fixture
def file(tmp_path):
    made = tmp_path / "mlflow.db"
    with sqlite3.connect(made) as connection:
        connection.execute("CREATE TABLE runs (name)")
        connection.executemany("INSERT INTO runs VALUES (?)", [("x" * 500,)] * 100)
    connection.close()
    return made


def refused(file) -> str:
    with pytest.raises(RecipeError) as error:
        database.check(database.address(file))
    assert str(error.value).startswith(f"MLflow's database {file} (tracking.uri) cannot be used: ")
    assert "or set tracking.mlflow=false" in str(error.value)
    return str(error.value)


def test_a_whole_one_is_used_and_stays_as_it_is(file, tmp_path):
    before = file.read_bytes()
    database.check(database.address(file))
    assert file.read_bytes() == before
    (tmp_path / "empty.db").touch()
    database.check(database.address(tmp_path / "empty.db"))
    database.check(database.address(tmp_path / "new" / "none.db"))
    assert not (tmp_path / "new").exists()


def test_garbage_is_told_at_once(file):
    file.write_bytes(b"no database " * 500)
    assert "file is not a database: move it away, and a new one is made" in refused(file)


def test_a_torn_one_is_told(file):
    file.write_bytes(file.read_bytes()[:5000])
    assert "malformed: put a copy back, or move it away" in refused(file)


def test_a_folder_is_told(tmp_path):
    (tmp_path / "mlflow.db").mkdir()
    assert "unable to open database file: name a file" in refused(tmp_path / "mlflow.db")


def test_a_locked_one_is_told(file, monkeypatch):
    monkeypatch.setattr(database, "_SECONDS", 0.1)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert "database is locked: end the program that holds it" in refused(file)
    other.execute("ROLLBACK")
    database.check(database.address(file))
    other.close()


def test_a_read_only_one_is_told(file, monkeypatch):
    connect = sqlite3.connect
    read_only = f"file:{file}?mode=ro"  # permission bits say nothing to root
    monkeypatch.setattr(
        sqlite3, "connect", lambda _, **settings: connect(read_only, uri=True, **settings)
    )
    assert "attempt to write a readonly database: let it be written to" in refused(file)


def test_mlflow_leaves_no_folder_by_the_name_that_only_the_address_has(tmp_path):
    uri = database.address(tmp_path / "100%" / "deep" / "mlflow.db")
    (tmp_path / "100%" / "deep").mkdir(parents=True)
    with database.as_spelt(uri):
        (tmp_path / "100%25" / "deep").mkdir(parents=True)  # as MLflow does
    assert [path.name for path in tmp_path.iterdir()] == ["100%"]
