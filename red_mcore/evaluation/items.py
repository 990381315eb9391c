"""``items.jsonl``: one line per problem with all its graded responses; whole at any moment, whenever it is killed.

    {"benchmark": "AIME24", "item": 0, "problem": ..., "gold": "204", "kind": "math", "prompt_ids": [...],
     "responses": [{"text": ..., "answer": "204", "verdict": "correct", "tokens": 812, "finish": "stop",
                    "token_ids": [...]}, ...]}

``answer`` is what was compared with the gold, null where there is none; ``finish`` is ``stop`` or ``length``. What was
not sampled here has null for ``prompt_ids``, ``tokens``, ``finish`` and ``token_ids``. Every engine appends to a file
of its own, ``items.part-N.jsonl``; the parts become one file at the next start, or at the end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from red_mcore.disk import read_lines, write_atomic
from red_mcore.recipe import Protocol, RecipeError

ITEMS, IDENTITY = "items.jsonl", "evaluation.json"
Row = dict[str, Any]
Key = tuple[str, int]
"""Benchmark and item."""


def key(row: Row) -> Key:
    return row["benchmark"], row["item"]


def read(folder: Path) -> list[Row]:
    """The rows of an evaluation that is done. RecipeError where there are none, or what is there is something else."""
    try:
        rows = read_lines(folder / ITEMS)
        whole = all({"benchmark", "item", "problem", "responses"} <= row.keys() for row in rows)
    except (ValueError, AttributeError):
        rows, whole = [], False
    if not rows or not whole:
        raise RecipeError(f"{folder} holds no {ITEMS} as tools/evaluate.py writes it: name the --out of an evaluation")
    return rows


def write(folder: Path, rows: Sequence[Row]) -> None:
    write_atomic(folder / ITEMS, _lines(rows))


def append(folder: Path, part: int, rows: Sequence[Row]) -> None:
    """Add ``rows`` to the part's file, on disk once this returns."""
    with (folder / f"items.part-{part}.jsonl").open("a", encoding="utf-8") as file:
        file.write(_lines(rows))
        file.flush()
        os.fsync(file.fileno())


def gather(folder: Path) -> dict[Key, Row]:
    """Every row that is there, in one file or in parts."""
    return {key(row): row for file in (folder / ITEMS, *_parts(folder)) for row in read_lines(file)}


def merge(folder: Path, chunks: Sequence[Sequence[Key]]) -> dict[Key, Row]:
    """Make one file of all parts, in the order of ``chunks``, and return its rows.

    Rows of a chunk that is not whole are dropped: what is sampled together has to be sampled together again. Rows of
    other benchmarks, from an earlier command, stay.
    """
    rows = gather(folder)
    asked = {name for chunk in chunks for name, _ in chunk}
    kept = {place: row for place, row in rows.items() if place[0] not in asked}
    for chunk in chunks:
        if all(place in rows for place in chunk):
            kept |= {place: rows[place] for place in chunk}
    write(folder, list(kept.values()))
    for file in _parts(folder):
        file.unlink()
    return kept


def claim(folder: Path, identity: dict[str, Any]) -> None:
    """Make ``folder`` the place of the evaluation that ``identity`` describes.

    ``identity["problems"]`` has a digest for each benchmark, and further benchmarks may join, as may fields that an
    earlier version did not know. RecipeError where the folder holds another evaluation, naming the first field that
    differs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / IDENTITY
    now = json.loads(json.dumps(identity))
    if file.is_file():
        then = json.loads(file.read_text(encoding="utf-8"))
        fix = "choose another --out, or delete it"
        known = then.pop("problems")
        for name, digest in now["problems"].items():
            if known.get(name, digest) != digest:
                raise RecipeError(f"{folder} holds {name} with other problems (its file, --limit or seed): {fix}")
        now["problems"] = known | now["problems"]
        before, after = _flat(then), _flat(now)
        for field, value in before.items():
            if value != after.get(field):
                raise RecipeError(
                    f"{folder} holds an evaluation with {field}={_short(value)}, now it is"
                    f" {_short(after.get(field))}: {fix}"
                )
    write_atomic(file, json.dumps(now, indent=2) + "\n")


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("items.part-*.jsonl"))


def _lines(rows: Sequence[Row]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _flat(identity: dict[str, Any]) -> dict[str, Any]:
    """With the fields of the protocol beside the others; those that an earlier version lacked are as by default."""
    protocol = identity.get("protocol")
    if protocol is None:
        return identity
    whole = asdict(Protocol()) | protocol
    others = {key: value for key, value in identity.items() if key not in ("protocol", "problems")}
    return others | {f"protocol.{key}": value for key, value in whole.items()}


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else text[:100] + "..."
