"""Checks of a recipe's numbers and texts, each by itself; what they are together is for
``planning/checks.py``.

The bounds of a number stand in its field's type (``fields.py``), and all are finite: what nobody
can mean is a typing error, told before it costs a night.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from red_mcore.config.fields import FINITE, Text, bound_of, text_of
from red_mcore.config.recipe import Recipe, RecipeError

_LONGEST_NAME, _LONGEST_TEXT = 200, 3000
"""Bytes of a file's name, and characters of any text but prose; file systems take 255 and 4096
bytes, and a run puts names of its own behind."""


def check_numbers(recipe: Recipe) -> None:
    """RecipeError, one line with the field, the value and the fix, for a number or text out of its
    bounds."""
    check_section(recipe)
    if not re.fullmatch(r"\w[\w.+-]*(/\w[\w.+-]*)*", recipe.name):
        raise RecipeError(
            f"name='{recipe.name}' becomes a folder: use letters, digits and . _ + - only"
        )


def check_section(section: Any, prefix: str = "", text: Text | None = None) -> None:
    """``check_numbers`` for one section: ``prefix`` stands before the names of its fields, and its
    texts are ``text`` where a field says nothing of its own."""
    for field in fields(section):
        name, value = f"{prefix}{field.name}", getattr(section, field.name)
        of_texts = text_of(type(section), field.name) or text or Text()
        for inner, part in _sections(name, value):
            check_section(part, f"{inner}.", of_texts)
        if isinstance(value, list) and any(isinstance(item, list | dict) for item in value):
            raise RecipeError(f"{name}={value}: want a list of plain values")
        bound = bound_of(type(section), field.name) or FINITE
        for leaf, found in _leaves_of(name, value):
            if isinstance(found, str):
                _check_text(leaf, found, of_texts)
            is_number = isinstance(found, int | float) and not isinstance(found, bool)
            if is_number and (fault := bound.fault(found)):
                raise RecipeError(f"{leaf}={_shown(found)} {fault}")


def _sections(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The section that a field is, or those in its list."""
    if is_dataclass(value):
        yield name, value
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _sections(f"{name}[{place}]", item)


def _leaves_of(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """(name, value) of all that is no section, list or mapping; the keys of mappings are among
    them."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"{name} (a name in it)", str(key)
            yield from _leaves_of(f"{name}.{key}", item)
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from _leaves_of(f"{name}[{place}]", item)
    elif not is_dataclass(value):
        yield name, value


def _check_text(name: str, text: str, kind: Text) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RecipeError(f"{name}={text!r} is no text: it has bytes that are not UTF-8") from None
    if "\0" in text:
        raise RecipeError(
            f"{name}={text[:60]!r} has a null byte, which no file and no program takes:"
            " leave it out"
        )
    if kind.is_prose:
        return
    if len(text.splitlines()) > 1:
        raise RecipeError(f"{name}={text[:60]!r} has a line break: leave it out")
    if len(text) > _LONGEST_TEXT:
        raise RecipeError(
            f"{name}='{text[:40]}...' has {len(text)} characters: use at most {_LONGEST_TEXT}"
        )
    if kind.is_place:
        _check_place(name, text)


def _check_place(name: str, path: str) -> None:
    if not path:
        raise RecipeError(f"{name} is an empty text: name a place, or use null")
    longest = max(len(part.encode()) for part in path.split("/"))
    if longest > _LONGEST_NAME:
        raise RecipeError(
            f"{name}='{path[:40]}...' has a name of {longest} bytes in it:"
            f" use at most {_LONGEST_NAME}"
        )


def _shown(number: float) -> str:
    # Python refuses to print integers of more than 4300 digits, and nobody reads those of 20.
    if isinstance(number, int) and abs(number) >= 10**20:
        return f"about 10^{round((number.bit_length() - 1) * math.log10(2))}"
    return f"{number}"
