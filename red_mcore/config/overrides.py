"""Changes of a recipe, typed as ``a.b=c`` or read from YAML; checked against the types of its
fields."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass, make_dataclass, replace
from functools import lru_cache
from types import UnionType
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import split_key
from omegaconf._yaml import get_yaml_loader
from omegaconf.errors import OmegaConfBaseException
from yaml import (
    MappingNode,
    MarkedYAMLError,
    Node,
    SafeLoader,
    ScalarNode,
    SequenceNode,
    YAMLError,
    compose,
)

from red_mcore.config.errors import RecipeError
from red_mcore.config.modules import find_class, path_of
from red_mcore.config.recipe import Algorithm, Data, Recipe
from red_mcore.config.tree import CLASS, change_texts, hide, hints_of, section_in, show

T = TypeVar("T")

LONGEST_SHOWN = 80
"""Characters of a value that a message repeats."""
_OF_ITS_DATA = (
    *("path", "mixture", "problems", "split", "subset"),
    *("problem_field", "gold_field", "trace_field", "trace_sources"),
    *("held_out_path", "held_out_split", "held_out_subset"),
)
"""What a recipe says of its data that holds of no other."""


_UNFIT = (OmegaConfBaseException, YAMLError, ValueError)
"""What a value that a field cannot have raises; the last one numbers of too many digits do."""


class Refused(ValueError):
    """A field that is not there, or a value that it cannot have; the message begins with the
    field."""


def override(recipe: T, overrides: Sequence[str]) -> T:
    """A copy of ``recipe``, or another dataclass, with each ``a.b=c`` applied.

    Values are read as YAML and checked against the field's type, but text is taken as it was typed,
    whole: ``#``, ``:``, ``[a]``, ``yes``, ``${x}``, backslashes and spaces. Only ``null`` and ``~``
    are None, and a text in quotes is what YAML makes of it, so that ``"a\\nb"`` has a line break.
    In lists and mappings, too, text is never a number.

    A mapping changes the fields that it names, and turns on a section that is off:
    ``reward.overlong={}``. The import path of a class makes a section anew, with the defaults of
    that class: ``algorithm=package.module:Class``.

    What a recipe says of its own model, or its own data, is not said of another one that an
    override names. RecipeError for an unknown field (naming the nearest) or a value of the wrong
    type.
    """
    made: Any = _changed(recipe, overrides)
    if not isinstance(recipe, Recipe):
        return made
    # Which model and data are meant is known once all is applied; then it is applied again, for
    # what an override says of the model that it names has to stay.
    bare = _without_its_own(recipe, made)
    if bare != recipe:
        made = _changed(bare, overrides)
    if getattr(made.algorithm, "constant", 0.0) is None:
        made.algorithm.constant = float(made.rollout.max_response_tokens)
    return made


def set_field(recipe: Any, names: list[str], node: Node | None) -> None:
    """Change one field, or all that a mapping names, to what YAML says. ``Refused``, YAMLError."""
    place = _find(recipe, names)
    kind = None if place.within else section_in(place.hint)
    if kind is None:
        _put(place, names, node)
    elif isinstance(node, MappingNode):
        _set_section(recipe, names, place, kind, node)
    elif isinstance(node, ScalarNode) and (":" in node.value or issubclass(kind, Algorithm)):
        setattr(place.section, place.name, _made(node.value, place, names))
    else:
        _put(place, names, node)


def entries(node: MappingNode) -> Iterator[tuple[str, Node]]:
    """The names and values of a mapping. YAMLError for a name that is no text, or is there
    twice."""
    seen = set()
    for name, value in node.value:
        if not isinstance(name, ScalarNode):
            raise MarkedYAMLError(problem="a name is a list or a mapping")
        if name.value in seen:
            raise MarkedYAMLError(problem=f"'{name.value}' is there twice: leave one out")
        seen.add(name.value)
        yield name.value, value


def _without_its_own(recipe: Recipe, made: Recipe) -> Recipe:
    """``recipe`` without what it says of its own model and data, where ``made`` of it has
    others."""
    model, base, data = recipe.model, recipe.base, recipe.data
    if made.model.path not in (None, model.path):
        model = replace(model, config={})
        if made.base == base:
            base = None
    if (made.data.path, made.data.mixture) != (data.path, data.mixture):
        usual = Data()
        data = replace(data, **{name: getattr(usual, name) for name in _OF_ITS_DATA})
    return replace(recipe, model=model, base=base, data=data)


def _changed(recipe: T, overrides: Sequence[str]) -> T:
    made = change_texts(recipe, str)  # a copy, in a tenth of ``deepcopy``'s time
    for text in overrides:
        _apply(made, text)
    return made


def _apply(recipe: Any, text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals:
        raise RecipeError(f"override '{text}' has no '='; write a.b=c")
    names = split_key(key)  # model.config[a.b] has a dot in its name
    if names[-1] == CLASS:
        del names[-1]
    try:
        place = _find(recipe, names)
        if _is_text(place.hint):
            _assign(place, _text(value, place.hint))
        else:
            set_field(recipe, names, compose(value, SafeLoader))
    except Refused as error:
        raise RecipeError(f"override {error}") from None
    except _UNFIT as error:
        raise RecipeError(f"override {key}={shown(value)}: {reason(error)}") from None


def shown(text: str) -> str:
    """The beginning of a value as it was typed, in one line."""
    line = text.replace("\n", "\\n")
    if len(line) <= LONGEST_SHOWN:
        return line
    return f"{line[:LONGEST_SHOWN]}..."


def reason(error: Exception) -> str:
    """The first line of what OmegaConf or YAML says."""
    return show(str(error).splitlines()[0])[:300]


class _Place(NamedTuple):
    """Where a change goes."""

    section: Any
    name: str
    """Of the section's field."""
    within: list[str]
    """Names within that field, where it is a mapping."""
    hint: Any
    """The type of what is meant; of a section the one that is there, which may have more fields
    than the declared."""

    @property
    def value(self) -> Any:
        return getattr(self.section, self.name)


