"""The adapter to MLflow; the only module that imports it."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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


class MlflowRun:
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
        with _opened(uri) as self._client:
            self.is_new = run_id is None or (
                database.file_of(uri) is not None and not self._knows(run_id)
            )
            self.run_id = self._create(tracking, name, parameters, uri) if self.is_new else run_id
            self._client.update_run(self.run_id, status="RUNNING")
            self._artifacts = database.artifacts(
                uri, self._client.get_run(self.run_id).info.artifact_uri
            )

    def _knows(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_run(run_id).info.lifecycle_stage == "active"
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False

    def _create(self, tracking: Tracking, name: str, parameters: dict[str, Any], uri: str) -> str:
        from mlflow.entities import Param

        experiment_id = _experiment(self._client, tracking.experiment, uri)
        tags = {_PARENT: tracking.parent} if tracking.parent else None
        run_id = self._client.create_run(experiment_id, tags=tags, run_name=name).info.run_id
        params = [Param(key, str(value)) for key, value in parameters.items()]
        for first in range(0, len(params), 100):  # a batch takes 100
            self._client.log_batch(run_id, params=params[first : first + 100])
        if inputs := datasets.of_run(parameters):
            self._client.log_inputs(run_id, inputs)
        return run_id

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
        found = [
            Metric(name, value, now, row["step"])
            for row in rows
            for name, value in row.items()
            if name != "step" and value is not None
        ]
        for first in range(0, len(found), 1000):  # a batch takes 1000
            self._client.log_batch(self.run_id, metrics=found[first : first + 1000])

    def table(self, name: str, rows: Sequence[Row], step: int | None = None) -> None:
        """Keep a table in the layout of MLflow's own among the artifacts, without a ``step`` as
        ``NAME.json``.

        It is overwritten, not extended, where a resumed run repeats a step.
        """
        file = f"{name}.json" if step is None else f"rollouts/{name}-{step:06d}.json"
        columns = list(dict.fromkeys(key for row in rows for key in row))
        data = [[row.get(key) for key in columns] for row in rows]
        text = json.dumps({"columns": columns, "data": data})
        if self._artifacts is None:
            self._client.log_text(self.run_id, text, file)
        else:
            disk.write_atomic(self._artifacts / file, text)

    def summary(self, values: Mapping[str, Any]) -> None:
        """The summary's numbers, as ``summary/...``."""
        numbers = {f"summary/{k}": float(v) for k, v in values.items() if type(v) in (int, float)}
        self.metrics(0, numbers)

    def close(self, status: Status) -> None:
        self._client.set_terminated(self.run_id, status)


class MlflowParent:
    """The run ``name`` under which others are nested (``tracking.parent``): made anew, or found
    again by that name."""

    def __init__(self, uri: str, experiment: str, name: str) -> None:
        """RecipeError where MLflow at ``uri`` fails."""
        with _opened(uri) as self._client:
            experiment_id = _experiment(self._client, experiment, uri)
            parents = self._client.search_runs([experiment_id], f"tags.`{_NESTS}` LIKE '%'")
            found = [
                run for run in parents if run.data.tags[_NESTS] == name
            ]  # a name may hold any quotes
            run = (
                found[0]
                if found
                else self._client.create_run(experiment_id, tags={_NESTS: name}, run_name=name)
            )
            self.run_id = run.info.run_id
            self._client.update_run(self.run_id, status="RUNNING")
            self._artifacts = database.artifacts(uri, run.info.artifact_uri)

    def artifact(self, file: Path) -> None:
        """Keep a copy of ``file`` in the run, over an earlier one."""
        if self._artifacts is None:
            self._client.log_artifact(self.run_id, str(file))
        else:
            disk.write_atomic(self._artifacts / file.name, file.read_bytes())

    def end(self, status: Status) -> None:
        self._client.set_terminated(self.run_id, status)


def _experiment(client: MlflowClient, name: str, uri: str) -> str:
    """Id of the experiment, made where there is none of that name: of a kind whose page shows runs,
    not traces of language-model calls, and, in a file, with artifacts at addresses relative to
    it."""
    found = client.get_experiment_by_name(name)
    if found:
        return found.experiment_id
    artifacts = (
        database.RELATIVE if database.file_of(uri) else None
    )  # a server has a place of its own
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
            f"MLflow at {uri} (tracking.uri) does not work: {reason(error)}; mend it or set tracking.mlflow=false"
        ) from error
