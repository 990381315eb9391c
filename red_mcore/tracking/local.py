"""MLflow without a server: a SQLite database that all runs of a folder share, and its artifacts beside it.

The database names artifacts by ``mlflow-artifacts:``, relative to where it lies, so that the folder may be moved. Such
addresses are read by MLflow's server, which finds them with ``--artifacts-destination``. Without a server MLflow cannot
write to them: that is done here. All else in the database is MLflow's own doing.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DATABASE, ARTIFACTS = "mlruns.db", "mlartifacts"
OWN = "mlflow.db"
"""What a run had in its own folder, when each had one."""
RELATIVE = "mlflow-artifacts:/"
PATIENCE_SECONDS = 120.0
"""How long another run may take to make the database, or to bring it to a newer version's tables."""
_SQLITE = "sqlite:///"


def address(folder: Path, shared: Path) -> str:
    """Of the database of what is in ``folder``: the one in ``shared``, or its own from an earlier version."""
    own = folder / OWN
    return f"{_SQLITE}{(own if own.exists() else shared / DATABASE).absolute()}"


def database(uri: str) -> Path | None:
    """The file of a tracking address; None where a server has it, or memory."""
    path = uri.removeprefix(_SQLITE)
    return Path(path) if uri.startswith(_SQLITE) and path not in ("", ":memory:") else None


def artifacts(uri: str, artifact_uri: str) -> Path | None:
    """Folder of a run's artifacts, where they are to be written here; None where MLflow knows how."""
    file, path = database(uri), Path(artifact_uri.removeprefix(RELATIVE))
    if file is None or not artifact_uri.startswith(RELATIVE) or path.is_absolute() or ".." in path.parts:
        return None
    return file.parent / ARTIFACTS / path


@contextmanager
def alone(uri: str) -> Iterator[None]:
    """Hold off other processes that open the database: MLflow makes its tables, and experiments, without a lock.

    TimeoutError where another one takes longer than ``PATIENCE_SECONDS``. Nothing to do for a server.
    """
    file = database(uri)
    if file is None:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with (file.parent / f".{file.name}.lock").open("a") as lock:
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise TimeoutError(
                        f"another process has held {lock.name} for {PATIENCE_SECONDS:.0f} s: end it"
                    ) from None
                time.sleep(0.1)
        yield  # closing the file gives the lock back, and so does the end of this process
