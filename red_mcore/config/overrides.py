"""Recipes from files, adjusted by ``a.b=c`` overrides, and as text; without torch, which a login node need not have."""

from __future__ import annotations

import copy
import difflib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields, is_dataclass, make_dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import split_key
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, Node, SafeLoader, ScalarNode, SequenceNode, YAMLError, compose

from red_mcore.config.recipe import Data, Recipe, RecipeError
from red_mcore.config.redaction import redacted

T = TypeVar("T")

LONGEST_SHOWN = 80
"""Characters of a value that a message repeats."""
_OF_ITS_DATA = (
    *("path", "mixture", "problems", "split", "subset", "problem_field", "gold_field", "trace_field"),
    *("held_out_path", "held_out_split", "held_out_subset"),
)
"""What a recipe says of its data that holds of no other."""

_HIDDEN = {"${": "$\u2060{", "???": "?\u2060??"}
"""What is more than text to OmegaConf, a reference and a missing value, and how it gets past it: a word joiner within.
A prompt may say ``${x}``, and no field refers to another."""


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
        built = _texts(OmegaConf.to_object(OmegaConf.structured(_texts(built, _hide))), _show)  # types are checked
        return override(built, overrides)
    except OmegaConfBaseException as error:
        raise RecipeError(f"recipe file {file}: {error.full_key}: {str(error).splitlines()[0]}") from None


def override(recipe: T, overrides: Sequence[str]) -> T:
    """A copy of ``recipe``, or another dataclass, with each ``a.b=c`` applied.

    Values are read as YAML and checked against the field's type, but text is taken as it was typed, whole: ``#``,
    ``:``, ``[a]``, ``yes``, ``${x}``, backslashes and spaces. Only ``null`` and ``~`` are None, and a text in quotes is
    what YAML makes of it, so that ``"a\\nb"`` has a line break. In lists and mappings, too, text is never a number.

    A mapping changes the fields that it names, and turns on a section that is off: ``reward.overlong={}``.

    What a recipe says of its own model, or its own data, is not said of another one that an override names.
    """
    made = _changed(recipe, overrides)
    if not isinstance(made, Recipe):
        return made
    if (bare := _without_its_own(recipe, made)) != recipe:
        made = _changed(bare, overrides)
    if getattr(made.algorithm, "constant", 0.0) is None:
        made.algorithm.constant = float(made.rollout.max_response_tokens)
    return made


def _without_its_own(recipe: Recipe, made: Recipe) -> Recipe:
    """``recipe`` without what it says of its own model and data, where ``made`` of it has others."""
    model, base, data = recipe.model, recipe.base, recipe.data
    if made.model.path not in (None, model.path):
        model, base = replace(model, config={}), None if made.base == base else base
    if (made.data.path, made.data.mixture) != (data.path, data.mixture):
        defaults = {f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(Data)}
        data = replace(data, **{name: defaults[name] for name in _OF_ITS_DATA})
    return replace(recipe, model=model, base=base, data=data)


def _changed(recipe: T, overrides: Sequence[str]) -> T:
    made = copy.deepcopy(recipe)
    for text in overrides:
        _apply(made, text)
    return made


def _apply(recipe: Any, text: str) -> None:
    """Change one field in place; of OmegaConf's work the field alone is done, for there are many others."""
    key, equals, value = text.partition("=")
    if not equals:
        raise RecipeError(f"override '{text}' has no '='; write a.b=c")
    section, name, rest, hint = _find(recipe, key)
    try:
        config = OmegaConf.structured(_alone(type(section), name)(_texts(getattr(section, name), _hide)))
        path = name + "".join(f"[{part}]" for part in rest)
        # model.config={} empties the mapping; a section's {} keeps what it does not name.
        now = OmegaConf.select(config, path)
        is_open = isinstance(now, DictConfig) and OmegaConf.get_type(now) is dict
        OmegaConf.update(config, path, _texts(_value(value, hint), _hide), merge=not is_open)
        setattr(section, name, _texts(getattr(OmegaConf.to_object(config), name), _show))
    except (OmegaConfBaseException, YAMLError, ValueError) as error:  # the last of numbers with too many digits
        shown = value.replace("\n", "\\n")
        shown = shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}..."
        raise RecipeError(f"override {key}={shown}: {_show(str(error).splitlines()[0])[:300]}") from None


