"""``items.jsonl``: one line per problem with all its graded responses; whole at any moment, whenever it is killed.

    {"benchmark": "AIME24", "item": 0, "problem": ..., "gold": "204", "kind": "math", "prompt_ids": [...],
     "responses": [{"text": ..., "answer": "204", "verdict": "correct", "tokens": 812, "finish": "stop",
                    "token_ids": [...]}, ...]}

``answer`` is the content of the last box, null where there is none; ``finish`` is ``stop`` or ``length``. What was not
sampled here has null for ``prompt_ids``, ``tokens``, ``finish`` and ``token_ids``. Every engine appends to a file of
its own, ``items.part-N.jsonl``; the parts become one file at the next start, or at the end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from red_mcore.recipe import RecipeError
from red_mcore.tracking.files import read_lines, write_atomic

ITEMS, IDENTITY = "items.jsonl", "evaluation.json"
Row = dict[str, Any]
Key = tuple[str, int]
"""Benchmark and item."""


def key(row: Row) -> Key:
    return row["benchmark"], row["item"]


def append(folder: Path, part: int, rows: Sequence[Row]) -> None:
    """Add ``rows`` to the part's file, on disk once this returns."""
    with (folder / f"items.part-{part}.jsonl").open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        file.flush()
        os.fsync(file.fileno())


def merge(folder: Path, chunks: Sequence[Sequence[Key]]) -> list[Row]:
    """Make one file of all parts, in the order of ``chunks``, and return its rows.

    Rows of a chunk that is not whole are dropped: what is sampled together has to be sampled together again. Rows of
    other benchmarks, from an earlier command, stay.
    """
    parts = sorted(folder.glob("items.part-*.jsonl"))
    rows = {key(row): row for file in (folder / ITEMS, *parts) for row in read_lines(file)}
    asked = {place for chunk in chunks for place in chunk}
    whole = [place for chunk in chunks if all(place in rows for place in chunk) for place in chunk]
    kept = [rows[place] for place in rows if place[0] not in {name for name, _ in asked}]
    kept += [rows[place] for place in whole]
    write_atomic(folder / ITEMS, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))
    for file in parts:
        file.unlink()
    return kept


def claim(folder: Path, identity: dict[str, Any]) -> None:
    """Make ``folder`` the place of the evaluation that ``identity`` describes.

    ``identity["problems"]`` has a digest for each benchmark. RecipeError where the folder holds another evaluation,
    naming the first field that differs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / IDENTITY
    now = json.loads(json.dumps(identity))
    if file.is_file():
        then = json.loads(file.read_text(encoding="utf-8"))
        known = then["problems"]  # further benchmarks may join
        then["problems"], now["problems"] = now["problems"] | known, known | now["problems"]
        for field in {**then, **now}:
            if then.get(field) != now.get(field):
                raise RecipeError(
                    f"{folder} holds an evaluation with {field}={_short(then.get(field))}, now it is"
                    f" {_short(now.get(field))}: choose another --out, or delete it"
                )
    write_atomic(file, json.dumps(now, indent=2) + "\n")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else text[:100] + "..."
