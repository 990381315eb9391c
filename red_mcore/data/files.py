"""Rows of data: of files (JSON lines, a JSON list, CSV, TSV, parquet), of what ``datasets`` loads,
of users' functions.

The text files may be gzipped (``.jsonl.gz``). They are UTF-8, with or without a byte order mark, or
UTF-16 or -32 with one; a line ends in LF or CRLF and nowhere else. What the columns mean is the
business of ``formats.py``.
"""

from __future__ import annotations

import codecs
import csv
import glob
import gzip
import importlib
import io
import json
import re
import sys
import traceback
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from red_mcore.config.recipe import Data, RecipeError
from red_mcore.data import cells, sources

Row = dict[str, Any]
Broken = Callable[[str, RecipeError], object]
"""Told of a row that cannot be read: (where, why)."""

SUFFIXES = (
    ".jsonl", ".json", ".csv", ".tsv", ".parquet",
    ".jsonl.gz", ".json.gz", ".csv.gz", ".tsv.gz",
)  # fmt: skip
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_NULLS = dict.fromkeys(("nan", "NaN", "<NA>", "null", "NULL"), "")
"""Texts by which programs write a missing cell into CSV, and what is read instead."""
BATCH = 1024
"""Rows of a parquet file in memory at once: one may hold traces of many thousand tokens."""
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Encodings by byte order mark, in an order in which none is taken for its beginning."""


def suffix(path: str | Path) -> str:
    """The one of SUFFIXES that a file's name ends in, in any case, or ``""``."""
    name = Path(path).name.lower()
    return max((one for one in SUFFIXES if name.endswith(one)), key=len, default="")


def is_function(path: str) -> bool:
    """Whether it is the import path of a function, ``package.module:function``."""
    module, _, name = path.partition(":")
    return all(map(str.isidentifier, (*module.split("."), name)))


def rows(
    data: Data, only: Collection[str] | None = None, broken: Broken | None = None
) -> Iterator[tuple[str, Row]]:
    """(where, row) of each row of ``data.path``; ``where`` is for messages, e.g. ``train.jsonl line
    3``.

    ``only`` names the columns that are of use, where reading less is faster: a row may have others
    all the same. ``broken`` is told of a row that cannot be read, where the next one still can: one
    that is no JSON or no object, or has more cells than there are columns. RecipeError where it is
    None, and for files that are damaged as a whole.
    """
    for where, row in _rows(data, only):
        if not isinstance(row, RecipeError):
            yield where, row
        elif broken is None:
            raise row
        else:
            broken(where, row)


def _rows(data: Data, only: Collection[str] | None) -> Iterator[tuple[str, Row | RecipeError]]:
    """The same, with what is wrong in the place of a broken row."""
    place = sources.path(data)
    if is_function(place):
        yield from _function_rows(place)
        return
    if not is_file(place):
        yield from _hub_rows(data, only)
        return
    path, kind = Path(place), suffix(place).removesuffix(".gz")
    if kind == ".parquet":
        yield from _parquet_rows(path, only)
    elif kind == ".csv":
        yield from _table_rows(path, ",")
    elif kind == ".tsv":
        yield from _table_rows(path, "\t")
    else:
        yield from _json_rows(path, kind)


def columns(data: Data, most: int | None = None, broken: Broken | None = None) -> list[str]:
    """Names of the columns of ``data.path`` in order, those of the first ``most`` rows where rows
    have their own.

    Fields of an object are there as well, with a dot: ``reward_model``,
    ``reward_model.ground_truth``. ``broken`` as in ``rows``.
    """
    place = sources.path(data)
    fields: dict[str, dict[str, None]] = {}  # whose keys are in order, and each there once
    if not is_function(place) and not is_file(place):
        _note(fields, _hub(data).features)
    elif suffix(place) == ".parquet":
        with _parquet(Path(place)) as file:
            for field in file.schema_arrow:
                fields[field.name] = dict.fromkeys(_names(field.type))
    else:
        for _, row in islice(rows(data, broken=broken), most):
            _note(fields, row)
    found = []
    for name, inner in fields.items():
        found.append(name)
        found += [f"{name}.{sub}" for sub in inner]
    return found


