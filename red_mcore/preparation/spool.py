"""The rows of a source as they were read, in a file of the work folder.

Sources are read once: what follows needs rows out of order and more than once, and neither a hub
nor a user's function gives them so. Memory has problems and golds, and of traces only what was
found out about them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from red_mcore.config.recipe import RecipeError
from red_mcore.data import files, schema
from red_mcore.data.schema import Entry
from red_mcore.preparation.reading import BROKEN, Left, read
from red_mcore.preparation.settings import Source
from red_mcore.system import disk

EXAMPLES = 3
"""Broken rows that an error names."""


@dataclass
class Row:
    """One entry of a source, without its traces."""

    source: int
    """Which of the sources it is of."""
    where: str
    problem: str
    gold: str
    traces: int
    """How many it has."""
    offset: int
    """Where its line begins in the spool, bytes."""


class Spool:
    """The rows of one source, in its order."""

    def __init__(self, file: Path, source: Source, number: int, sha256: str | None) -> None:
        self._file, self._number = file, number
        self.source = source
        self.sha256 = sha256
        """Of the source's file, or of its files; of its rows where there is no file."""
        self.rows: list[Row] = []
        self.left: list[Left] = []
        if not file.is_file():
            _write(file, source)
        if self.sha256 is None:
            self.sha256 = sha256_of(file)
        with file.open("rb") as lines:
            offset = 0
            for line in lines:
                self._note(json.loads(line), offset)
                offset += len(line)

    def _note(self, found: dict[str, Any], offset: int) -> None:
        if "left" in found:
            self.left.append(Left(**found["left"]))
            return
        entry, where = found["entry"], found["where"]
        count = len(entry["traces"])
        row = Row(self._number, where, entry["problem"], entry["gold"], count, offset)
        self.rows.append(row)

    def check(self, most: float) -> None:
        """RecipeError where more than the share ``most`` of the rows is broken, or none is left."""
        count = len(self.rows) + len(self.left)
        broken = [left for left in self.left if left.reason == BROKEN]
        if count and len(broken) > most * count:
            shown = "; ".join(f"{one.where}: {one.detail}" for one in broken[:EXAMPLES])
            raise RecipeError(
                f"{self.source.path}: {len(broken)} of {count} rows are broken, more than"
                f" --max-broken {most:g} allows: {shown}; mend them, or raise --max-broken"
            )
        if not self.rows:
            raise RecipeError(f"{self.source.path}: none of its {count} rows can be used")

    def entry(self, row: Row) -> Entry:
        """The whole entry of a row."""
        with self._file.open("rb") as file:
            file.seek(row.offset)
            return schema.entry(json.loads(file.readline())["entry"], row.where)


def open_all(sources: tuple[Source, ...], hashes: dict[str, str], work: Path) -> Iterator[Spool]:
    """The spool of each source, read now or taken from ``work``.

    ``hashes``: sha256 of those sources that are files or folders.
    """
    work.mkdir(parents=True, exist_ok=True)
    for number, source in enumerate(sources):
        sha256 = hashes.get(source.path)
        named = json.dumps([version("red-mcore"), asdict(source), sha256], sort_keys=True)
        name = hashlib.sha256(named.encode()).hexdigest()[:16]
        yield Spool(work / f"rows-{name}.jsonl", source, number, sha256)


def _write(file: Path, source: Source) -> None:
    """The file is there once it is whole."""
    partial = file.with_name(file.name + ".partial")
    with disk.writing(partial), partial.open("w", encoding="utf-8", newline="\n") as out:
        for found in read(source):
            if isinstance(found, Left):
                out.write(json.dumps({"left": asdict(found)}) + "\n")
            else:
                where, entry = found
                out.write(json.dumps({"where": where, "entry": entry.row()}) + "\n")
    partial.replace(file)


def hashes_of(paths: list[str]) -> dict[str, str]:
    """sha256 of every path that is a file, or a folder of files."""
    found = {}
    for path in paths:
        place = Path(path)
        if files.is_function(path) or not place.exists():
            continue
        if place.is_file():
            found[path] = sha256_of(place)
            continue
        inside = sorted(file for file in place.rglob("*") if file.is_file())
        listed = [f"{file.relative_to(place)} {sha256_of(file)}\n" for file in inside]
        found[path] = hashlib.sha256("".join(listed).encode()).hexdigest()
    return found


def sha256_of(file: Path) -> str:
    """The digest of a file's bytes, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
