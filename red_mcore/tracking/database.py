"""MLflow's SQLite file: its address, whether it can be used, and the artifacts beside it. Without
MLflow.

All runs of a folder share one. It names artifacts by ``mlflow-artifacts:``, relative to where it
lies, so that the folder may be moved. Such addresses are read by MLflow's server, which finds them
with ``--artifacts-destination``. Without a server MLflow cannot write to them: that is done here.
All else in the database is MLflow's own doing.
"""

from __future__ import annotations

import fcntl
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from red_mcore.config.recipe import RecipeError

_PREFIX = "sqlite:///"
_ANEW = "move it away, and a new one is made that gets all rows of this run"
_FIXES = {
    "SQLITE_NOTADB": _ANEW,
    "SQLITE_CORRUPT": f"put a copy back, or {_ANEW}",
    "SQLITE_CANTOPEN": "name a file in a folder that can be written to",
    "SQLITE_READONLY": "let it be written to",
    "SQLITE_BUSY": "end the program that holds it",
}
_SECONDS = 20.0
"""How long a database may be locked: other runs may write to the same one, for moments."""

SHARED, ARTIFACTS = "mlruns.db", "mlartifacts"
OWN = "mlflow.db"
"""What a run had in its folder, when each had one of its own."""
RELATIVE = "mlflow-artifacts:/"
PATIENCE_SECONDS = 120.0
"""How long another process may take to make the database."""


def of_folder(folder: Path, shared: Path) -> str:
    """Address of the database for what is in ``folder``: that in ``shared``, or its own of an
    earlier version."""
    own = folder / OWN
    return address(own if own.exists() else shared / SHARED)


def artifacts(uri: str, artifact_uri: str) -> Path | None:
    """Folder of a run's artifacts, where they are to be written here; None where MLflow knows
    how."""
    file, path = file_of(uri), Path(artifact_uri.removeprefix(RELATIVE))
    if file is None or not artifact_uri.startswith(RELATIVE):
        return None
    if path.is_absolute() or ".." in path.parts:  # it would lead out of there
        return None
    return file.parent / ARTIFACTS / path


@contextmanager
def alone(uri: str) -> Iterator[None]:
    """Hold off other processes that open the file: MLflow makes its tables, and experiments,
    without a lock.

    TimeoutError where another one takes longer than ``PATIENCE_SECONDS``. Nothing to do for a
    server.
    """
    file = file_of(uri)
    if file is None:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with (file.parent / f".{file.name}.lock").open("a") as lock:
        end = time.monotonic() + PATIENCE_SECONDS
        while not _locked(lock):
            if time.monotonic() > end:
                raise TimeoutError(
                    f"another process has held {lock.name} for {PATIENCE_SECONDS:.0f} s: end it"
                )
            time.sleep(0.1)
        yield  # closing the file gives the lock back, and so does the end of this process


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def address(file: Path) -> str:
    """As SQLAlchemy reads it: whatever stands behind ``?`` would be no part of the name."""
    return _PREFIX + str(file.absolute()).replace("%", "%25").replace("?", "%3F")


def file_of(uri: str) -> Path | None:
    """The file that an address names; None for other databases, servers and what is in memory."""
    name = uri.removeprefix(_PREFIX).partition("?")[0]
    if name in (uri, "", ":memory:") or name.startswith("file:"):
        return None
    return Path(unquote(name))


def check(uri: str) -> None:
    """RecipeError where the address names a SQLite file that is there, and that MLflow could not
    write to.

    MLflow itself would try again for minutes.
    """
    file = file_of(uri)
    if file is None or not file.exists():
        return
    try:
        with closing(sqlite3.connect(file, timeout=_SECONDS, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            (number,) = connection.execute("PRAGMA user_version").fetchone()
            # A write, as only that tells of a read-only file.
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        fix = _FIXES.get(error.sqlite_errorname, "mend that")
        raise RecipeError(
            f"MLflow's database {file} (tracking.uri) cannot be used: {error}: {fix}, or set"
            " tracking.mlflow=false"
        ) from error


@contextmanager
def as_spelt(uri: str) -> Iterator[None]:
    """A block in which MLflow opens a database: the folder that it makes by the address as it is
    spelt is removed."""
    file, spelt = file_of(uri), Path(uri.removeprefix(_PREFIX)).parent
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
