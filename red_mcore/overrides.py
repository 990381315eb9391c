"""Recipes from files, adjusted by ``a.b=c`` overrides, and as text; without torch, which a login node need not have."""

from __future__ import annotations

import difflib
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from red_mcore.recipe import Recipe, RecipeError

T = TypeVar("T")


def load(file: str, overrides: Sequence[str] = ()) -> Recipe:
    """Recipe of ``file`` with ``a.b=c`` overrides applied.

    Raises RecipeError for a missing or broken file, an unknown field (naming the nearest) or a value of the wrong type.
    """
    path = Path(file)
    if not path.is_file():
        raise RecipeError(f"recipe file {file} does not exist")
    spec = importlib.util.spec_from_file_location(f"recipe_{path.stem}", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up by name
    # A recipe may build on another, `from recipes.x import ...`, wherever the command is run.
    root = next((p.parent for p in path.resolve().parents if p.name == "recipes"), path.resolve().parent)
    sys.path.insert(0, str(root))
    try:
        spec.loader.exec_module(module)
        built = module.recipe()
    except RecipeError:
        raise
    except Exception as error:  # whatever a user's Python may raise
        raise RecipeError(f"recipe file {file}{_line(error, path)}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
    if not isinstance(built, Recipe):
        raise RecipeError(f"recipe file {file}: recipe() returned {type(built).__name__}, want Recipe")
    try:
        return override(built, overrides)
    except OmegaConfBaseException as error:
        raise RecipeError(f"recipe file {file}: {error.full_key}: {str(error).splitlines()[0]}") from None


def override(recipe: T, overrides: Sequence[str]) -> T:
    """A copy of ``recipe``, or another dataclass, with each ``a.b=c`` applied.

    Values are read as YAML and checked against the field's type.

    A mapping changes the fields that it names, and turns on a section that is off: ``reward.overlong={}``.
    """
    config = OmegaConf.structured(recipe)
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise RecipeError(f"override '{text}' has no '='; write a.b=c")
        is_text = _check_key(config, key)
        try:
            # model.config={} empties the mapping; a section's {} keeps what it does not name.
            now = OmegaConf.select(config, key)
            is_open = isinstance(now, DictConfig) and OmegaConf.get_type(now) is dict
            OmegaConf.update(config, key, _yaml(value, is_text), merge=not is_open)
        except (OmegaConfBaseException, YAMLError) as error:
            raise RecipeError(f"override {key}={value}: {str(error).splitlines()[0]}") from None
    return OmegaConf.to_object(config)


def to_yaml(recipe: Recipe) -> str:
    """The resolved recipe; the algorithm's class, which is no field, stands above it as a comment."""
    return f"# algorithm: {type(recipe.algorithm).__name__}\n{OmegaConf.to_yaml(OmegaConf.structured(recipe))}"


def flatten(recipe: object) -> dict[str, Any]:
    """``{"a.b": value}`` of every leaf, as a tracker wants its parameters."""
    out: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(f"{prefix}.{key}" if prefix else str(key), item)
        else:
            out[prefix] = value

    walk("", OmegaConf.to_container(OmegaConf.structured(recipe)))
    return out


def is_within(field: str, names: Sequence[str]) -> bool:
    """Whether ``field`` is one of ``names``, or stands in a section of such a name."""
    return any(field == name or field.startswith(f"{name}.") for name in names)


def _line(error: Exception, path: Path) -> str:
    """`` line N`` of the recipe file, where the error passed through it."""
    if isinstance(error, SyntaxError):
        return f" line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f" line {lines[-1]}" if lines else ""


def _yaml(value: str, is_text: bool) -> Any:
    # A sentence with a colon is a mapping to YAML, 007 a number, *so* an error: a text field takes them as typed.
    try:
        found = OmegaConf.to_container(OmegaConf.from_dotlist([f"v={value}"]))["v"]
    except YAMLError:
        if is_text:
            return value
        raise
    return value if is_text and not isinstance(found, str | None) else found


def _check_key(config: DictConfig, key: str) -> bool:
    """Whether the field is text; RecipeError where there is no such field."""
    node, seen, is_text = config, [], False
    for part in key.split("."):
        if node is None:
            off = ".".join(seen)
            raise RecipeError(f"override {key}: '{off}' is off (None) in this recipe; turn it on with '{off}={{}}'")
        if not isinstance(node, DictConfig):
            raise RecipeError(f"override {key}: '{'.'.join(seen)}' is a value and has no field '{part}'")
        kind = OmegaConf.get_type(node)
        if kind is not None and kind is not dict:
            names = [f.name for f in fields(kind)]
            if part not in names:
                near = difflib.get_close_matches(part, names, n=1, cutoff=0.0)
                where = f"'{'.'.join(seen)}'" if seen else f"the {kind.__name__.lower()}"
                raise RecipeError(f"override {key}: {where} has no field '{part}'; nearest is '{near[0]}'")
            is_text = get_type_hints(kind)[part] in (str, str | None)
        elif part not in node:
            return False  # an open mapping (model.config) takes any key
        node = node._get_node(part)
        node = None if node is None or node._is_none() else (node if isinstance(node, DictConfig) else node._value())
        seen.append(part)
    return is_text