def _note(fields: dict[str, dict[str, None]], row: Mapping[str, Any]) -> None:
    """Add the names of a row, or of a table's features, and those within its objects."""
    for name, value in row.items():
        inner = fields.setdefault(name, {})
        if isinstance(value, dict):
            inner |= dict.fromkeys(value)


def plain_gold(cell: Any) -> str:
    """The text of a gold (``cells.gold``), empty for an empty cell; CellError as there."""
    return (cells.gold(cell) or cells.Gold("")).text


def is_file(path: str) -> bool:
    """Whether ``path`` is a data file rather than a folder or hub name for ``datasets``.

    Raises RecipeError for a missing file and for a file of unknown suffix.
    """
    file = Path(path)
    if suffix(path) and not file.is_dir():
        if not file.is_file():
            raise RecipeError(f"data.path {path} does not exist (working folder {Path.cwd()})")
        return True
    if file.is_file():
        raise RecipeError(
            f"data.path {path}: suffix '{file.suffix}' is unknown; supported: {', '.join(SUFFIXES)}"
        )
    if not file.is_dir() and not HUB_NAME.fullmatch(path):
        raise RecipeError(
            f"data.path {path} is neither a file, a folder nor a hub name like owner/name, nor a"
            " function like package.module:function"
        )
    return False


def _function_rows(path: str) -> Iterator[tuple[str, Row | RecipeError]]:
    """The rows that a user's function gives; RecipeError, with the line, for what it raises."""
    module, _, name = path.partition(":")
    try:
        found = iter(getattr(importlib.import_module(module), name)())
    except (Exception, SystemExit) as error:
        raise RecipeError(f"data.path {path} cannot be called: {_raised(error)}") from error
    number = 0
    while True:
        try:
            row = next(found)
        except StopIteration:
            return
        except (Exception, SystemExit) as error:
            raise RecipeError(
                f"data.path {path} failed after row {number}: {_raised(error)}"
            ) from error
        number += 1
        yield f"{path} row {number}", _object(row, f"{path} row {number}")


def _raised(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message} ({Path(last.filename).name} line {last.lineno})"


def _json_rows(path: Path, kind: str) -> Iterator[tuple[str, Row | RecipeError]]:
    lines = _any_lines(path)
    if kind == ".json":  # most are a list, but the hub has JSON lines under this name
        first = next((line for _, line in _lines(path) if line.strip()), "")
        if not first.lstrip().startswith("{") or not _is_json(first):
            yield from _json_list(path)
            return
    for number, line in lines:
        where = f"{path} line {number}"
        if isinstance(line, RecipeError):
            yield where, line
        elif line.strip():
            yield where, _line_object(line, where)


def _json_list(path: Path) -> Iterator[tuple[str, Row | RecipeError]]:
    entries = _parse("".join(line for _, line in _lines(path)), str(path))
    if not isinstance(entries, list):
        raise RecipeError(
            f"{path}: want a list of objects, or an object on each line; it is one {_type(entries)}"
        )
    for number, entry in enumerate(entries, start=1):
        yield f"{path} entry {number}", _object(entry, f"{path} entry {number}")


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{where} is not JSON: {error}") from None


def _line_object(line: str, where: str) -> Row | RecipeError:
    try:
        return _object(_parse(line, where), where)
    except RecipeError as error:
        return error


def _object(entry: Any, where: str) -> Row | RecipeError:
    if isinstance(entry, dict):
        return entry
    return RecipeError(f"{where}: want a JSON object with named columns, found {_type(entry)}")


def _type(value: Any) -> str:
    names: dict[type, str] = {dict: "object", list: "list", str: "text"}
    return names.get(type(value), type(value).__name__)


