"""The adapter to MLflow; the only module that imports it."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import Any, Literal

from red_mcore.recipe import Recipe, RecipeError, flatten

Status = Literal["FINISHED", "FAILED", "KILLED"]


class MlflowRun:
    """One run in MLflow: made anew, or taken up again by its id."""

    def __init__(self, recipe: Recipe, folder: Path, run_id: str | None) -> None:
        """RecipeError where the server or the database cannot be used, or does not know ``run_id``."""
        # MLflow reads these only from the environment. A training run reports to nobody; and a server that is gone
        # should hold up a step for seconds, not for the four minutes of seven retries.
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it announces each table it creates

        folder = folder.absolute()
        uri = recipe.tracking.uri or f"sqlite:///{folder}/mlflow.db"
        artifacts = None if recipe.tracking.uri else (folder / "artifacts").as_uri()  # a server has a place of its own
        try:
            self._client = MlflowClient(tracking_uri=uri)
            self.run_id = run_id or self._create(recipe, artifacts)
            self._client.update_run(self.run_id, status="RUNNING")
        except (MlflowException, OSError) as error:
            raise RecipeError(
                f"MLflow at {uri} (tracking.uri) does not work: {str(error).splitlines()[0]};"
                " mend it or set tracking.mlflow=false"
            ) from error

    def _create(self, recipe: Recipe, artifacts: str | None) -> str:
        from mlflow.entities import Param

        name = recipe.tracking.experiment
        experiment = self._client.get_experiment_by_name(name)
        experiment_id = experiment.experiment_id if experiment else self._client.create_experiment(name, artifacts)
        run_id = self._client.create_run(experiment_id, run_name=recipe.name).info.run_id
        params = [Param(key, str(value)) for key, value in flatten(recipe).items()]
        for first in range(0, len(params), 100):  # a batch takes 100
            self._client.log_batch(run_id, params=params[first : first + 100])
        return run_id

    def metrics(self, step: int, values: dict[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self.run_id, metrics=[Metric(name, v, now, step) for name, v in values.items()])

    def table(self, file: str, rows: list[dict[str, Any]]) -> None:
        """A table in the layout of MLflow's own, but overwritten, not extended, where a resumed run repeats a step."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        data = [[row.get(key) for key in columns] for row in rows]
        self._client.log_text(self.run_id, json.dumps({"columns": columns, "data": data}), file)

    def end(self, status: Status) -> None:
        self._client.set_terminated(self.run_id, status)
