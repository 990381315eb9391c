"""Rows of a source as entries of the project's schema, with all their traces; broken rows are told
and passed over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from red_mcore.config.recipe import RecipeError
from red_mcore.data import cells, files, formats, schema, sources
from red_mcore.data.schema import Entry
from red_mcore.preparation.settings import Source

BROKEN, NO_PROBLEM, NO_GOLD = "broken", "without problem", "without gold"
"""Reasons for which a row is no entry."""
IDS = ("id", "uuid", "unique_id", "problem_id")
DIFFICULTIES = ("difficulty", "level")
OWN = frozenset(("id", "problem", "gold", "traces"))
"""Columns of the project's schema."""
LOOKED_AT = 1000
"""Rows in which columns are looked for, where each row has its own."""


@dataclass(frozen=True)
class Left:
    """A row or trace that is left out."""

    source: str
    where: str
    """Its place in the source, such as ``line 3`` or ``line 3 trace 2``."""
    reason: str
    detail: str = ""


Found = tuple[str, Entry] | Left
"""(place in the source, entry), or a row that is none."""


def read(source: Source) -> Iterator[Found]:
    """Every row of the source in order. RecipeError where it cannot be read at all."""
    data = source.data()
    broken: list[Left] = []

    def tell(where: str, error: RecipeError) -> None:
        place = place_in(where)
        detail = str(error).removeprefix(where).lstrip(": ")
        broken.append(Left(source.name, place, BROKEN, detail))

    with sources.named(""):
        columns = files.columns(data, LOOKED_AT, broken=lambda where, error: None)
        own = set(columns) >= OWN
        layout = None if own else formats.find(columns, data, source.path)
    used = None
    if layout is not None:
        used = layout.used(frozenset((*IDS, *DIFFICULTIES)))
    for where, row in files.rows(data, used, broken=tell):
        yield from broken
        broken.clear()
        place = place_in(where)
        try:
            found = (
                schema.entry(row, where) if layout is None else _entry(layout, row, where, source)
            )
            if isinstance(found, str):
                yield Left(source.name, place, found)
            else:
                yield place, _writable(_with_origin(found, source, place), where)
        except RecipeError as error:
            tell(where, error)
    yield from broken


def _writable(entry: Entry, where: str) -> Entry:
    """The entry; RecipeError for what no file can hold."""
    try:
        schema.line(entry).encode()
    except UnicodeEncodeError:
        raise RecipeError(f"{where} has half of a surrogate pair, which is no character") from None
    return entry


def place_in(where: str) -> str:
    """``line 3`` of ``train.jsonl line 3``."""
    return " ".join(where.rsplit(maxsplit=2)[-2:])


def _entry(layout: formats.Layout, row: files.Row, where: str, source: Source) -> Entry | str:
    """The entry of a row in a layout of others; the reason where it lacks problem or gold."""
    content = formats.read(layout, row, where)
    if content.text is None:
        return NO_PROBLEM
    if content.gold is None:
        return NO_GOLD
    meta: dict[str, Any] = {}
    for name in DIFFICULTIES:
        level = cells.plain(formats.value(row, name))
        if isinstance(level, str | int | float) and not cells.missing(level):
            meta["difficulty"] = level
            break
    if content.system:
        meta["system"] = content.system
    if content.traces:
        meta["traces"] = [{"column": one.column} for one in content.traces]
    identity = _identity(row) or where.rpartition(" ")[2]
    # Whatever a source's own marks say of them: they are judged anew.
    found = tuple(replace(one.trace, verified=None) for one in content.traces)
    return Entry(f"{source.name}/{identity}", content.text, content.gold.text, found, meta)


def _identity(row: files.Row) -> str | None:
    for name in IDS:
        cell = cells.plain(formats.value(row, name))
        if isinstance(cell, str | int) and not cells.missing(cell):
            return str(cell)
    return None


def _with_origin(entry: Entry, source: Source, place: str) -> Entry:
    """The entry with what its source says of all: what the entry says of itself goes before."""
    meta = {"origin": source.path, "row": place} | entry.meta
    earlier = meta.get("traces")
    if not isinstance(earlier, list) or len(earlier) != len(entry.traces):
        earlier = [{} for _ in entry.traces]
    shared: dict[str, Any] = {"set": source.name, "row": place}
    if source.sampler:
        shared["sampler"] = dict(source.sampler)
    elif isinstance(meta.get("sampler"), dict):
        shared["sampler"] = meta["sampler"]
    meta["traces"] = [{**shared, **known} for known in earlier if isinstance(known, dict)]
    traces = []
    for trace in entry.traces:
        traces.append(replace(trace, source=trace.source or source.teacher))
    return replace(entry, traces=tuple(traces), meta=meta)