@lru_cache(maxsize=512)
def _alone(section: type, name: str) -> type:
    """A dataclass with that field of the section only."""
    return make_dataclass(section.__name__, [(name, _hints(section)[name])])


_hints = lru_cache(maxsize=512)(get_type_hints)


def to_yaml(recipe: Recipe) -> str:
    """The resolved recipe, secrets in addresses left out; the algorithm's class, no field, is a comment above it."""
    text = _show(OmegaConf.to_yaml(OmegaConf.structured(_texts(without_secrets(recipe), _hide))))
    return f"# algorithm: {type(recipe.algorithm).__name__}\n{text}"


def flatten(recipe: object) -> dict[str, Any]:
    """``{"a.b": value}`` of every leaf, as a tracker wants its parameters, secrets in addresses left out."""
    out: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(f"{prefix}.{key}" if prefix else str(key), item)
        else:
            out[prefix] = value

    walk("", _texts(OmegaConf.to_container(OmegaConf.structured(_texts(without_secrets(recipe), _hide))), _show))
    return out


def without_secrets(value: T) -> T:
    """A copy of a recipe, or of a mapping or list, whose texts are ``redacted``."""
    return _texts(value, redacted)


def is_within(field: str, names: Sequence[str]) -> bool:
    """Whether ``field`` is one of ``names``, or stands in a section of such a name."""
    return any(field == name or field.startswith(f"{name}.") for name in names)


def _line(error: Exception, path: Path) -> str:
    """`` line N`` of the recipe file, where the error passed through it."""
    if isinstance(error, SyntaxError):
        return f" line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f" line {lines[-1]}" if lines else ""


def _hide(text: str) -> str:
    text = text.replace("${", _HIDDEN["${"])
    return _HIDDEN.get(text, text)


def _show(text: str) -> str:
    for shown, hidden in _HIDDEN.items():
        text = text.replace(hidden, shown)
    return text


