"""Addresses of MLflow servers and databases (``tracking.uri``): whether they can be one, and
whether one answers.

Without mlflow, which takes seconds to import: for a dry run.
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import NoReturn
from urllib.parse import SplitResult, urlsplit

from red_mcore.config.recipe import RecipeError, Tracking

PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
"""Schemes of servers, and the ports that they are at where the address names none."""
SCHEMES = ("sqlite", "databricks", "databricks-uc", "uc", *PORTS)
PATIENCE_SECONDS = 2.0
_SQLITE = b"SQLite format 3\0"


def check(tracking: Tracking) -> None:
    """RecipeError for an address that is none."""
    if tracking.mlflow and not tracking.experiment.strip():
        raise RecipeError("tracking.experiment is an empty text: MLflow wants a name")
    if not tracking.mlflow or tracking.uri is None:
        return
    parts = _split(tracking.uri)
    scheme = _scheme(parts)
    if scheme not in SCHEMES:
        what = f"of the scheme '{scheme[:40]}' is none of MLflow's"
        _refuse(tracking.uri, f"{what}: use {', '.join(SCHEMES)}")
    if scheme in PORTS and re.search(r"\s", tracking.uri):
        _refuse(tracking.uri, "has a space, which no server's address has: write %20")
    if scheme in PORTS and not parts.hostname:
        _refuse(tracking.uri, f"names no host: write {scheme}://HOST:PORT")
    if scheme == "sqlite" and not _file(tracking.uri):
        fix = "write sqlite:///FILE, or sqlite:////FOLDER/FILE for a place from the root"
        _refuse(tracking.uri, f"names no file: {fix}")


def reach(tracking: Tracking) -> None:
    """RecipeError where nothing answers there, or the database's file cannot be one."""
    if not tracking.mlflow or tracking.uri is None:
        return
    parts = _split(tracking.uri)
    scheme = _scheme(parts)
    if scheme == "sqlite":
        _check_file(tracking.uri, Path(_file(tracking.uri)))
    elif scheme in PORTS:
        host, port = parts.hostname, parts.port or PORTS[scheme]
        try:
            socket.create_connection((host, port), timeout=PATIENCE_SECONDS).close()
        except (OSError, UnicodeError) as error:  # the latter of a name that no host can have
            reason = getattr(error, "strerror", None) or str(error)
            _refuse(tracking.uri, f"does not answer at {host} port {port} ({reason}): start it")


def _check_file(uri: str, file: Path) -> None:
    """RecipeError where the file is no database, or cannot become one."""
    if file.is_dir():
        _refuse(uri, f"is a folder: name a file in it, sqlite:///{file}/mlflow.db")
    if not file.parent.is_dir():
        _refuse(uri, f"lies in {file.parent}, which is no folder: make it")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        _refuse(uri, "cannot be written: choose another place")
    if file.is_file():
        with file.open("rb") as content:
            if content.read(len(_SQLITE)) not in (b"", _SQLITE):  # SQLite fills an empty file
                _refuse(uri, "is no SQLite database: name another file")


def _split(uri: str) -> SplitResult:
    try:
        parts = urlsplit(uri)
        _ = parts.port  # raises where it is no number
    except ValueError as error:
        raise RecipeError(
            f"tracking.uri is no address ({error}): write http://HOST:PORT or sqlite:///FILE"
        ) from None
    return parts


def _scheme(parts: SplitResult) -> str:
    """The scheme; of ``mysql+pymysql://`` the database's. A bare word is one, too
    (``databricks``)."""
    return (parts.scheme or parts.path).partition("+")[0]


def _file(uri: str) -> str:
    """The file of a database: SQLAlchemy takes it as it is written, up to a question mark."""
    return uri.partition(":///")[2].partition("?")[0]


def _refuse(uri: str, why: str) -> NoReturn:
    shown = re.sub(r"//[^/@]*@", "//", uri.partition("?")[0])  # no password
    raise RecipeError(f"tracking.uri={shown[:200]} {why}, or use tracking.mlflow=false")
