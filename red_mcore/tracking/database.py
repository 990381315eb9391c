"""MLflow's SQLite file: its address, and whether it can be used. Without MLflow."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote

from red_mcore.recipe import RecipeError

_PREFIX = "sqlite:///"
_FIXES = {
    "SQLITE_NOTADB": "move it away, and a new one is made that gets all rows of this run",
    "SQLITE_CORRUPT": "put a copy back, or move it away, and a new one is made that gets all rows of this run",
    "SQLITE_CANTOPEN": "name a file in a folder that can be written to",
    "SQLITE_READONLY": "let it be written to",
    "SQLITE_BUSY": "end the program that holds it",
}
_SECONDS = 20.0
"""How long a database may be locked: other runs may write to the same one, for moments."""


def address(file: Path) -> str:
    """As SQLAlchemy reads it: whatever stands behind ``?`` would be no part of the name."""
    return _PREFIX + str(file.absolute()).replace("%", "%25").replace("?", "%3F")


def file_of(uri: str) -> Path | None:
    """The file that an address names; None for other databases, servers and what is in memory."""
    name = uri.removeprefix(_PREFIX).partition("?")[0]
    return None if name in (uri, "", ":memory:") or name.startswith("file:") else Path(unquote(name))


def check(uri: str) -> None:
    """RecipeError where the address names a SQLite file that is there, and that MLflow could not write to.

    MLflow itself would try again for minutes.
    """
    file = file_of(uri)
    if file is None or not file.exists():
        return
    try:
        with closing(sqlite3.connect(file, timeout=_SECONDS, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            (number,) = connection.execute("PRAGMA user_version").fetchone()
            connection.execute(f"PRAGMA user_version = {number}")  # a write, as only that tells of a read-only file
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        fix = _FIXES.get(error.sqlite_errorname, "mend that")
        raise RecipeError(
            f"MLflow's database {file} (tracking.uri) cannot be used: {error}: {fix}, or set tracking.mlflow=false"
        ) from error


@contextmanager
def as_spelt(uri: str) -> Iterator[None]:
    """A block in which MLflow opens a database: the folder that it makes by the address as it is spelt is removed."""
    file = file_of(uri)
    spelt = Path(uri.removeprefix(_PREFIX)).parent if file else None
    if file is None or spelt == file.parent:
        yield
        return
    made = [folder for folder in (spelt, *spelt.parents) if not folder.exists()]
    try:
        yield
    finally:
        for folder in made:
            with suppress(OSError):  # one that something stands in
                folder.rmdir()
