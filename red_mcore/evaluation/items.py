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
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from red_mcore.config.recipe import Protocol, RecipeError
from red_mcore.system import disk

ITEMS, IDENTITY = "items.jsonl", "evaluation.json"
Row = dict[str, Any]
Key = tuple[str, int]
"""Benchmark and item."""
_OF_A_RESPONSE = {"text", "answer", "verdict", "tokens", "finish"}
_AGAIN = "run the command that made it again, which asks what is missing"


def key(row: Row) -> Key:
    return row["benchmark"], row["item"]


def read(folder: Path) -> list[Row]:
    """The rows of an evaluation that is done. RecipeError where there are none, or what is there is something else."""
    file = folder / ITEMS
    rows, bad = disk.read_rows(file, _is_row)
    places = list(map(key, rows))
    if bad:
        raise RecipeError(f"{file} line {bad[0]} is damaged ({len(bad)} such lines): {_AGAIN}")
    if not rows:
        raise RecipeError(f"{folder} holds no {ITEMS} as tools/evaluate.py writes it: name the --out of an evaluation")
    if len(set(places)) < len(places):
        name, item = next(place for place in places if places.count(place) > 1)
        raise RecipeError(f"{file} repeats item {item} of {name}: {_AGAIN}")
    return rows


def write(folder: Path, rows: Sequence[Row]) -> None:
    disk.write_atomic(folder / ITEMS, _lines(rows))


def append(folder: Path, part: int, rows: Sequence[Row]) -> None:
    """Add ``rows`` to the part's file, on disk once this returns."""
    disk.append(folder / f"items.part-{part}.jsonl", _lines(rows))


def gather(folder: Path) -> dict[Key, Row]:
    """Every row that is there, in one file or in parts; a damaged line is none."""
    return {key(row): row for file in (folder / ITEMS, *_parts(folder)) for row in disk.read_rows(file, _is_row)[0]}


def damage(folder: Path) -> list[str]:
    """A line on each file that has damaged lines, whose problems are asked again."""
    found = {file: disk.read_rows(file, _is_row)[1] for file in (folder / ITEMS, *_parts(folder))}
    return [
        f"{file}: {len(bad)} damaged lines, the first is line {bad[0]}: their problems are asked again"
        for file, bad in found.items()
        if bad
    ]


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
    file = folder / IDENTITY
    now = json.loads(json.dumps(identity))
    fix = "choose another --out, or delete it"
    try:
        then = disk.read_object(file)
    except disk.Damaged as error:
        raise RecipeError(f"{error}, so that nobody knows what {folder} holds: {fix}") from None
    if then is not None:
        known = then.pop("problems", None)
        if not isinstance(known, dict):
            raise RecipeError(f"{file} is damaged (it has no problems): {fix}")
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
    disk.write_atomic(file, json.dumps(now, indent=2) + "\n")


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("items.part-*.jsonl"))


def _is_row(row: Any) -> bool:
    responses = row.get("responses") if isinstance(row, dict) else None
    return (
        isinstance(responses, list)
        and isinstance(row.get("benchmark"), str)
        and isinstance(row.get("item"), int | str)
        and isinstance(row.get("problem"), str)
        and bool(responses)
        and all(isinstance(each, dict) and each.keys() >= _OF_A_RESPONSE for each in responses)
    )


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
