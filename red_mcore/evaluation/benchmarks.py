"""Benchmarks by name, from the hub or from a folder of files, as problems in a fixed order.

A folder may hold more than the known ones: any ``NAME.json``, ``.jsonl``, ``.parquet`` or other
file that ``red_mcore.data.files`` reads is a benchmark of that name, in one of the formats of
``red_mcore.data.formats``, or with choices:

========  ==========================================  =====================================
format    columns                                     right one
========  ==========================================  =====================================
ARC       question, choices {text, label}, answerKey  the label
GPQA      Question, Correct Answer,                   the first
          Incorrect Answer 1 to 3
MMLU-Pro  question, options, answer                   a letter, or its place counted from 0
========  ==========================================  =====================================

A name that is an import path, ``package.module:function``, is a benchmark of the user's own: the
function takes nothing and gives such rows. It stands whole in the metrics' names.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from red_mcore.config.recipe import Data, RecipeError
from red_mcore.data import files, formats
from red_mcore.samples.records import Problem

LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True)
class Benchmark:
    """Where a benchmark is to be had."""

    name: str
    hub: str
    split: str
    size: int
    """Problems that the papers report on."""
    subset: str | None = None
    aliases: tuple[str, ...] = ()
    """Other names of its file, as ``_plain`` makes them."""


_ALL = (
    Benchmark("MATH-500", "HuggingFaceH4/MATH-500", "test", 500),
    Benchmark("AIME24", "HuggingFaceH4/aime_2024", "train", 30, aliases=("aime2024",)),
    Benchmark("AIME25", "math-ai/aime25", "test", 30, aliases=("aime2025",)),
    Benchmark("AMC23", "math-ai/amc23", "test", 40, aliases=("amc2023",)),
    Benchmark("AMC", "AI-MO/aimo-validation-amc", "train", 83),
    Benchmark("Minerva", "math-ai/minervamath", "test", 272, aliases=("minervamath",)),
    Benchmark("OlympiadBench", "Hothan/OlympiadBench", "train", 674, "OE_TO_maths_en_COMP"),
    Benchmark("GSM8K", "openai/gsm8k", "test", 1319, "main", ("gsm8ktest",)),
    Benchmark("ARC-c", "allenai/ai2_arc", "test", 1172, "ARC-Challenge", ("arcchallenge",)),
    Benchmark("GPQA-D", "Idavidrein/gpqa", "train", 198, "gpqa_diamond", ("gpqadiamond",)),
    Benchmark("MMLU-Pro", "TIGER-Lab/MMLU-Pro", "test", 12032),
)
KNOWN = {benchmark.name: benchmark for benchmark in _ALL}


def check(names: Sequence[str], folder: str | None) -> None:
    """What can be told without fetching: RecipeError for an unknown name, a missing file or a row
    that is not read."""
    if not names:
        raise RecipeError(f"no benchmarks are named: use some of {', '.join(KNOWN)}")
    for name in names:
        # Metrics of these names are the mean over benchmarks, and of held-out problems.
        is_plain = re.fullmatch(r"[\w.-]+", name) and name not in ("average", "reward")
        if not is_plain and not files.is_function(name):
            raise RecipeError(
                f"benchmark '{name}' becomes part of a metric's name: use letters, digits and"
                " . _ - only"
            )
    if len(set(names)) < len(names):
        raise RecipeError(f"benchmarks {', '.join(names)}: one is named twice")
    for name in names:
        _source(name, folder)
        if folder is not None or files.is_function(name):
            load(name, folder, seed=0)


def load(
    name: str,
    folder: str | None,
    seed: int,
    limit: int | None = None,
    columns: formats.Columns = frozenset(),
) -> list[Problem]:
    """The problems of a benchmark, the first ``limit`` of them; ``id`` is the place in the file.

    ``seed`` decides the order in which choices are shown; ``columns`` are those that problems keep.
    Raises RecipeError naming the file and the row for whatever cannot be read, and for a problem
    without gold.
    """
    data = _source(name, folder)
    problems: list[Problem] = []
    layout = None
    there = files.columns(data) if columns else ()  # a look at the whole file
    for where, row in islice(files.rows(data), limit):
        number = len(problems)
        more = formats.kept(row, columns, there or list(row), where)
        if (choices := _choices(row, where)) is not None:
            # A seed of each problem's own: another limit leaves the choices in their order.
            problem = _choice_problem(number, *choices, f"{seed} {name} {number}")
        else:
            layout = layout or formats.find(files.columns(data), data, where)
            problem = _plain_problem(number, formats.read(layout, row, where), where)
        problems.append(replace(problem, columns=more))
    if not problems:
        raise RecipeError(f"{data.path} is empty")
    return problems


def unusual_sizes(problems: Mapping[str, Sequence[Problem]]) -> list[str]:
    """A line for each known benchmark that is not of the size that is usually reported on."""
    told = []
    for name, found in problems.items():
        if name in KNOWN and len(found) != (size := KNOWN[name].size):
            told.append(f"{name} has {len(found)} problems here, {size} as it is usually reported")
    return told


def _source(name: str, folder: str | None) -> Data:
    """Where the benchmark is read from, as settings of ``red_mcore.data``."""
    if files.is_function(name):
        return Data(path=name)
    known = KNOWN.get(name)
    if folder is None:
        if known is None:
            raise RecipeError(
                f"benchmark {name} is unknown: use {', '.join(KNOWN)}, or name the folder of its"
                " file"
            )
        return Data(path=known.hub, subset=known.subset, split=known.split)
    if not Path(folder).is_dir():
        raise RecipeError(
            f"the folder of benchmarks {folder} does not exist (working folder {Path.cwd()})"
        )
    wanted = {_plain(name)}
    if known is not None:
        wanted.update(known.aliases)
    there = sorted(filter(files.suffix, Path(folder).iterdir()))
    found = [file for file in there if _plain(file.name[: -len(files.suffix(file))]) in wanted]
    if len(found) != 1:
        what = f"{len(found)} files" if found else "no file"
        names = ", ".join(file.name for file in there) or "no such files at all"
        raise RecipeError(
            f"{folder} has {what} for benchmark {name}: want {name}.json, .jsonl or .parquet once;"
            f" there are {names}"
        )
    return Data(path=str(found[0]))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _choices(row: dict[str, Any], where: str) -> tuple[str, list[str], int] | None:
    """(question, options, place of the right one) of a row with choices, else None."""
    try:
        if "choices" in row and "answerKey" in row:
            labels, options = list(row["choices"]["label"]), list(row["choices"]["text"])
            return row["question"], options, labels.index(row["answerKey"])
        if "Correct Answer" in row:
            wrong = [row[f"Incorrect Answer {number}"] for number in (1, 2, 3)]
            return row["Question"], [row["Correct Answer"], *wrong], 0
        if "options" in row:
            options, answer = list(row["options"]), row["answer"]
            # A list of letters: in a text "AB" would be found, too.
            places = range(len(options)) if isinstance(answer, int) else LETTERS[: len(options)]
            return row["question"], options, list(places).index(answer)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise RecipeError(
            f"{where}: its choices cannot be read ({type(error).__name__}: {error});"
            f" columns: {', '.join(row)}"
        ) from None
    return None


def _plain_problem(number: int, content: formats.Content, where: str) -> Problem:
    if content.text is None:
        raise RecipeError(f"{where}: the problem is empty")
    if content.gold is None:
        raise RecipeError(f"{where}: the gold answer is empty")
    return Problem(number, content.text, content.gold.text)


def _choice_problem(
    number: int, question: str, options: list[str], right: int, seed: str
) -> Problem:
    if len(options) > len(LETTERS):
        raise RecipeError(
            f"problem {number} has {len(options)} choices; there are letters for {len(LETTERS)}"
        )
    order = list(range(len(options)))
    random.Random(seed).shuffle(order)
    lines = [str(question).strip()]
    for shown, place in enumerate(order):
        lines.append(f"{LETTERS[shown]}. {str(options[place]).strip()}")
    return Problem(number, "\n".join(lines), LETTERS[order.index(right)], kind="choice")
