"""What a preparation is asked to do: its sources and its rules."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from red_mcore.config.recipe import Data, RecipeError
from red_mcore.data import files

Unit = Literal["tokens", "words", "characters"]
FORMATS = ("jsonl", "parquet")
LONG = ("drop", "cut")
KEEP = ("correct", "not_wrong", "all")
UNITS = ("tokens", "words", "characters")
SIZES = (8, 13)
"""Words of the n-grams by which overlap is reported: 13 are GPT-3's (arXiv 2005.14165, appendix C),
8 are those of PaLM's report (arXiv 2204.02311, section 8)."""
SAMPLER = "sampler."
"""What the settings of a teacher's sampler begin with: ``sampler.temperature=0.6``."""


@dataclass(frozen=True)
class Source:
    """One source: what ``data.path`` may be, and what its rows do not say of themselves."""

    path: str
    name: str = ""
    """What the manifest calls it; the file's name where it is not given."""
    split: str = "train"
    subset: str | None = None
    problem_field: str | None = None
    gold_field: str | None = None
    trace_field: str | None = None
    teacher: str | None = None
    """Who wrote its traces, where a trace does not say."""
    sampler: dict[str, str] = field(default_factory=dict, hash=False)
    """Settings with which its traces were sampled, as far as they are known."""

    def data(self) -> Data:
        """The same for the readers of ``red_mcore.data``."""
        return Data(
            path=self.path,
            split=self.split,
            subset=self.subset,
            problem_field=self.problem_field,
            gold_field=self.gold_field,
            trace_field=self.trace_field,
        )


@dataclass(frozen=True)
class Rules:
    """The rules by which rows and traces are kept. All of them are in the manifest, for they decide
    what the set holds; what does not, such as the number of processes, is no rule."""

    benchmarks: tuple[str, ...] = ()
    """Files of benchmarks, or folders of such."""
    overlap_words: int = 13
    """Which n-grams decide: one of SIZES."""
    overlap_share: float = 0.5
    """Share of a benchmark problem's n-grams in one text from which on the text is left out."""
    near: float | None = 0.7
    """Jaccard similarity of two problems' pairs of words from which on they are near duplicates;
    None does not look for any."""
    max_trace: int | None = None
    """Longest trace, in units; None keeps all lengths."""
    unit: Unit = "words"
    tokenizer: str | None = None
    """Folder of the tokenizer that counts, for the unit ``tokens``."""
    long: str = "drop"
    """What becomes of a longer trace: one of LONG."""
    traces: str = "correct"
    """Which verdicts a trace may have: one of KEEP."""
    need_trace: bool = False
    """Leave out problems without a trace that is kept."""
    boxed_only: bool = True
    """Only a trace's last box counts as its answer, as ``reward.boxed_only``."""
    timeout_seconds: float = 5.0
    """CPU time of one verdict, as ``reward.timeout_seconds``."""
    max_broken: float = 0.1
    """Share of a source's rows that may be broken; above it the preparation stops."""


def parse_sources(words: Sequence[str]) -> tuple[Source, ...]:
    """The sources of a command line: each path may be followed by ``field=value`` of its own.

    RecipeError for a field without a path before it, or of no source, and for two of one name.
    """
    names = {one.name for one in fields(Source)} - {"path", "sampler"}
    found: list[Source] = []
    for word in words:
        key, mark, value = word.partition("=")
        is_field = mark and re.fullmatch(r"[a-z_]+(\.\w+)?", key)
        if not is_field or Path(word).exists():
            found.append(Source(word, files_name(word)))
            continue
        if not found:
            raise RecipeError(f"{word}: no source stands before it; write the source first")
        last = found[-1]
        if key.startswith(SAMPLER):
            sampler = {**last.sampler, key.removeprefix(SAMPLER): value}
            found[-1] = replace(last, sampler=sampler)
        elif key in names:
            change: dict[str, Any] = {key: value}
            found[-1] = replace(last, **change)
        else:
            known = ", ".join(sorted(names))
            raise RecipeError(f"{word}: a source has no '{key}': use {known} or {SAMPLER}NAME")
    if not found:
        raise RecipeError("no source is named: name a file, folder, hub name or function")
    for one in found:
        if sum(other.name == one.name for other in found) > 1:
            raise RecipeError(
                f"two sources are called {one.name}: name one, for example"
                f" {one.path} name={one.name}2"
            )
    return tuple(found)


def files_name(path: str) -> str:
    """A short name of a source: its file's or folder's without suffix, or what it is called."""
    if files.is_function(path):
        return path
    name = Path(path).name
    return name[: len(name) - len(files.suffix(path))] or path


def check(rules: Rules) -> None:
    """RecipeError, naming the option, for what cannot be meant."""
    for name, allowed in (("long", LONG), ("traces", KEEP), ("unit", UNITS)):
        if getattr(rules, name) not in allowed:
            raise RecipeError(f"--{name} {getattr(rules, name)}: use one of {', '.join(allowed)}")
    if rules.overlap_words not in SIZES:
        sizes = " or ".join(map(str, SIZES))
        raise RecipeError(f"--overlap-words {rules.overlap_words}: use {sizes}")
    for name in ("overlap_share", "near"):
        value = getattr(rules, name)
        if value is not None and not 0 < value <= 1:
            raise RecipeError(f"--{name.replace('_', '-')} {value}: want above 0, to 1")
    if not 0 <= rules.max_broken <= 1:
        raise RecipeError(f"--max-broken {rules.max_broken}: want 0 to 1")
    if rules.max_trace is not None and rules.max_trace < 1:
        raise RecipeError(f"--max-trace {rules.max_trace}: want 1 or more")
    if (rules.unit == "tokens") != (rules.tokenizer is not None):
        raise RecipeError(
            "--unit tokens and --tokenizer FOLDER belong together: give both, or neither"
        )


def as_written(rules: Rules) -> dict[str, Any]:
    """The rules as JSON has them."""
    return asdict(rules) | {"benchmarks": list(rules.benchmarks)}
