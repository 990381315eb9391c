"""The fields of a recipe as tables: name, default, what it may be, meaning; all of it is read from
the sections."""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from importlib import import_module
from typing import Any, Literal, NamedTuple, get_args, get_origin

from rich.console import Console
from rich.table import Table
from rich.text import Text

from red_mcore import algorithms
from red_mcore.cli import common
from red_mcore.config import descriptions
from red_mcore.config.fields import Bound, bound_of, change_of
from red_mcore.config.modules import path_of
from red_mcore.config.recipe import Algorithm, Recipe
from red_mcore.config.tree import hints_of, section_in, without_secrets

_NO_LIMIT = 10**4
"""An upper bound that is not worth a word."""
_LEGEND = "* may change when a run goes on in its folder"
_MORE = "RECIPE --help has the fields of that recipe, and all that is said of them."


def everything() -> None:
    """Print the fields of every section and of every algorithm, the beginning of each meaning."""
    console = common.screen()
    for part in _sections(_Section("", Recipe)):
        if part.name == "algorithm":
            continue  # they follow, one by one
        about = _first_clause(_about(part.kind))
        if part.is_off:
            about += f" Off by default; {part.name}={{}} turns it on."
        _print_head(console, part.name or "recipe", about)
        _print_fields(console, part, list(fields(part.kind)))
    _print_head(console, "algorithm", "One of these, or package.module:Class of your own.")
    for kind in _algorithms():
        about = _first_clause(_about(kind))
        bases = [base for base in kind.__mro__[1:] if is_dataclass(base) and base is not Algorithm]
        if bases:
            about += f" It also has the fields of {', '.join(base.__name__ for base in bases)}."
        _print_head(console, path_of(kind), about)
        own = inspect.get_annotations(kind)  # without what the bases have, which are shown, too
        shown = [field for field in fields(kind) if field.name in own]
        _print_fields(console, _Section("algorithm", kind), shown)
    console.print(Text(f"\n{_LEGEND}\n{_MORE}"))


def of_recipe(recipe: Recipe) -> None:
    """Print the fields of one recipe, its own algorithm among them, with their values and their
    whole meanings."""
    console = common.screen()
    for part in _sections(_Section("", Recipe, without_secrets(recipe))):
        head = part.name or "recipe"
        if part.name == "algorithm":
            head = f"algorithm: {path_of(part.kind)}"
        _print_head(console, head, _about(part.kind))
        _print_fields(console, part, list(fields(part.kind)))
    console.print(Text(f"\n{_LEGEND}"))


class _Section(NamedTuple):
    """A section to be shown."""

    name: str
    kind: type
    values: Any = None
    """The section itself, each of its fields with the whole meaning; None is for defaults and the
    beginnings."""
    may_change: bool = False
    """All of it."""
    is_off: bool = False
    """By default."""

    def name_of(self, field: Field[Any]) -> str:
        """As an override names the field."""
        return f"{self.name}.{field.name}" if self.name else field.name

    def is_free(self, field: Field[Any]) -> bool:
        """Whether the field may change when a run goes on."""
        change = change_of(self.kind, field.name)
        return self.may_change or (change is not None and change.value)


def _sections(part: _Section) -> Iterator[_Section]:
    """A section and all within it; without values those that are off by default, and those of
    lists, too."""
    yield part
    for field in fields(part.kind):
        hint = hints_of(part.kind)[field.name]
        name, may_change = part.name_of(field), part.is_free(field)
        if part.values is not None:
            value = getattr(part.values, field.name)
            if is_dataclass(value):
                yield from _sections(_Section(name, type(value), value, may_change))
        elif (inner := section_in(hint)) is not None:
            yield from _sections(_Section(name, inner, None, may_change, _default(field) is None))
        elif get_origin(hint) is list and is_dataclass(inner := get_args(hint)[0]):
            yield _Section(f"{name}[0]", inner, None, may_change)


def _print_head(console: Console, name: str, about: str) -> None:
    console.print(Text.assemble("\n", (name, "bold"), f"  {about}"))


def _print_fields(console: Console, part: _Section, shown: list[Field[Any]]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(max_width=20, overflow="fold")
    table.add_column(max_width=22)
    table.add_column(ratio=1)
    meanings = descriptions.of_section(part.kind)
    for field in shown:
        hint = hints_of(part.kind)[field.name]
        name = part.name_of(field)
        if part.is_free(field):
            name += "*"
        meaning = _plain(meanings.get(field.name, ""))
        if part.values is None:
            value, meaning = _default(field), _first_clause(meaning)
        else:
            value = getattr(part.values, field.name)
        shown_value = _shown(value)
        may_be = _may_be(hint, bound_of(part.kind, field.name))
        if (inner := section_in(hint)) is not None:
            if part.name != "algorithm" or part.values is not None:
                continue  # it has a table of its own
            shown_value, may_be = "", f"fields of {inner.__name__}"
        table.add_row(Text(f"  {name}"), Text(shown_value), Text(may_be), Text(meaning))
    if table.rows:
        console.print(table)


def _algorithms() -> list[type]:
    """All that are in the package, the bases that they share first."""
    found = []
    for module in pkgutil.iter_modules(algorithms.__path__):
        for kind in vars(import_module(f"{algorithms.__name__}.{module.name}")).values():
            is_ours = isinstance(kind, type) and kind.__module__.endswith(f".{module.name}")
            if is_ours and issubclass(kind, Algorithm) and not kind.__name__.startswith("_"):
                found.append(kind)
    return sorted(found, key=lambda kind: (len(kind.__mro__), kind.__name__))


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


def _shown(value: Any) -> str:
    """A value as an override writes it."""
    if value is MISSING:
        return "(required)"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return str(list(value))
    if value == "":
        return "''"
    return str(value).replace("\n", "\\n")


def _may_be(hint: Any, bound: Bound | None) -> str:
    """What a field takes: choices, or a range with its unit; empty where its default tells."""
    found: list[str] = []
    for kind in (hint, *get_args(hint)):
        if get_origin(kind) is Literal:
            found += map(str, get_args(kind))
    if bound is not None:
        found.append(_range(bound))
    if found and type(None) in get_args(hint):
        found.append("null")
    return ", ".join(found)


def _range(bound: Bound) -> str:
    lower, upper = f"{bound.least:g}", f"{bound.most:g}"
    if bound.above:
        lower = f"above {lower}"
    if bound.below:
        upper = f"below {upper}"
    text = f"{lower} to {upper}"
    if bound.most >= _NO_LIMIT:
        text = lower if bound.above else f"{lower} or more"
        if bound.least <= -_NO_LIMIT:
            text = "any number"
    if bound.zero:
        text = f"0, {text}"
    return f"{text} {bound.unit}".strip()


def _about(kind: type) -> str:
    """What a class's docstring says; dataclass makes one up, NAME(...), where it has none."""
    said = inspect.getdoc(kind) or ""
    return "" if said.startswith(f"{kind.__name__}(") else _plain(said)


def _first_clause(text: str) -> str:
    """Up to the first full stop or semicolon that ends a clause."""
    first = re.split(r"(?<!e\.g\.)(?<=[.;])\s", text, maxsplit=1)[0]
    return f"{first.rstrip('.;')}." if first else ""


def _plain(text: str) -> str:
    """A docstring without its marks, in one line."""
    return " ".join(text.replace("``", "").split())
