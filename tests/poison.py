"""Checkpoints that run something where a pickle of theirs is loaded:
they make the file ``mark``."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, Metadata

from red_mcore.checkpoints import manifests

KEY = "embedding.word_embeddings.weight"


class Runs:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def the_list(weights: Path, mark: Path) -> None:
    (weights / ".metadata").write_bytes(pickle.dumps(Runs(mark)))


def a_part_of_the_list(weights: Path, mark: Path) -> None:
    _change(weights, lambda found: setattr(found, "planner_data", Runs(mark)))


def a_tensor(weights: Path, mark: Path) -> None:
    _change(weights, lambda found: _store(weights, found, mark))


def a_tensor_that_is_called_an_object(weights: Path, mark: Path) -> None:
    """Which torch loads with pickle, whatever was asked for."""

    def change(found: Metadata) -> None:
        _store(weights, found, mark)
        called = BytesStorageMetadata()
        called.size = found.state_dict_metadata[KEY].size  # which Megatron looks at first
        found.state_dict_metadata[KEY] = called

    _change(weights, change)


def a_tensor_elsewhere(weights: Path, mark: Path) -> None:
    def change(found: Metadata) -> None:
        for index in (index for index in found.storage_data if index.fqn == KEY):
            found.storage_data[index].relative_path = "../../other"

    _change(weights, change)


def what_is_common(weights: Path, mark: Path) -> None:
    torch.save({"a": Runs(mark)}, weights / "common.pt")


POISONS = {
    the_list: r"weights/\.metadata: it asks for .*, which is not run",
    a_part_of_the_list: r"weights/\.metadata: it asks for .*, which is not run",
    a_tensor: rf"weights/__0_0\.distcp: {KEY} is no tensor, and nothing else is read",
    a_tensor_that_is_called_an_object: rf"{KEY}",
    a_tensor_elsewhere: r"weights/\.metadata: '\.\./\.\./other' is no file in the folder",
    what_is_common: r"weights/common\.pt holds more than tensors and plain values, which is not"
    r" read",
}
"""Poison -> what is said of it."""


def seal(folder: Path) -> None:
    """Make the manifest of ``folder`` one of what is there now:
    whoever changes the files can do that, too."""
    files = [
        file
        for file in folder.rglob("*")
        if file.is_file() and file.name not in (manifests.NAME, "conversion.json")
    ]
    manifests.write(folder, {**manifests.read(folder), "files": manifests.digests(folder, files)})


def _change(weights: Path, change) -> None:
    file = weights / ".metadata"
    found = pickle.loads(file.read_bytes())
    change(found)
    file.write_bytes(pickle.dumps(found))


def _store(weights: Path, found: Metadata, mark: Path) -> None:
    with (weights / "__0_0.distcp").open("ab") as output:
        begin = output.tell()
        torch.save(Runs(mark), output)
        length = output.tell() - begin
    for index in (index for index in found.storage_data if index.fqn == KEY):
        about = found.storage_data[index]
        about.relative_path, about.offset, about.length = "__0_0.distcp", begin, length
