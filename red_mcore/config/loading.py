"""Recipes from files, Python or YAML, adjusted by ``a.b=c`` overrides; without torch, which a login
node need not have.

What ``tree.to_yaml`` writes into a run folder is such a file: it describes the run whole, but for
secrets.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import MISSING, fields
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MappingNode, MarkedYAMLError, Node, SafeLoader, YAMLError, compose

from red_mcore.config import modules
from red_mcore.config.errors import RecipeError
from red_mcore.config.overrides import Refused, entries, override, reason, set_field
from red_mcore.config.recipe import Algorithm, Model, Recipe
from red_mcore.config.redaction import is_left_out
from red_mcore.config.tree import CLASS, change_texts, hide, leaves, plain, show

YAML = (".yaml", ".yml")
_IMPORT_PATH = re.compile(r"[A-Za-z_][\w./-]*:[A-Za-z_][\w.]*")


def load(file: str, overrides: Sequence[str] = ()) -> Recipe:
    """Recipe of ``file`` with ``a.b=c`` overrides applied.

    A Python file has a function ``recipe() -> Recipe``, a YAML file the fields themselves,
    ``algorithm`` as an import path or a mapping with ``class``. Raises RecipeError for a missing or
    broken file, an unknown field (naming the nearest), a value of the wrong type, or a secret that
    ``recipe.yaml`` does not have.
    """
    path = Path(file)
    if not path.is_file():
        raise RecipeError(f"recipe file {file} does not exist")
    # Where classes are looked for has to be known before one is.
    early = [text for text in overrides if text.startswith("imports=")]
    modules.reach(override(_nothing(), early).imports)
    built = _of_yaml(path) if path.suffix in YAML else _of_python(path)
    try:
        built = change_texts(
            OmegaConf.to_object(OmegaConf.structured(change_texts(built, hide))), show
        )
    except OmegaConfBaseException as error:
        raise RecipeError(f"recipe file {file}: {error.full_key}: {reason(error)}") from None
    modules.reach(built.imports)
    made = override(built, overrides)
    for field, value in leaves(plain(made)).items():
        if is_left_out(str(value)):
            raise RecipeError(
                f"recipe file {file}: {field}={value} was written without its secret:"
                f" add {field}=..."
            )
    made.imports = [*made.imports, *_folders_that_it_needs(made, path)]
    return made


def _nothing() -> Recipe:
    return Recipe(name="", model=Model(), algorithm=Algorithm())


def _of_python(path: Path) -> Recipe:
    module = modules.run_file(path)
    try:
        built = module.recipe()
    except RecipeError:
        raise
    except Exception as error:  # whatever a user's Python may raise
        raise RecipeError(f"recipe file {path}{modules.told(error, path)}") from error
    if not isinstance(built, Recipe):
        raise RecipeError(
            f"recipe file {path}: recipe() returned {type(built).__name__}, want Recipe"
        )
    return built


def _of_yaml(path: Path) -> Recipe:
    modules.reach(modules.folders_of(path))
    built = _nothing()
    try:
        parts = _top(path)
        if "imports" in parts:  # where classes are looked for
            set_field(built, ["imports"], parts.pop("imports"))
            modules.reach(built.imports)
        for name, node in parts.items():
            set_field(built, [name], node)
    except Refused as error:
        raise RecipeError(f"recipe file {path}: {error}") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f" line {mark.line + 1}"
        said = getattr(error, "problem", None) or reason(error)
        raise RecipeError(f"recipe file {path}{line}: {said}") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"recipe file {path} is not UTF-8: {error}") from None
    return built


def _top(path: Path) -> dict[str, Node]:
    """The fields of the file. YAMLError where it has none, or lacks one that has no default."""
    node = compose(path.read_text(encoding="utf-8"), SafeLoader)
    if not isinstance(node, MappingNode):
        raise MarkedYAMLError(problem="want the fields of a recipe, as name: my_run")
    parts = dict(entries(node))
    for field in fields(Recipe):
        has_default = field.default is not MISSING or field.default_factory is not MISSING
        if not has_default and field.name not in parts:
            raise MarkedYAMLError(problem=f"it has no {field.name}")
    algorithm = parts["algorithm"]
    if isinstance(algorithm, MappingNode) and CLASS not in dict(entries(algorithm)):
        raise MarkedYAMLError(problem="algorithm has no class: write class: package.module:Class")
    return parts


def _folders_that_it_needs(recipe: Recipe, path: Path) -> list[str]:
    """The folders of the recipe file in which its import paths are found, as paths from here where
    they are below."""
    found = []
    here, known = Path.cwd(), {Path(folder).resolve() for folder in recipe.imports}
    for folder in modules.folders_of(path):
        is_known = folder == here or folder in known
        if is_known or not any(_is_in(folder, name) for name in _import_paths(recipe)):
            continue
        found.append(os.path.relpath(folder) if folder.is_relative_to(here) else str(folder))
    return found


def _is_in(folder: Path, path: str) -> bool:
    module = path.partition(":")[0]
    if module.endswith(".py"):
        return (folder / module).is_file()
    top = module.partition(".")[0]
    return (folder / f"{top}.py").is_file() or (folder / top).is_dir()


def _import_paths(recipe: Recipe) -> list[str]:
    """All texts of the recipe that may be the import path of a user's class or function."""
    found: list[str] = []

    def look(text: str) -> str:
        if _IMPORT_PATH.fullmatch(text) and not text.startswith("red_mcore."):
            found.append(text)
        return text

    change_texts(plain(recipe), look)
    return found
