"""The prepared sets that a run trains on, as MLflow's datasets: their digest, and what their
manifest says of sources, teachers, verdicts and benchmarks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from red_mcore.data.schema import MANIFEST, MANIFEST_FORMAT
from red_mcore.system import disk
from red_mcore.tracking.outlet import warn

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

DIGEST = 36
"""The most characters that MLflow keeps of a digest."""
PROFILE = ("counts", "sources", "teachers", "verdicts", "lengths", "benchmarks")
"""Parts of the manifest that MLflow shows as the dataset's profile; hits and drops stay in it."""


def of_run(parameters: Mapping[str, Any]) -> list[DatasetInput]:
    """The prepared sets among the data of a run, whose flat ``parameters`` are given."""
    found = []
    for path, context in _places(parameters):
        manifest = manifest_of(path)
        if manifest is not None:
            found.append(_input(path, manifest, context))
    return found


def manifest_of(path: Path) -> dict[str, Any] | None:
    """The manifest that lies beside a prepared set; None for any other file.

    A file that has changed since is warned of, and has none.
    """
    try:
        manifest = disk.read_object(path.parent / MANIFEST)
    except disk.Damaged:  # some other program's
        return None
    if manifest is None or manifest.get("format") != MANIFEST_FORMAT:
        return None
    about = manifest["set"]
    if about["file"] != path.name or not path.is_file():
        return None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != about["sha256"]:
        warn(f"{path} has changed since {MANIFEST} beside it was written: MLflow is not told of it")
        return None
    return manifest


def _places(parameters: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """(path, what it is used for) of the run's sources, also those that are no files."""
    mixture = parameters.get("data.mixture") or []
    named = [parameters.get("data.path"), *(part.get("path") for part in mixture)]
    for path in named:
        if path:
            yield Path(path), "training"
    if held_out := parameters.get("data.held_out_path"):
        yield Path(held_out), "held-out"


def _input(path: Path, manifest: Mapping[str, Any], context: str) -> DatasetInput:
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    profile = {name: manifest[name] for name in PROFILE}
    for one in profile["benchmarks"].values():
        one["overlap"].pop("hits", None)
    whole = path.resolve()
    dataset = Dataset(
        name=whole.parent.name,
        digest=manifest["set"]["sha256"][:DIGEST],
        source_type="local",
        source=json.dumps({"uri": str(whole)}),
        profile=json.dumps(profile),
    )
    return DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, context)])
