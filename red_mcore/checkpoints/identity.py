"""What belongs to a run beside the fields of its recipe, kept in the run folder and compared at
every later start.

``identity.json`` has fingerprints of the algorithm's classes, users' reward functions, model,
tokenizer and problems, ``identity-problems.jsonl`` a line for each problem, training ones first.
What is not there, as in a folder that an earlier version made, is unknown and not compared. Most is
told before a rank starts; hub data by rank 0.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from red_mcore.checkpoints import fingerprints, manifests
from red_mcore.config.recipe import Model, Recipe, RecipeError
from red_mcore.config.tree import flatten
from red_mcore.data import files, sources
from red_mcore.data.problems import Loaded, read_problems
from red_mcore.rewards import functions
from red_mcore.samples.records import Problem
from red_mcore.system import apart, disk

FILE, PROBLEMS = "identity.json", "identity-problems.jsonl"


def read(folder: Path) -> dict[str, Any]:
    """The identity kept in a run folder, or else in its newest checkpoint; {} where there is none.

    RecipeError where it is damaged, and no checkpoint has it.
    """
    try:
        found, fault = disk.read_object(folder / FILE), None
    except disk.Damaged as error:
        found, fault = None, error
    if found is not None:
        return found
    if (kept := manifests.copy(folder / "checkpoints", FILE)) is not None:
        return json.loads(kept)
    if fault:
        raise RecipeError(
            f"{fault}: put it back, or delete it, and the next start takes data, tokenizer, model"
            " and code as they are"
        )
    return {}


def copy(folder: Path) -> dict[str, str]:
    """The text of the file, by its name, for a checkpoint to keep."""
    file = folder / FILE
    if not file.is_file():
        return {}
    return {FILE: file.read_text(encoding="utf-8")}


def classes_then(folder: Path) -> dict[str, Any]:
    """The algorithm's classes at the last start; of an earlier version only the name at the top of
    its recipe.yaml."""
    if then := read(folder).get("classes"):
        return then
    file, mark = folder / "recipe.yaml", "# algorithm: "
    if not file.is_file():
        return {}
    first = file.read_text(errors="replace").partition("\n")[0]
    if not first.startswith(mark):
        return {}
    return {"algorithm": {"class": first.removeprefix(mark)}}


def check_classes(recipe: Recipe) -> None:
    """RecipeError where the algorithm, or a part of its settings, is of another class than at the
    last start."""
    then, now = classes_then(recipe.folder), fingerprints.of_classes(recipe.algorithm, "algorithm")
    for field, after in now.items():
        if (before := then.get(field)) is None:
            continue
        if before["class"] != after["class"]:
            _refuse(recipe.folder, f"{field} {before['class']}, now it is {after['class']}", field)
        if before.get("code", after["code"]) != after["code"]:
            _refuse(recipe.folder, f"other code of the class {after['class']} ({field})", "code")


def check(recipe: Recipe) -> None:
    """RecipeError for what else can be told to be another thing before a rank starts.

    Data and tokenizer are loaded only where their files are others by size or time; of the hub they
    are not known yet.
    """
    then = read(recipe.folder)
    if not then:
        return
    model, paths = recipe.model, sources.paths(recipe.data)
    is_known = model.path is None or Path(model.path).is_dir()
    found: dict[str, Any] = {"functions": fingerprints.of_functions(recipe.reward.paths)}
    teacher = recipe.algorithm.teacher
    if teacher is not None and teacher.path is not None and Path(teacher.path).is_dir():
        found["teacher"] = fingerprints.of_model(Model(path=teacher.path))
    if is_known:
        found["model"] = fingerprints.of_model(model)
    _compare(recipe, then, found)
    seen = then.get("files", {})
    are_files = bool(paths) and all(
        not files.is_function(path) and files.is_file(path) for path in paths
    )
    if are_files and _files_of(paths) != seen.get("data"):
        loaded = read_problems(recipe.data, recipe.data.seed, functions.columns(recipe.reward))
        rows = fingerprints.of_problems([*loaded.training, *loaded.held_out])
        _compare(recipe, then, {"data": _summary(rows, len(loaded.training))}, rows)
    if not is_known or fingerprints.of_tokenizer_files(model) == seen.get("tokenizer"):
        return
    if tokenizer := _tokenizer_of(model, recipe.data.template_arguments):
        _compare(recipe, then, {"tokenizer": tokenizer})


def claim(
    recipe: Recipe,
    weights: Path,
    loaded: Loaded,
    benchmarks: dict[str, str],
    begun: bool,
    say: Callable[[str], None],
    teacher: Path | None = None,
) -> None:
    """Compare with the earlier starts of a run that has ``begun``, then keep what it is made of;
    for rank 0.

    ``weights``: folder of the first weights; ``benchmarks``: a digest of each; ``teacher``: folder
    of the teacher, if there is one. RecipeError as in ``check``.
    """
    from red_mcore.data.tokenizer import load_tokenizer

    model = recipe.model
    if model.path is not None:  # of the hub it is the folder that was fetched
        model = replace(model, path=str(weights))
    rows = fingerprints.of_problems([*loaded.training, *loaded.held_out])
    now = {
        "classes": fingerprints.of_classes(recipe.algorithm, "algorithm"),
        "functions": fingerprints.of_functions(recipe.reward.paths),
        "model": fingerprints.of_model(model),
        "tokenizer": fingerprints.of_tokenizer(
            load_tokenizer(model, recipe.data.template_arguments)
        ),
        "data": _summary(rows, len(loaded.training)),
        "benchmarks": benchmarks,
    }
    if teacher is not None:
        now["teacher"] = fingerprints.of_model(Model(path=str(teacher)))
    folder = recipe.folder
    then = read(folder) if begun else {}
    try:
        disk.read_object(folder / FILE)
    except disk.Damaged as error:
        say(f"red_mcore: warning: {error}: it is made anew")
    if begun and not then:
        say(
            f"red_mcore: note: {folder} is of a version that kept no fingerprints:"
            " whether data, tokenizer, model or code have changed since it was started is"
            " unknown; from now on they are compared"
        )
    _compare(recipe, then, now, rows)
    now["benchmarks"] = then.get("benchmarks", {}) | benchmarks
    if then.get("data") != now["data"] or not (folder / PROBLEMS).is_file():
        disk.write_atomic(folder / PROBLEMS, "".join(json.dumps(row) + "\n" for row in rows))
    seen = {
        "data": _files_of(sources.paths(recipe.data)),
        "tokenizer": fingerprints.of_tokenizer_files(recipe.model),
    }
    kept = {"recipe": flatten(recipe), **now, "files": seen}
    if "used" in then:
        kept["used"] = then["used"]
    disk.write_atomic(folder / FILE, json.dumps(kept, indent=1) + "\n")


def claim_used(
    recipe: Recipe, problems: Sequence[Problem], held_out: Sequence[Problem], begun: bool
) -> None:
    """As ``claim``, for those of the loaded problems that the run uses.

    A benchmark that is asked from now on, or another grader, may leave out more of them.
    """
    kept = read(recipe.folder)
    now = {
        "training": len(problems),
        "held_out": len(held_out),
        "digest": fingerprints.digest(json.dumps([p.id for p in (*problems, *held_out)])),
    }
    then = kept.get("used", now) if begun else now
    if then != now:
        what = f"{_counts(then)} in use, now it is {_counts(now)} (see intake.json)"
        _refuse(recipe.folder, what, "benchmarks and version of math-verify")
    disk.write_atomic(recipe.folder / FILE, json.dumps(kept | {"used": now}, indent=1) + "\n")


def _counts(used: dict[str, Any]) -> str:
    return f"{used['training']} training and {used['held_out']} held-out problems"


def _files_of(paths: Sequence[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for path in paths:
        found |= fingerprints.of_files(path)
    return found


def _summary(rows: Sequence[list[Any]], training: int) -> dict[str, Any]:
    return {
        "training": training,
        "held_out": len(rows) - training,
        "digest": fingerprints.digest(json.dumps(rows)),
    }


def _compare(
    recipe: Recipe, then: dict[str, Any], now: dict[str, Any], rows: Sequence[list[Any]] = ()
) -> None:
    """RecipeError for the first part that both have and that differs; ``rows``: the problems of
    ``now["data"]``."""
    folder, path = recipe.folder, recipe.model.path
    where = "of a fresh model"
    if path:
        where = f"under model.path={path}"
    now = json.loads(json.dumps(now))  # as ``then`` was
    both = [part for part in now if part in then and then[part] != now[part]]
    if "functions" in both:
        for name, code in now["functions"].items():
            if then["functions"].get(name, code) != code:
                module = name.partition(":")[0]
                field = "reward.verdict"
                if name in recipe.reward.functions:
                    field = "reward.functions"
                _refuse(folder, f"other code in the module {module} of {field} '{name}'", "code")
    if "model" in both:
        _refuse(
            folder, f"another model {where}: {_of_models(then['model'], now['model'])}", "model"
        )
    if "teacher" in both:
        what = _of_models(then["teacher"], now["teacher"])
        _refuse(folder, f"another teacher under algorithm.teacher.path: {what}", "teacher")
    if "tokenizer" in both:
        _refuse(
            folder,
            f"another tokenizer {where}: {_of_tokenizers(then['tokenizer'], now['tokenizer'])}",
            "tokenizer",
        )
    if "data" in both:
        _refuse(folder, f"other data: {_of_data(folder, then['data'], now['data'], rows)}", "data")
    if "benchmarks" in both:
        for name, found in now["benchmarks"].items():
            if then["benchmarks"].get(name, found) != found:
                _refuse(folder, f"other problems of the benchmark {name}", "problems")


def _refuse(folder: Path, what: str, old: str) -> None:
    raise RecipeError(
        f"{folder} was started with {what}: go on with the old {old}, choose another name=..., or"
        " delete the folder"
    )


def _of_models(then: dict[str, Any], now: dict[str, Any]) -> str:
    for key in sorted(then["config"].keys() | now["config"].keys()):
        if then["config"].get(key) != now["config"].get(key):
            return (
                f"config.json had {key}={then['config'].get(key)}, now it is"
                f" {now['config'].get(key)}"
            )
    for file in sorted(then["weights"].keys() | now["weights"].keys()):
        before, after = then["weights"].get(file), now["weights"].get(file)
        if after is None:
            return f"{file} is gone"
        if before is None:
            return f"{file} is new"
        if before[0] != after[0]:
            return f"{file} had {before[0]} bytes, now it has {after[0]}"
        if before != after:
            return f"{file} has other weights ({after[0]} bytes as before)"
    return "it differs"


def _of_tokenizers(then: dict[str, Any], now: dict[str, Any]) -> str:
    if then["tokens"] != now["tokens"]:
        return f"{then['tokens']} tokens then, {now['tokens']} now"
    for name in sorted(then["special"].keys() | now["special"].keys()):
        before, after = then["special"].get(name), now["special"].get(name)
        if before != after:
            return f"{name} {before!r} then, {after!r} now"
    if then["template"] != now["template"]:
        before, after = str(then["template"]), str(now["template"])
        return f"its chat template had {_around(before, after)}, now {_around(after, before)}"
    return f"its {now['tokens']} tokens, merges or rules of splitting are others"


def _of_data(
    folder: Path, then: dict[str, Any], now: dict[str, Any], rows: Sequence[list[Any]]
) -> str:
    told = f"{_counts(then)} then, {now['training']} and {now['held_out']} now"
    try:
        before = disk.read_lines(folder / PROBLEMS, lambda row: isinstance(row, list))
    except disk.Damaged:
        return told
    if fingerprints.digest(json.dumps(before)) != then["digest"]:
        return told  # the lines are not of that identity
    held_out = (before[then["training"] :], rows[now["training"] :])
    for kind, theirs, ours in (
        ("training", before[: then["training"]], rows[: now["training"]]),
        ("held-out", *held_out),
    ):
        for place, (old, new) in enumerate(zip(theirs, ours, strict=False)):
            if old != new:
                return (
                    f"{told}; the first that differs is {kind} problem {place} (id {old[0]}):"
                    f" {_of_rows(old, new)}"
                )
    return told


def _of_rows(old: list[Any], new: list[Any]) -> str:
    """What differs between two rows of ``fingerprints.of_problems``."""
    names = ("id", "kind", "text", "gold", "trace")
    differing = (
        name for name, before, after in zip(names, old, new, strict=False) if before != after
    )
    beside = "cell in a column that a reward function asks for"
    if _traces(old) != _traces(new):
        beside = "set of traces, or other marks on them"
    name = next(differing, beside)
    if name in ("id", "kind"):
        place = names.index(name)
        return f"its {name} was {old[place]}, now it is {new[place]}"
    if old[5] != new[5]:
        return f"{old[5]!r} then, {new[5]!r} now"
    if name == "text":
        name += " further on"
    return f"{old[5]!r} has another {name}"


def _traces(row: list[Any]) -> list[Any]:
    return [cell for cell in row if isinstance(cell, list)]


def _around(text: str, other: str) -> str:
    """A part of ``text`` from a little before where it differs from ``other``."""
    same = len(os.path.commonprefix([text, other]))  # noqa: RUF071  # they are no paths
    return repr(text[max(0, same - 20) : same + fingerprints.SHOWN - 20])


def _tokenizer_of(model: Model, arguments: dict[str, Any]) -> dict[str, Any] | None:
    """Fingerprint of the tokenizer; None where only a rank can tell."""
    settings = json.dumps([asdict(model), arguments])
    try:
        return apart.ask("red_mcore.checkpoints.identity", settings)
    except apart.Unanswered:
        return None


def _fingerprint(settings: str) -> dict[str, Any]:
    apart.without_torch()
    from red_mcore.data.tokenizer import load_tokenizer

    model, arguments = json.loads(settings)
    return fingerprints.of_tokenizer(load_tokenizer(Model(**model), arguments))


if __name__ == "__main__":
    sys.exit(apart.answer(_fingerprint))
