"""Names of cells: a column, or the way from it into objects and lists.

``reward_model.ground_truth`` goes into an object, ``generations[0]`` and ``messages[-1].content``
into lists; ``messages.1.content`` does so as well. What is on the way may also be the JSON of an
object or list. A column's own name may have dots and brackets: it goes before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from red_mcore.data import cells

_STEP = re.compile(r"\.([^.\[\]]+)|\[(-?\d+)\]")
_NAME = re.compile(rf"[^.\[\]]+(?:{_STEP.pattern})*")


def fault(name: str) -> str | None:
    """What is wrong with a name that is no column's own, as the end of a sentence; None for a name
    that can lead somewhere."""
    if _NAME.fullmatch(name):
        return None
    return "leads nowhere: want a column, a.b for what is in an object, a[0] for one of a list"


def column(name: str) -> str:
    """The column that the way begins at."""
    return re.split(r"[.\[]", name, maxsplit=1)[0]


def value(row: Mapping[str, Any], name: str) -> Any:
    """The cell called ``name``, in any case, or what the way leads to; None where nothing is."""
    found = _member(row, name)
    first = column(name)
    if found is not None or name in row or first == name:
        return found
    found = _member(row, first)
    for step in _STEP.finditer(name, len(first)):
        field, place = step.groups()
        found = cells.unspelled(cells.plain(found))
        if isinstance(found, dict) and field is not None:
            found = _member(found, field)
        elif isinstance(found, list):
            found = _element(found, place or field)
        else:
            return None
    return found


def _element(values: list[Any], place: str) -> Any:
    if not place.removeprefix("-").isdigit():
        return None
    number = int(place)
    return values[number] if -len(values) <= number < len(values) else None


def _member(row: Mapping[str, Any], name: str) -> Any:
    if name in row:
        return row[name]
    return next((row[key] for key in row if key.lower() == name.lower()), None)