def _set_section(
    recipe: Any, names: list[str], place: _Place, kind: type, node: MappingNode
) -> None:
    parts = dict(entries(node))
    path = parts.pop(CLASS, None)
    if path is not None and place.value is not None and path_of(type(place.value)) == path.value:
        path = None  # only what is named changes
    if path is not None:
        setattr(place.section, place.name, _made(path.value, place, names))
    elif place.value is None:
        setattr(place.section, place.name, kind())
    for name, value in parts.items():
        set_field(recipe, [*names, name], value)


def _made(path: str, place: _Place, names: list[str]) -> Any:
    """A section of the class with that import path, all defaults."""
    field = ".".join(names)
    try:
        kind = find_class(path, field)
    except RecipeError as error:
        raise Refused(str(error)) from error
    declared = section_in(hints_of(type(place.section))[place.name])
    assert declared is not None
    if not (is_dataclass(kind) and issubclass(kind, declared)):
        raise Refused(f"{field}={path}: it is no dataclass below {declared.__name__}")
    try:
        return kind()
    except TypeError as error:
        raise Refused(f"{field}={path}: give all its fields defaults ({error})") from None


def _put(place: _Place, names: list[str], node: Node | None) -> None:
    typed = ""
    if node is not None:
        typed = node.start_mark.buffer[node.start_mark.pointer : node.end_mark.pointer]
    try:
        _assign(place, _built(node, place.hint))
    except _UNFIT as error:
        raise Refused(f"{'.'.join(names)}={shown(typed)}: {reason(error)}") from None


def _assign(place: _Place, value: Any) -> None:
    """Change one field in place; of OmegaConf's work the field alone is done, for there are many
    others."""
    section, name = place.section, place.name
    kind: Any = type(section)
    if (config := _config_of_one(kind, name)) is not None:
        OmegaConf.update(config, name, change_texts(value, hide))
        setattr(section, name, change_texts(config[name], show))
        return
    config = OmegaConf.structured(_alone(kind, name)(change_texts(place.value, hide)))
    path = name + "".join(f"[{part}]" for part in place.within)
    # model.config={} empties the mapping; a section's {} keeps what it does not name.
    now = OmegaConf.select(config, path)
    is_open = isinstance(now, DictConfig) and OmegaConf.get_type(now) is dict
    OmegaConf.update(config, path, change_texts(value, hide), merge=not is_open)
    setattr(section, name, change_texts(getattr(OmegaConf.to_object(config), name), show))


@lru_cache(maxsize=512)
def _config_of_one(section: type, name: str) -> DictConfig | None:
    """OmegaConf's check of a field that is one number, text or truth value; None for the others.

    It is kept, for making it takes ten times as long as using it. What others are changed to
    depends on what they were, of which it would have to be rid.
    """
    if not _is_plain(hints_of(section)[name]):
        return None
    return OmegaConf.structured(_alone(section, name))


def _is_plain(hint: Any) -> bool:
    if get_origin(hint) in (Union, UnionType):
        return all(map(_is_plain, get_args(hint)))
    return hint in (bool, int, float, str, type(None)) or get_origin(hint) is Literal


@lru_cache(maxsize=512)
def _alone(section: type, name: str) -> type:
    """A dataclass with that field of the section only."""
    return make_dataclass(section.__name__, [(name, hints_of(section)[name])])