def _table_rows(path: Path, delimiter: str) -> Iterator[tuple[str, Row | RecipeError]]:
    """Every cell is text: ``007`` stays what was typed. An empty one is missing, or a null."""
    csv.field_size_limit(sys.maxsize)  # a trace may be longer than its default, 131072
    reader = csv.reader((line for _, line in _lines(path)), delimiter=delimiter, strict=True)
    names: list[str] = []
    while True:
        where = f"{path} line {reader.line_num + 1}"
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise RecipeError(f"{where}: {error}") from None
        if row is None:
            return
        if not row:  # an empty line
            continue
        if not names:
            names = [name.strip() for name in row]
            if twice := {name for name in names if names.count(name) > 1}:
                raise RecipeError(f"{where}: there are two columns '{min(twice)}': rename one")
            continue
        if len(row) > len(names):
            fault = f"{len(row)} cells for {len(names)} columns: {', '.join(names)}"
            yield where, RecipeError(f"{where}: {fault}")
            continue
        yield where, {names[i]: _NULLS.get(cell, cell) for i, cell in enumerate(row)}


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, line with its end); RecipeError for what is no text or no whole archive."""
    for number, line in _any_lines(path):
        if isinstance(line, RecipeError):
            raise line
        yield number, line


def _any_lines(path: Path) -> Iterator[tuple[int, str | RecipeError]]:
    """The same, with what is wrong in the place of a line whose bytes are no text."""
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
        try:
            yield from enumerate(_decoded(file, path), start=1)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise RecipeError(f"{path} is not a whole gzip file: {error}") from None
        except UnicodeError as error:
            raise RecipeError(
                f"{path} has a byte order mark, but cannot be read so: {error}"
            ) from None


def _decoded(file: Any, path: Path) -> Iterable[str | RecipeError]:
    begin = file.read(4)
    file.seek(0)
    encoding = next((name for mark, name in _MARKS.items() if begin.startswith(mark)), "utf-8")
    if encoding in ("utf-16", "utf-32"):
        yield from io.TextIOWrapper(file, encoding=encoding, newline="\n")
        return
    for number, line in enumerate(file, start=1):
        try:
            yield line.decode(encoding if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            yield RecipeError(
                f"{path} line {number} is not UTF-8 (byte {line[error.start]:#x}): convert the"
                " file, e.g. with iconv"
            )


def _parquet(path: Path):
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise RecipeError(f"{path} is not parquet: {error}") from None


def _names(kind: Any) -> list[str]:
    """The fields of a parquet column that holds objects; of another one none."""
    import pyarrow

    return [field.name for field in kind] if pyarrow.types.is_struct(kind) else []


def _parquet_rows(path: Path, only: Collection[str] | None) -> Iterator[tuple[str, Row]]:
    import pyarrow

    number = 0
    with _parquet(path) as file:
        names = [name for name in file.schema_arrow.names if only is None or name in only]
        # pyarrow takes a dot for the way into an object.
        chosen = None if any("." in name for name in file.schema_arrow.names) else names
        try:
            for batch in file.iter_batches(batch_size=BATCH, columns=chosen):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path} row {number}", row
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            raise RecipeError(
                f"{path} cannot be read after row {number}: {str(error).splitlines()[0]}"
            ) from None


def _hub(data: Data):
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    place = sources.path(data)
    if Path(place).is_dir() and (found := glob.glob(place)) != [place]:
        raise RecipeError(
            f"data.path {data.path}: the library takes *, ? and [ in a folder's name for a pattern,"
            f" by which it finds {', '.join(found) or 'nothing'}: rename the folder, or name one"
            " file in it"
        )
    try:
        return load_dataset(data.path, data.subset, split=data.split)
    except (OSError, ValueError, DatasetsError) as error:
        raise RecipeError(
            f"data.path {data.path} is no file, and datasets cannot load its split"
            f" '{data.split}': {str(error).splitlines()[0]}"
        ) from error


def _hub_rows(data: Data, only: Collection[str] | None) -> Iterator[tuple[str, Row]]:
    table = _hub(data)
    if only is not None:
        table = table.select_columns([name for name in table.column_names if name in only])
    for number, row in enumerate(table, start=1):
        yield f"{data.path} row {number}", row
