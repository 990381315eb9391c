"""The manifest of a checkpoint: written last, with size and checksum of every other file. No torch.

``checkpoints/`` has a folder ``STAGE-STEP`` for each checkpoint. One is whole if its manifest can
be read and all files that the manifest lists are there as they were written. The newest whole one
counts; the file ``latest``, with the tag that was saved last, is for people and scripts, as is
``best``, with that of the best validation loss.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from red_mcore.config.recipe import Checkpoint, RecipeError
from red_mcore.system import disk

NAME = "manifest.json"
_STAGES = ("base", "main")
_TAG = re.compile(rf"({'|'.join(_STAGES)})-\d+")
_SMALL = 1 << 20
"""Bytes of a file whose content is always compared."""


class Broken(Exception):
    """A checkpoint that is not whole; the message names the file."""


def tags(folder: Path) -> list[str]:
    """Names of the checkpoints under ``folder``, whole or not, oldest first."""
    names = (path.name for path in folder.glob("*/"))
    return sorted(filter(_TAG.fullmatch, names), key=age)


def age(tag: str) -> tuple[int, int]:
    """What checkpoints are ordered by: stage and step of ``base-000300`` or ``main-000002``."""
    stage, step = tag.split("-")
    return _STAGES.index(stage), int(step)


def tag_of(stage: str, step: int) -> str:
    """The name of the checkpoint after ``step`` of ``stage``."""
    return f"{stage}-{step:06d}"


def digests(root: Path, files: Iterable[Path]) -> dict[str, list]:
    """``{path under root: [bytes, sha256]}``."""
    return {
        file.relative_to(root).as_posix(): [file.stat().st_size, _sha256(file)] for file in files
    }


def write(folder: Path, manifest: dict[str, Any]) -> None:
    """``manifest``, which has to be JSON-able, with a checksum of its own."""
    manifest = json.loads(json.dumps(manifest))
    disk.write_atomic(folder / NAME, json.dumps({**manifest, "sha256": _seal(manifest)}, indent=1))


def read(folder: Path) -> dict[str, Any]:
    """The manifest in ``folder``; Broken where there is none that is as it was written."""
    file = folder / NAME
    try:
        manifest = json.loads(file.read_text())
    except FileNotFoundError:
        raise Broken(f"{file} is missing") from None
    except (OSError, ValueError) as error:
        raise Broken(f"{file} cannot be read ({error})") from None
    if isinstance(manifest, dict) and "sha256" not in manifest:
        raise Broken(f"{file} has no checksum, as an older version wrote it")
    if not isinstance(manifest, dict) or manifest.get("sha256") != _seal(manifest):
        raise Broken(f"{file} does not match its checksum")
    files = manifest.get("files")
    if not isinstance(files, dict):
        raise Broken(f"{file} lists no files")
    for about in files.values():
        if not isinstance(about, list) or len(about) != 2:
            raise Broken(f"{file} lists no files")
    return manifest


def check(folder: Path, manifest: dict[str, Any], checksums: bool) -> None:
    """Broken where a file that the manifest lists is missing, of another size, or of other content:
    looked at where the file is small, and of all files if asked for."""
    sums: dict[Path, str] = {}
    for name, (size, checksum) in manifest["files"].items():
        file = folder / name
        if not file.is_file():
            raise Broken(f"{file} is missing")
        if (now := file.stat().st_size) != size:
            raise Broken(f"{file} has {now} bytes, {size} were written")
        if checksums or size <= _SMALL:
            sums[file] = checksum
    with ThreadPoolExecutor() as pool:  # reading and hashing leave the interpreter to other threads
        list(pool.map(_check_sum, sums.items()))  # the first error is raised here


def check_converted(folder: Path, checksums: bool) -> None:
    """RecipeError where ``folder`` holds a checkpoint of its own that is not whole; any other
    folder passes.

    Weights of Megatron's without a manifest are refused: nothing tells whether they are as they
    were written.
    """
    if not (folder / NAME).is_file() and not (folder / "weights" / ".metadata").is_file():
        return
    try:
        check(folder, read(folder), checksums)
    except Broken as error:
        raise RecipeError(f"{error}: take another checkpoint, or convert anew") from None


def newest(folder: Path, checksums: bool = False) -> tuple[dict[str, Any] | None, list[str]]:
    """Manifest of the newest whole checkpoint under ``folder``, and what is wrong with newer ones,
    newest first.

    None where nothing was ever saved; RecipeError where something was, and nothing of it is whole.
    """
    faults: list[str] = []
    for tag in reversed(tags(folder)):
        try:
            manifest = read(folder / tag)
            if manifest.get("tag") != tag:
                raise Broken(f"{folder / tag / NAME} is of checkpoint {manifest.get('tag')}")
            check(folder / tag, manifest, checksums)
        except Broken as fault:
            faults.append(str(fault))
        else:
            return manifest, faults
    if not faults and (folder / "latest").is_file():
        faults.append(f"{folder / 'latest'} names one that is gone")
    if faults:
        raise RecipeError(
            f"no checkpoint under {folder} is whole: {faults[0]}:"
            f" put it back, or delete {folder} to start anew"
        )
    return None, []


def copies(folder: Path, manifest: dict[str, Any], names: Iterable[str]) -> dict[str, str]:
    """The texts of ``names``, files of the run, that the checkpoint of ``manifest`` under
    ``folder`` has a copy of.

    Broken where one of them is not as it was written.
    """
    place = folder / manifest["tag"]
    known = {name: manifest["files"][name] for name in names if name in manifest["files"]}
    check(place, {"files": known}, checksums=True)
    return {name: (place / name).read_text(encoding="utf-8") for name in known}


def copy(folder: Path, name: str) -> str | None:
    """``name`` as the newest whole checkpoint under ``folder`` has it; None where none does."""
    with suppress(Broken, RecipeError):
        manifest, _ = newest(folder)
        if manifest is not None:
            return copies(folder, manifest, [name]).get(name)
    return None


_MEASURED_AT = {True: "benchmarked", False: "evaluated"}
"""The field of the state that has the last step of benchmarks, and of all other evaluations."""


def kept(manifests: Sequence[dict[str, Any]], settings: Checkpoint) -> set[str]:
    """Tags of the checkpoints, given oldest first, that are not removed."""
    names = [manifest["tag"] for manifest in manifests]
    stay = set(names[-settings.keep :])
    if settings.keep_every:
        for tag in names:
            stage, step = age(tag)
            if stage and step and step % settings.keep_every == 0:
                stay.add(tag)
    if settings.keep_best:
        scores = _scores(manifests, settings.keep_best)
        if scores:
            best = max if settings.best == "highest" else min
            stay.add(best(scores, key=scores.__getitem__))
    if (tag := best_of(manifests)) in names:
        stay.add(tag)
    return stay


def best_of(manifests: Sequence[dict[str, Any]]) -> str | None:
    """Tag of the checkpoint with the best validation loss, as the newest of ``manifests`` knows it;
    None where none is kept for that."""
    validation = manifests[-1].get("state", {}).get("validation") if manifests else None
    if not validation or validation["kept_step"] is None:
        return None
    return tag_of("main", validation["kept_step"])


def _scores(manifests: Sequence[dict[str, Any]], metric: str) -> dict[str, float]:
    """The metric of each checkpoint that was measured at its own step, by tag."""
    of_benchmark = metric.endswith("_mean") and metric != "evaluation/reward_mean"
    found = {}
    for manifest in manifests:
        state = manifest["state"]
        score = state["after"].get(metric)
        is_its_own = state["step"] == state.get(_MEASURED_AT[of_benchmark])
        if is_its_own and score is not None and math.isfinite(score):  # NaN is best to ``max``
            found[manifest["tag"]] = score
    return found


def _seal(manifest: dict[str, Any]) -> str:
    sealed = {key: value for key, value in manifest.items() if key != "sha256"}
    text = json.dumps(sealed, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_sum(expected: tuple[Path, str]) -> None:
    file, checksum = expected
    try:
        found = _sha256(file)
    except OSError as error:
        raise Broken(f"{file} cannot be read ({error})") from None
    if found != checksum:
        raise Broken(f"{file} does not match its checksum")