def _is_text(hint: Any) -> bool:
    return hint in (str, str | None)


def _text(text: str, hint: Any) -> str | None:
    """What was typed for a text."""
    if re.fullmatch("~|null|Null|NULL", text) or (not text and hint is not str):
        return None
    if text[:1] in ("'", '"'):
        with suppress(YAMLError):  # of a sentence that begins with a word in quotes
            node = compose(text, SafeLoader)
            if isinstance(node, ScalarNode) and node.end_mark.index == len(text):
                return node.value
    return text


def _built(node: Node | None, hint: Any) -> Any:
    """The value of a YAML node, in which names, and all that ``hint`` calls text, are as they were
    typed; None of an empty text, which has no node."""
    if isinstance(node, ScalarNode):
        return _scalar(node, hint)
    kinds: dict[str, Any] = {}
    inner = None  # the type of all items, or of those that ``kinds`` does not name
    if get_origin(hint) in (list, tuple, dict):
        inner = get_args(hint)[-1]
    elif section := section_in(hint):
        kinds = hints_of(section)
    if isinstance(node, SequenceNode):
        return [_built(item, inner) for item in node.value]
    if isinstance(node, MappingNode):
        return {name: _built(item, kinds.get(name, inner)) for name, item in entries(node)}
    return None


def _scalar(node: ScalarNode, hint: Any) -> Any:
    is_null = node.tag.endswith(":null")
    if node.style in ("'", '"') or (_is_text(hint) and not is_null):
        return node.value
    if why := _ambiguity(node.value):
        raise MarkedYAMLError(problem=f"'{node.value}' {why}: write the number that is meant")
    # OmegaConf's reading of YAML, not YAML's own, which takes 1e-3 for a text.
    value = yaml.load(node.value, Loader=_omegaconfs_loader())
    if "${" in node.value or isinstance(value, list | dict):  # what may be no config at all
        parsed: Any = OmegaConf.to_container(OmegaConf.from_dotlist([f"v={node.value}"]))
        value = parsed["v"]
    if hint is bool and type(value) is int and value not in (0, 1):
        raise MarkedYAMLError(problem="it is neither true nor false")
    return value


_omegaconfs_loader = lru_cache(maxsize=1)(get_yaml_loader)
"""It makes a class at every call."""


def _ambiguity(text: str) -> str | None:
    """Why a number may be another one than it looks like: YAML knows those of base 8 and 60."""
    digits = text.replace("_", "")
    if re.fullmatch(r"[-+]?0\d+(\.\d*)?", digits) and float(digits):
        if re.fullmatch(r"[-+]?[0-7]+", digits):
            return f"may be read as {int(digits, 8)} or as {int(digits)}"
        return "begins with a 0"
    if re.fullmatch(r"[-+]?\d+(:[0-5]?\d)+(\.\d*)?", digits):
        return "may be read in base 60"
    return None


def _find(recipe: Any, names: list[str]) -> _Place:
    """Where ``names`` lead to. ``Refused`` where there is no such field."""
    key = ".".join(names)
    section, parts = recipe, names
    seen: list[str] = []
    while True:
        name, *rest = parts
        there = [field.name for field in fields(section)]
        if name not in there:
            where = f"the {type(section).__name__.lower()}"
            if seen:
                where = f"'{'.'.join(seen)}'"
            near = "' or '".join(_nearest(recipe, name, there))
            raise Refused(f"{key}: {where} has no field '{name}'; nearest is '{near}'")
        value, hint = getattr(section, name), hints_of(type(section))[name]
        seen.append(name)
        if not rest:
            return _Place(section, name, [], type(value) if is_dataclass(value) else hint)
        if value is None:
            off = ".".join(seen)
            raise Refused(
                f"{key}: '{off}' is off (None) in this recipe; turn it on with '{off}={{}}'"
            )
        if not is_dataclass(value):
            break
        section, parts = value, rest
    if get_origin(hint) is dict and get_args(hint)[1] is not Any:
        # A mapping to plain values: the rest is one name, package.module:function.
        return _Place(section, name, [".".join(rest)], get_args(hint)[1])
    for part in rest:  # an open mapping (model.config) takes any name
        if not isinstance(value, dict):
            raise Refused(f"{key}: '{'.'.join(seen)}' is a value and has no field '{part}'")
        if part not in value:
            break
        value = value[part]
        seen.append(part)
    return _Place(section, name, rest, None)


def _nearest(recipe: Any, part: str, siblings: Sequence[str]) -> list[str]:
    """The fields that ``part`` may mean: those of that name in other sections, by their full names,
    else the sibling or the field anywhere whose name is most like it."""
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
