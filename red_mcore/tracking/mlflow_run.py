"""The adapter to MLflow; the only module that imports it."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from red_mcore.config.recipe import RecipeError, Tracking
from red_mcore.system import disk
from red_mcore.tracking import database, datasets
from red_mcore.tracking.monitor import Row, Status
from red_mcore.tracking.outlet import reason

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_PARENT = "mlflow.parentRunId"
"""MLflow's tag of a nested run."""
_NESTS = "red_mcore.nests"
"""Tag of a run that others are nested under, with its name."""
_KIND = "mlflow.experimentKind"
"""MLflow's tag of what an experiment's page shows first."""
_MOST_PARAMETERS, _MOST_METRICS = 100, 1000
"""The most that MLflow takes in one call."""


class _Run:
    """A run in MLflow that goes on."""

    def __init__(self, client: MlflowClient, uri: str, run_id: str) -> None:
        self._client, self.run_id = client, run_id
        client.update_run(run_id, status="RUNNING")
        self._artifacts = database.artifacts(uri, client.get_run(run_id).info.artifact_uri)

    def close(self, status: Status) -> None:
        self._client.set_terminated(self.run_id, status)


class MlflowRun(_Run):
    """One run in MLflow: made anew, or taken up again by its id."""

    def __init__(
        self,
        tracking: Tracking,
        name: str,
        parameters: dict[str, Any],
        folder: Path,
        shared: Path,
        run_id: str | None = None,
    ) -> None:
        """``shared``: the folder whose database has it where there is no ``tracking.uri``; but one
        in ``folder``, of an earlier version, goes first.

        RecipeError where the server or the database cannot be used, or a server does not know
        ``run_id``. A database that does not know ``run_id``, since it or the run was moved or
        removed, gets a new run (``is_new``).
        """
        uri = tracking.uri or database.of_folder(folder, shared)
        with _opened(uri) as client:
            if run_id and database.file_of(uri) is not None and not _knows(client, run_id):
                run_id = None
            self.is_new = run_id is None
            run_id = run_id or _create(client, tracking, name, parameters, uri)
            super().__init__(client, uri, run_id)

    def begin(self, steps: Mapping[str, int], earlier: Mapping[str, Sequence[Row]]) -> None:
        """A new run gets the earlier rows: that which had them is not to be found any more."""
        if self.is_new:
            for rows in earlier.values():
                self.history(rows)

    def metrics(self, step: int, values: Mapping[str, float], stage: str = "main") -> None:
        self.history([{"step": step, **values}])

    def history(self, rows: Iterable[Row]) -> None:
        """The metrics of many steps; each row has its ``step``."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        found = []
        for row in rows:
            for name, value in row.items():
                if name != "step" and value is not None:  # None stands for NaN in a file
                    found.append(Metric(name, value, now, row["step"]))
        for batch in _batches(found, _MOST_METRICS):
            self._client.log_batch(self.run_id, metrics=batch)

    def table(self, name: str, rows: Sequence[Row], step: int | None = None) -> None:
        """Keep a table in the layout of MLflow's own among the artifacts, without a ``step`` as
        ``NAME.json``.

        It is overwritten, not extended, where a resumed run repeats a step.
        """
        file = f"{name}.json"
        if step is not None:
            file = f"rollouts/{name}-{step:06d}.json"
        columns = list(dict.fromkeys(chain.from_iterable(rows)))
        data = [list(map(row.get, columns)) for row in rows]
        text = json.dumps({"columns": columns, "data": data})
        if self._artifacts is None:
            self._client.log_text(self.run_id, text, file)
        else:
            disk.write_atomic(self._artifacts / file, text)

    def summary(self, values: Mapping[str, Any]) -> None:
        """The summary's numbers, as ``summary/...``."""
        numbers = {f"summary/{k}": float(v) for k, v in values.items() if type(v) in (int, float)}
        self.metrics(0, numbers)


class MlflowParent(_Run):
    """The run ``name`` under which others are nested (``tracking.parent``): made anew, or found
    again by that name."""

    def __init__(self, uri: str, experiment: str, name: str) -> None:
        """RecipeError where MLflow at ``uri`` fails."""
        with _opened(uri) as client:
            experiment_id = _experiment(client, experiment, uri)
            # Told apart here and not by the filter: a name may hold any quotes.
            for run in client.search_runs([experiment_id], f"tags.`{_NESTS}` LIKE '%'"):
                if run.data.tags[_NESTS] == name:
                    break
            else:
                run = client.create_run(experiment_id, tags={_NESTS: name}, run_name=name)
            super().__init__(client, uri, run.info.run_id)

    def artifact(self, file: Path) -> None:
        """Keep a copy of ``file`` in the run, over an earlier one."""
        if self._artifacts is None:
            self._client.log_artifact(self.run_id, str(file))
        else:
            disk.write_atomic(self._artifacts / file.name, file.read_bytes())


def _knows(client: MlflowClient, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False


def _create(
    client: MlflowClient, tracking: Tracking, name: str, parameters: dict[str, Any], uri: str
) -> str:
    """Id of a new run that has its parameters."""
    from mlflow.entities import Param

    experiment_id = _experiment(client, tracking.experiment, uri)
    tags = {_PARENT: tracking.parent} if tracking.parent else None
    run_id = client.create_run(experiment_id, tags=tags, run_name=name).info.run_id
    params = [Param(key, str(value)) for key, value in parameters.items()]
    for batch in _batches(params, _MOST_PARAMETERS):
        client.log_batch(run_id, params=batch)
    if inputs := datasets.of_run(parameters):
        client.log_inputs(run_id, inputs)
    return run_id


def _batches(entries: list[Any], most: int) -> Iterator[list[Any]]:
    for first in range(0, len(entries), most):
        yield entries[first : first + most]


def _experiment(client: MlflowClient, name: str, uri: str) -> str:
    """Id of the experiment, made where there is none of that name: of a kind whose page shows runs,
    not traces of language-model calls, and, in a file, with artifacts at addresses relative to
    it."""
    if found := client.get_experiment_by_name(name):
        return found.experiment_id
    # A server has a place of its own.
    artifacts = database.RELATIVE if database.file_of(uri) else None
    return client.create_experiment(name, artifacts, {_KIND: "custom_model_development"})


@contextmanager
def _opened(uri: str) -> Iterator[MlflowClient]:
    """A client; RecipeError for what MLflow raises in the block, and for a database that cannot be
    used."""
    # MLflow reads these only from the environment. A training run reports to nobody; and a server
    # that is gone should hold up a step for seconds, not for the four minutes of seven retries.
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from mlflow.tracking import MlflowClient

    # It announces each table it creates, and prints a traceback for each error, which is told here
    # in a line.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    try:
        with database.alone(uri), database.as_spelt(uri):
            database.check(uri)
            yield MlflowClient(tracking_uri=uri)
    except RecipeError:
        raise
    except Exception as error:  # MLflow's own, the database's, the file system's, the network's
        raise RecipeError(
            f"MLflow at {uri} (tracking.uri) does not work: {reason(error)}; mend it or set"
            " tracking.mlflow=false"
        ) from error
