"""A recipe as a tree of plain values, and its printed forms: what it says, and of what class its
algorithm is."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf

from red_mcore.config.modules import path_of
from red_mcore.config.redaction import redacted

T = TypeVar("T")

CLASS = "class"
"""Entry of a section that is of another class than its field declares, the import path of that
class. No field of a dataclass can have this name."""
_HIDDEN = {"${": "$\u2060{", "???": "?\u2060??"}
"""What is more than text to OmegaConf, a reference and a missing value, and how it gets past it: a
word joiner within. A prompt may say ``${x}``, and no field refers to another."""

_hints = lru_cache(maxsize=512)(get_type_hints)


def hints_of(section: Any) -> dict[str, Any]:
    """The types of a class's fields, without what they say beside the type."""
    return _hints(section)


def tree(recipe: Any) -> dict[str, Any]:
    """Every field of a recipe, or of another dataclass, in nested mappings; secrets in addresses
    left out.

    With it ``loading.load`` makes the same recipe again, but for the secrets.
    """
    return plain(without_secrets(recipe))


def plain(recipe: Any) -> dict[str, Any]:
    """The same, secrets and all."""
    return _plain(recipe, type(recipe))


def to_yaml(recipe: Any) -> str:
    """The tree as YAML, which ``loading.load`` reads."""
    return show(OmegaConf.to_yaml(OmegaConf.create(change_texts(tree(recipe), hide))))


def flatten(recipe: Any) -> dict[str, Any]:
    """``{"a.b": value}`` of every leaf of the tree, as a tracker wants its parameters."""
    return leaves(tree(recipe))


def leaves(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a.b": value}`` of every leaf of nested mappings; ``prefix`` stands before each name."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, dict):
            found |= leaves(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def sections(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """(name, section) of ``value``, which is called ``name``, and of all sections within, those in
    lists and mappings among them."""
    parts: Iterable[tuple[Any, Any]] = ()
    if is_dataclass(value):
        yield name, value
        parts = ((field.name, getattr(value, field.name)) for field in fields(value))
    elif isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list | tuple):
        parts = enumerate(value)
    for part, item in parts:
        yield from sections(item, f"{name}.{part}")


def section_in(hint: Any) -> type | None:
    """The class of the section that a field of this type is, or may be; None where it is none, or a
    list of them."""
    if get_origin(hint) in (list, tuple, dict):
        return None
    for kind in (hint, *get_args(hint)):
        if isinstance(kind, type) and is_dataclass(kind):
            return kind
    return None


def class_name(recipe: Mapping[str, Any]) -> str:
    """The name of the algorithm's class in a tree that was written; empty where it has none, as in
    older ones."""
    algorithm = recipe.get("algorithm")
    if isinstance(algorithm, dict):
        algorithm = algorithm.get(CLASS)
    return str(algorithm or "").rpartition(":")[2]


def without_secrets(value: T) -> T:
    """A copy of a recipe, or of a mapping or list, whose texts are ``redacted``."""
    return change_texts(value, redacted)


def is_within(field: str, names: Sequence[str]) -> bool:
    """Whether ``field`` is one of ``names``, or stands in a section of such a name."""
    return any(field == name or field.startswith(f"{name}.") for name in names)


def change_texts(value: Any, change: Callable[[str], str]) -> Any:
    """A copy of ``value`` (a dataclass, list, mapping, ...) with ``change`` made to each text in
    it."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {
            change_texts(key, change): change_texts(item, change) for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return type(value)(change_texts(item, change) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        changed = copy.copy(value)
        for field in fields(value):
            setattr(changed, field.name, change_texts(getattr(value, field.name), change))
        return changed
    return value


def hide(text: str) -> str:
    """``text`` without what is more than text to OmegaConf; ``show`` puts it back."""
    text = text.replace("${", _HIDDEN["${"])
    return _HIDDEN.get(text, text)


def show(text: str) -> str:
    """What ``hide`` was given."""
    for shown, hidden in _HIDDEN.items():
        text = text.replace(hidden, shown)
    return text


def _plain(value: Any, declared: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        hints = hints_of(kind)
        found: dict[str, Any] = {}
        if kind is not declared and kind not in get_args(declared):
            found[CLASS] = path_of(kind)
        for field in fields(value):
            found[field.name] = _plain(getattr(value, field.name), hints[field.name])
        return found
    inner = get_args(declared)[-1:] or (Any,)
    if isinstance(value, dict):
        return {key: _plain(item, inner[0]) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item, inner[0]) for item in value)
    return value
