"""Problems from files: JSON lines, a JSON list, parquet, or the ``datasets`` hub, in the formats that are about.

===============  =====================================  ====================================================
format           columns                                gold and trace
===============  =====================================  ====================================================
GSM8K            question, answer (``#### gold``)       worked solution, its last line made ``\\boxed{gold}``
MATH levels 3-5  problem, gt_answer                     no trace
LUFFY            problem, answer, distill               trace is ``distill``
OpenR1 chats     prompt, target (lists of turns),       gold is ``reward_model['ground_truth']``, trace the last
                 reward_model                           turn of ``target``; system turns are left out
benchmark        prompt, or question; answer            no trace
OlympiadBench    question, final_answer (a list)        no trace
plain            problem, answer[, trace]
===============  =====================================  ====================================================

``data.problem_field``, ``gold_field`` and ``trace_field`` go before all of this.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from red_mcore.recipe import Data, RecipeError
from red_mcore.rewards.answers import last_boxed

Row = dict[str, Any]
Content = tuple[Any, Any, Any]
"""Problem text, gold, trace (or None), as they stand in the row."""

SUFFIXES = (".jsonl", ".json", ".parquet")
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def rows(data: Data) -> Iterator[tuple[str, Row]]:
    """(where, row) of each row of ``data.path``; ``where`` is for messages, e.g. ``train.jsonl line 3``."""
    path = Path(data.path)
    if is_file(data.path):
        reader = {".jsonl": _json_lines, ".json": _json_list, ".parquet": _parquet}[path.suffix]
        yield from reader(path)
    else:
        yield from _hub(data)


def is_file(path: str) -> bool:
    """Whether ``path`` is a data file rather than a folder or hub name for ``datasets``.

    Raises RecipeError for a missing file and for a file of unknown suffix.
    """
    file = Path(path)
    if file.suffix in SUFFIXES and not file.is_dir():
        if not file.is_file():
            raise RecipeError(f"data.path {path} does not exist (working folder {Path.cwd()})")
        return True
    if file.is_file():
        raise RecipeError(f"data.path {path}: suffix '{file.suffix}' is unknown; supported: {', '.join(SUFFIXES)}")
    if not file.is_dir() and not HUB_NAME.fullmatch(path):
        raise RecipeError(f"data.path {path} is neither a file, a folder nor a hub name like owner/name")
    return False


def count(path: str) -> int:
    """Rows of a file, without reading more of them than it takes to count."""
    file = Path(path)
    if file.suffix == ".jsonl":
        with file.open("rb") as lines:
            return sum(1 for line in lines if line.strip())
    if file.suffix == ".json":
        return sum(1 for _ in _json_list(file))
    import pyarrow.parquet

    return pyarrow.parquet.read_metadata(file).num_rows


def row_reader(first: Row, data: Data, where: str) -> Callable[[Row], Content]:
    """How to read rows like ``first``. Raises RecipeError where its columns are of no known format."""
    columns = ", ".join(first)
    named = (data.problem_field, data.gold_field, data.trace_field)
    for field, column in zip(("problem_field", "gold_field", "trace_field"), named, strict=True):
        if column is not None and column not in first:
            raise RecipeError(f"{where}: no column '{column}' (data.{field}); columns: {columns}")
    known = _recognise(first)
    if known is None and not (data.problem_field and data.gold_field):
        raise RecipeError(
            f"{where}: columns {columns} are of no known format; set data.problem_field and data.gold_field"
        )

    def read(row: Row) -> Content:
        content = known(row) if known else (None, None, None)
        pairs = zip(named, content, strict=True)
        return tuple(row[column] if column is not None else found for column, found in pairs)

    return read


def problem_fields(read: Callable[[Row], Content], row: Row, where: str) -> tuple[str, str, str | None]:
    """Problem, gold (maybe empty) and trace of ``row`` as text. Raises RecipeError naming the place of a bad row."""
    try:
        text, gold, trace = read(row)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise RecipeError(
            f"{where}: not of the first row's format ({type(error).__name__}: {error}); columns: {', '.join(row)}"
        ) from None
    for name, value in (("problem", text), ("gold", gold)):
        if not isinstance(value, (str, int, float)):
            raise RecipeError(f"{where}: the {name} is {value!r}, want text; columns: {', '.join(row)}")
    return str(text), plain_gold(gold), None if trace is None else str(trace)


def plain_gold(gold: str | int | float) -> str:
    """The gold as the verifier wants it: some files write it as ``\\boxed{204}``, others as 204.0."""
    if isinstance(gold, float) and gold.is_integer():
        gold = int(gold)
    gold = str(gold).strip()
    unboxed = last_boxed(gold)
    return gold if unboxed is None else unboxed


def _recognise(first: Row) -> Callable[[Row], Content] | None:
    has = first.keys().__contains__
    if has("question") and has("answer") and "####" in str(first["answer"]):
        return _gsm8k
    if has("problem") and has("gt_answer"):
        return lambda row: (row["problem"], row["gt_answer"], None)
    if has("problem") and has("answer"):
        trace = "distill" if has("distill") else "trace"
        return lambda row: (row["problem"], row["answer"], row.get(trace))
    if has("prompt") and isinstance(first["prompt"], list) and has("target") and has("reward_model"):
        return _chats
    if has("prompt") and has("answer"):
        return lambda row: (row["prompt"], row["answer"], None)
    if has("question") and has("answer"):
        return lambda row: (row["question"], row["answer"], None)
    if has("question") and has("final_answer"):
        return lambda row: (row["question"], ", ".join(row["final_answer"]), None)
    return None


def _gsm8k(row: Row) -> Content:
    """The worked solution without its ``<<48/2=24>>`` calculator marks, the gold without thousands commas."""
    solution, mark, gold = row["answer"].rpartition("####")
    if not mark:
        raise KeyError("#### before the gold")
    gold = gold.strip().replace(",", "")
    steps = re.sub(r"<<[^<>]*>>", "", solution).strip()
    return row["question"], gold, f"{steps}\n\\boxed{{{gold}}}"


def _chats(row: Row) -> Content:
    question = next(turn["content"] for turn in reversed(row["prompt"]) if turn["role"] == "user")
    return question, row["reward_model"]["ground_truth"], row["target"][-1]["content"]


def _json_lines(path: Path) -> Iterator[tuple[str, Row]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                where = f"{path} line {number}"
                yield where, _object(_parse(line, where), where)


def _json_list(path: Path) -> Iterator[tuple[str, Row]]:
    entries = _parse(path.read_bytes(), str(path))
    if not isinstance(entries, list):
        raise RecipeError(f"{path}: want a list of objects, found {type(entries).__name__}; JSON lines end in .jsonl")
    for number, entry in enumerate(entries, start=1):
        yield f"{path} entry {number}", _object(entry, f"{path} entry {number}")


def _parse(text: bytes, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:  # broken JSON, or no text at all
        raise RecipeError(f"{where} is not JSON: {error}") from None


def _object(entry: Any, where: str) -> Row:
    if not isinstance(entry, dict):
        raise RecipeError(f"{where}: want a JSON object with named columns, found {type(entry).__name__}")
    return entry


def _parquet(path: Path) -> Iterator[tuple[str, Row]]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise RecipeError(f"{path} is not parquet: {error}") from None
    number = 0
    with file:
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield f"{path} row {number}", row


def _hub(data: Data) -> Iterator[tuple[str, Row]]:
    from datasets import load_dataset

    try:
        table = load_dataset(data.path, data.subset, split=data.split)
    except (OSError, ValueError) as error:
        raise RecipeError(
            f"data.path {data.path} is no file, and datasets cannot load its split '{data.split}': "
            f"{str(error).splitlines()[0]}"
        ) from error
    for number, row in enumerate(table, start=1):
        yield f"{data.path} row {number}", row
