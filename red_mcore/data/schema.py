"""The project's own schema of problems with teacher traces, as JSON lines or parquet.

A row is ``{"id", "problem", "gold", "traces": [{"text", "source", "verified", "tokens",
"finish_reason"}, ...], "meta": {...}}``. Everything that makes or changes traces writes it
(``red-mcore prepare``, ``red-mcore distill``); ``formats.py`` reads it like any other layout.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from red_mcore.config.recipe import Data, RecipeError
from red_mcore.data import files
from red_mcore.samples.records import Trace

MANIFEST = "manifest.json"
"""The file beside a prepared set that says where all of it comes from."""
MANIFEST_FORMAT = "red-mcore set 1"
"""What its ``format`` says; other programs call files so, too."""
BATCH = 1024
"""The entries that a parquet file takes at once: traces are long, and memory is not."""


@dataclass(frozen=True)
class Entry:
    """One problem with all its traces."""

    id: str
    """What names it across files and machines: given by its source, else its place there."""
    problem: str
    gold: str
    traces: tuple[Trace, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict, hash=False)
    """What else is known, JSON-able: ``origin`` (file or data set), ``difficulty`` and others."""

    def row(self) -> dict[str, Any]:
        """The JSON-able row of this entry."""
        return asdict(self)


def entry(row: dict[str, Any], where: str) -> Entry:
    """The entry of one row. Raises RecipeError naming the place and the field that is wrong."""

    def wrong(name: str, want: str, found: Any) -> RecipeError:
        return RecipeError(f"{where}: '{name}' is {type(found).__name__}: want {want}")

    for name in ("id", "problem", "gold"):
        if not isinstance(row.get(name), str):
            raise wrong(name, "text", row.get(name))
    traces = row.get("traces")
    if traces is not None and not isinstance(traces, list):
        raise wrong("traces", "a list of objects", traces)
    return Entry(
        id=row["id"],
        problem=row["problem"],
        gold=row["gold"],
        traces=tuple(trace(cell, f"{where}: trace {i}") for i, cell in enumerate(traces or (), 1)),
        meta=_meta(row.get("meta"), where),
    )


def trace(cell: Any, where: str) -> Trace:
    """The trace in one object of ``traces``; what it does not say is None. RecipeError as above."""
    if not isinstance(cell, dict) or not isinstance(cell.get("text"), str):
        raise RecipeError(f"{where}: want an object with a text 'text'")
    kinds = {"source": str, "verified": bool, "tokens": int, "finish_reason": str}
    for name, kind in kinds.items():
        found = cell.get(name)
        # True is an int to Python, and no count of tokens.
        is_mark = isinstance(found, bool) and kind is not bool
        if found is not None and (is_mark or not isinstance(found, kind)):
            raise RecipeError(f"{where}: '{name}' is {found!r}: want {kind.__name__} or null")
    return Trace(cell["text"], *map(cell.get, kinds))


def _meta(cell: Any, where: str) -> dict[str, Any]:
    """Parquet holds it as JSON."""
    try:
        found = json.loads(cell) if isinstance(cell, str) else cell or {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise RecipeError(f"{where}: 'meta' is {cell!r}: want an object")
    return found


def read(path: str | Path) -> Iterator[Entry]:
    """The entries of a file. RecipeError naming file, line and field of what is none."""
    for where, row in files.rows(Data(path=str(path))):
        yield entry(row, where)


def write(path: str | Path, entries: Iterable[Entry]) -> None:
    """Write ``.jsonl`` or ``.parquet``, by the file's name, in order. The file appears whole or not
    at all."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    if path.suffix == ".parquet":
        _write_parquet(partial, entries)
    elif path.suffix == ".jsonl":
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(line(one) for one in entries)
    else:
        raise RecipeError(f"{path}: want a name that ends in .jsonl or .parquet")
    partial.replace(path)


def line(one: Entry) -> str:
    """The line of an entry in a JSON lines file, with its end."""
    return json.dumps(one.row(), ensure_ascii=False) + "\n"


def _write_parquet(path: Path, entries: Iterable[Entry]) -> None:
    import pyarrow
    import pyarrow.parquet

    text = pyarrow.string()
    kinds = {"text": text, "source": text, "verified": pyarrow.bool_(), "tokens": pyarrow.int64()}
    one = pyarrow.struct({**kinds, "finish_reason": text})
    # ``meta`` differs from row to row, which parquet's objects cannot: it is kept as JSON.
    columns = {"id": text, "problem": text, "gold": text, "traces": pyarrow.list_(one)}
    schema = pyarrow.schema({**columns, "meta": text})
    rows: list[dict[str, Any]] = []
    with pyarrow.parquet.ParquetWriter(path, schema) as file:
        for each in entries:
            rows.append(each.row() | {"meta": json.dumps(each.meta, ensure_ascii=False)})
            if len(rows) == BATCH:
                file.write_table(pyarrow.Table.from_pylist(rows, schema))
                rows.clear()
        file.write_table(pyarrow.Table.from_pylist(rows, schema))
