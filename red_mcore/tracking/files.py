"""JSON files that are whole at any moment, whenever the process is killed."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def write_atomic(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` in one step: a reader sees the old file or the new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def finite(row: dict[str, Any]) -> dict[str, Any]:
    """``row`` with None for what JSON has no number for: NaN and the infinities."""
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}


def append_line(path: Path, row: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(finite(row)) + "\n")


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, "".join(json.dumps(finite(row)) + "\n" for row in rows))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSONL file, [] where there is none; a last line torn by a kill is left out.

    Raises json.JSONDecodeError for any other line that is not JSON.
    """
    if not path.exists():
        return []
    *lines, _ = path.read_bytes().split(b"\n")  # bytes: the last line may be torn within a character
    return [json.loads(line) for line in lines]