def _texts(value: Any, change: Callable[[str], str]) -> Any:
    """A copy of ``value`` (a dataclass, list, mapping, ...) with ``change`` made to each text in it."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {_texts(key, change): _texts(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_texts(item, change) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        changed = copy.copy(value)
        for name in (field.name for field in fields(value)):
            setattr(changed, name, _texts(getattr(value, name), change))
        return changed
    return value


def _is_text(hint: Any) -> bool:
    return hint in (str, str | None)


def _value(text: str, hint: Any) -> Any:
    """What was typed for a field of type ``hint``. Raises YAMLError."""
    if not _is_text(hint):
        node = compose(text, SafeLoader)
        return None if node is None else _built(node, hint)
    if re.fullmatch("~|null|Null|NULL", text) or (not text and hint is not str):
        return None
    if text[:1] in ("'", '"'):
        try:
            node = compose(text, SafeLoader)
        except YAMLError:  # a sentence that begins with a word in quotes
            return text
        return node.value if isinstance(node, ScalarNode) and node.end_mark.index == len(text) else text
    return text


def _built(node: Node, hint: Any) -> Any:
    """The value of a YAML node, in which names, and all that ``hint`` calls text, are as they were typed."""
    if isinstance(node, ScalarNode):
        is_null = node.tag.endswith(":null")
        if node.style in ("'", '"') or (_is_text(hint) and not is_null):
            return node.value
        if why := _ambiguity(node.value):
            raise MarkedYAMLError(problem=f"'{node.value}' {why}: write the number that is meant")
        value = OmegaConf.to_container(OmegaConf.from_dotlist([f"v={node.value}"]))["v"]  # has numbers like 1e-3
        if hint is bool and type(value) is int and value not in (0, 1):
            raise MarkedYAMLError(problem="it is neither true nor false")
        return value
    inner = next((kind for kind in get_args(hint) if kind is not type(None)), None)
    kinds: dict[str, Any] = {}
    if get_origin(hint) in (list, tuple, dict):
        inner = get_args(hint)[-1]
    else:
        section = hint if is_dataclass(hint) else inner
        kinds, inner = (get_type_hints(section) if is_dataclass(section) else {}), None
    if isinstance(node, SequenceNode):
        return [_built(item, inner) for item in node.value]
    if not all(isinstance(name, ScalarNode) for name, _ in node.value):
        raise MarkedYAMLError(problem="a name is a list or a mapping")
    return {name.value: _built(item, kinds.get(name.value, inner)) for name, item in node.value}


def _ambiguity(text: str) -> str | None:
    """Why a number may be another one than it looks like: YAML knows those of base 8 and 60."""
    digits = text.replace("_", "")
    if re.fullmatch(r"[-+]?0\d+(\.\d*)?", digits) and float(digits):
        is_octal = re.fullmatch(r"[-+]?[0-7]+", digits)
        return f"may be read as {int(digits, 8)} or as {int(digits)}" if is_octal else "begins with a 0"
    if re.fullmatch(r"[-+]?\d+(:[0-5]?\d)+(\.\d*)?", digits):
        return "may be read in base 60"
    return None


def _find(recipe: Any, key: str) -> tuple[Any, str, list[str], Any]:
    """(section, its field, names within that field's mapping, the type of what is meant); RecipeError where there is no
    such field.

    Of a section the type is the one that is there, which may have more fields than the declared one.
    """
    section, seen, parts = recipe, [], split_key(key)  # model.config[a.b] has a dot in its name
    while True:
        name, *rest = parts
        names = [field.name for field in fields(section)]
        if name not in names:
            where = f"'{'.'.join(seen)}'" if seen else f"the {type(section).__name__.lower()}"
            near = " or ".join(f"'{found}'" for found in _nearest(recipe, name, names))
            raise RecipeError(f"override {key}: {where} has no field '{name}'; nearest is {near}")
        value, hint = getattr(section, name), _hints(type(section))[name]
        seen.append(name)
        if not rest:
            return section, name, [], type(value) if is_dataclass(value) else hint
        if value is None:
            off = ".".join(seen)
            raise RecipeError(f"override {key}: '{off}' is off (None) in this recipe; turn it on with '{off}={{}}'")
        if not is_dataclass(value):
            break
        section, parts = value, rest
    if get_origin(hint) is dict and get_args(hint)[1] is not Any:
        # A mapping to plain values: the rest is one name, package.module:function.
        return section, name, [".".join(rest)], get_args(hint)[1]
    for part in rest:  # an open mapping (model.config) takes any name
        if not isinstance(value, dict):
            raise RecipeError(f"override {key}: '{'.'.join(seen)}' is a value and has no field '{part}'")
        if part not in value:
            break
        value = value[part]
        seen.append(part)
    return section, name, rest, None


def _nearest(recipe: Any, part: str, siblings: Sequence[str]) -> list[str]:
    """The fields that ``part`` may mean: those of that name in other sections, by their full names, else the sibling
    or the field anywhere whose name is most like it."""
    leaves: dict[str, list[str]] = {}

    def walk(section: Any, prefix: str) -> None:
        for field in fields(section):
            leaves.setdefault(field.name, []).append(f"{prefix}{field.name}")
            if is_dataclass(value := getattr(section, field.name)):
                walk(value, f"{prefix}{field.name}.")

    def likeness(name: str) -> float:
        return difflib.SequenceMatcher(None, part, name).ratio() + (len(part) > 2 and part in name)

    walk(recipe, "")
    if part in leaves:
        return leaves[part]
    sibling, anywhere = max(siblings, key=likeness), max(leaves, key=likeness)
    return [sibling] if likeness(sibling) >= likeness(anywhere) else leaves[anywhere]
