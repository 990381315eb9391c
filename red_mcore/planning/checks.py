"""Whether a recipe can work: everything that numbers and files tell, before anything expensive is
imported."""

from __future__ import annotations

import tempfile
from pathlib import Path

from red_mcore.checkpoints import manifests
from red_mcore.config.bounds import check_numbers
from red_mcore.config.recipe import Recipe, RecipeError
from red_mcore.convert import hub
from red_mcore.data import arithmetic, problems, sources, template
from red_mcore.data.formats import Columns
from red_mcore.data.tokenizer import VOCABULARY_SIZE
from red_mcore.evaluation import benchmarks, protocols
from red_mcore.models.architecture import Architecture
from red_mcore.models.headers import HFHeaders
from red_mcore.models.layers import check_layers
from red_mcore.models.rules import hf_shapes, tied_names
from red_mcore.planning import memory, numbers, teachers
from red_mcore.planning.plan import find_architecture
from red_mcore.rewards import functions
from red_mcore.samples.records import Problem
from red_mcore.tracking import addresses, monitor


def validate(recipe: Recipe, here: bool = False) -> None:
    """Raises RecipeError, one line with the field, the numbers and the fix, for what cannot work.

    ``here``: the run is about to start on this machine; else it may be meant for a larger one
    (``memory.check``).
    """
    try:
        _validate(recipe, here)
    except OSError as error:
        # What a place is like that a field names: no permission, a broken link, a full disk.
        raise RecipeError(f"{error.filename}: {error.strerror}") from None


def _validate(recipe: Recipe, here: bool) -> None:
    # From what costs nothing to what reads files and calls users' code: each may rely on what the
    # ones before it have let pass.
    check_numbers(recipe)
    if recipe.base is None and recipe.steps == 0:
        raise RecipeError("steps=0 without a base stage does nothing: use 1 or more")
    numbers.check_until(recipe)
    if recipe.base is not None and recipe.model.path is not None:
        raise RecipeError(
            f"base trains a fresh model, but model.path={recipe.model.path} is a trained one:"
            " use base=null or model.path=null"
        )
    if recipe.model.path is not None:
        manifests.check_converted(Path(recipe.model.path), checksums=False)
    architecture = find_architecture(recipe)
    check_model(recipe, architecture)
    _check_weights(recipe, architecture)
    numbers.check(recipe)
    _check_recording(recipe)
    problems.check_data(recipe.data)
    if not sources.training(recipe.data):
        count = recipe.data.problems or problems.ARITHMETIC_PROBLEMS
        arithmetic.check_count(recipe.data.arithmetic, recipe.data.held_out + count)
    _check_benchmarks(recipe, architecture)
    _check_functions(recipe)
    recipe.algorithm.check(recipe)
    teachers.check(recipe, architecture)
    template.check_recipe(recipe, recipe.model)
    addresses.check(recipe.tracking)
    monitor.check(recipe.tracking.monitors)
    if architecture is not None:
        memory.check(recipe, architecture, here)
    if recipe.hub is not None:
        hub.check(recipe.hub.name)
    _check_writable(recipe.folder, f"run folder {recipe.folder}", "runs=")


def check_model(recipe: Recipe, architecture: Architecture | None) -> None:
    """What the model's shape forbids; of a hub model it is known (not None) once it is fetched.
    RecipeError."""
    check_layers(recipe.model, architecture, recipe.parallel.tensor)
    if architecture is not None:
        numbers.check_shape(recipe, architecture)


def _check_weights(recipe: Recipe, architecture: Architecture | None) -> None:
    """RecipeError for what is wrong with index, shards or headers of a folder's safetensors, or for
    a fresh model's vocabulary that does not hold the built-in tokenizer's tokens."""
    if architecture is None:
        return
    if recipe.model.path is None:
        if architecture.vocab_size < VOCABULARY_SIZE:
            raise RecipeError(
                f"model.config.vocab_size={architecture.vocab_size} does not hold the"
                f" {VOCABULARY_SIZE} tokens of the built-in tokenizer:"
                f" use {VOCABULARY_SIZE} or more"
            )
        return
    folder = Path(recipe.model.path)
    if not folder.is_dir() or (folder / "weights").is_dir():  # which tools/convert.py made
        return
    try:
        HFHeaders(folder).check(hf_shapes(architecture), tied_names(architecture))
    except RecipeError as error:
        raise RecipeError(f"model.path: {error}") from None


def _check_functions(recipe: Recipe) -> None:
    """Imports and calls the user's functions, in a child, on problems of the data as far as those
    are here."""
    asked = recipe.evaluation.benchmarks

    def read(columns: Columns) -> dict[str, list[Problem]]:
        found = {"the data": problems.first(recipe.data, functions.TRIED, columns)}
        if asked is not None and asked.data is not None:
            for name in asked.names:
                found[name] = benchmarks.load(
                    name, asked.data, asked.protocol.seed, functions.TRIED, columns
                )
        return found

    functions.try_out(recipe.reward, read)


def _check_benchmarks(recipe: Recipe, architecture: Architecture | None) -> None:
    settings = recipe.evaluation.benchmarks
    if settings is None:
        return
    try:
        benchmarks.check(settings.names, settings.data)
    except RecipeError as error:
        raise RecipeError(f"evaluation.benchmarks: {error}") from None
    protocols.check(settings.protocol, settings.names, "evaluation.benchmarks.protocol")
    most = settings.protocol.max_tokens
    if architecture is not None and most >= architecture.max_positions:
        raise RecipeError(
            f"evaluation.benchmarks.protocol.max_tokens={most} leaves no room for a prompt in"
            f" max_position_embeddings={architecture.max_positions}: use less"
        )


def _check_recording(recipe: Recipe) -> None:
    record, replay = recipe.rollout.record, recipe.rollout.replay
    if record and replay:
        raise RecipeError(
            f"rollout.record={record} and rollout.replay={replay} exclude each other:"
            " use one of them"
        )
    if record:
        _check_writable(Path(record), f"rollout.record={record}", "rollout.record=")
    if replay and not Path(replay).is_dir():
        raise RecipeError(
            f"rollout.replay={replay} is no folder: name one that rollout.record made, or use null"
        )


def _check_writable(folder: Path, name: str, field: str) -> None:
    place = folder.absolute()
    try:
        while not place.exists():
            place = place.parent
        with tempfile.TemporaryDirectory(dir=place):
            pass
    except OSError as error:
        # Permission bits say nothing to root or on a read-only disk: only trying tells.
        raise RecipeError(
            f"{name} cannot be made: {place}: {error.strerror}; set {field} to a writable folder"
        ) from None
