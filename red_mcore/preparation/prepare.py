"""From sources to one verified set with a manifest, in stages that a kill interrupts for no more
than the batch at hand."""

from __future__ import annotations

import dataclasses
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from red_mcore.config.recipe import RecipeError
from red_mcore.data import duplicates, schema
from red_mcore.data.schema import Entry
from red_mcore.preparation import manifest, overlap, spool, traces
from red_mcore.preparation.judging import Judge, made_by
from red_mcore.preparation.ledger import Ledger
from red_mcore.preparation.lengths import Measure
from red_mcore.preparation.reading import Left
from red_mcore.preparation.repeats import Near
from red_mcore.preparation.settings import Rules, Source
from red_mcore.preparation.spool import Row, Spool
from red_mcore.preparation.traces import Choice
from red_mcore.rewards.answers import normal
from red_mcore.system import disk
from red_mcore.tracking.console import Console

GOLD, BENCHMARK = "gold that no answer can meet", "problem of a benchmark"
REPEAT, SEVERAL, NEAR = "repeat", "repeat with another gold", "near duplicate"
NO_TRACE = "without a trace that is kept"
"""Reasons for which a row is left out, beside those of ``reading``."""
STAGES = 6
CHUNK = 128
"""Problems whose traces are in memory at once."""


@dataclass
class State:
    """What is known of the rows so far."""

    spools: list[Spool]
    left: list[Left] = field(default_factory=list)
    """All that is left out, in the order of the stages."""
    seen: dict[str, overlap.Seen] = field(default_factory=dict)
    variants: int = 0
    """Rows that are worded like another, with other numbers or another gold; they are kept."""

    def name(self, row: Row) -> str:
        """Where a row is, with its source."""
        return f"{self.spools[row.source].source.name} {row.where}"

    def drop(self, row: Row, reason: str, detail: str = "") -> None:
        """Leave a row out."""
        source = self.spools[row.source].source.name
        self.left.append(Left(source, row.where, reason, detail))

    def entries(self, choice: Choice) -> list[Entry]:
        """The whole entries of a choice's rows."""
        return [self.spools[row.source].entry(row) for row in choice.rows]


def prepare(
    sources: tuple[Source, ...],
    rules: Rules,
    out: Path,
    form: str = "jsonl",
    workers: int = 1,
    replace: bool = False,
) -> dict[str, Any]:
    """Write ``out/set.jsonl`` (or ``.parquet``), ``out/dropped.jsonl`` and ``out/manifest.json``;
    what the last one says.

    All three are the same bytes for the same sources, rules and versions, however often the
    preparation was killed: what was computed before is in ``out/work``, which is removed at the
    end. RecipeError for what cannot be read or meant, for a folder that has another set (but with
    ``replace``), and where nothing is left.
    """
    places = [source.path for source in sources]
    hashes = spool.hashes_of(
        places + [str(file) for file in overlap.benchmark_files(rules.benchmarks)]
    )
    asked = manifest.asked(sources, rules, form, hashes)
    with _alone(out):
        there = manifest.finished(out, asked, replace)
        if there is None or not all(place in hashes for place in places):
            there = _prepare(sources, rules, out, form, workers, hashes, asked)
        shutil.rmtree(out / "work")
    return there


def _prepare(
    sources: tuple[Source, ...],
    rules: Rules,
    out: Path,
    form: str,
    workers: int,
    hashes: dict[str, str],
    asked: dict[str, Any],
) -> dict[str, Any]:
    work = out / "work"
    measure = Measure(rules)
    index, seen = overlap.load(rules, hashes) if rules.benchmarks else (None, {})
    with Console("prepare", STAGES) as console:
        state = State(list(_read(sources, rules, hashes, work, console)), seen=seen)
        rows = []
        for one in state.spools:
            state.left += one.left
            rows += one.rows
        _done(console, 1, f"{len(rows):,} rows have a problem and a gold")
        ledger = Ledger(work / "ledger.jsonl", made_by(rules))
        with Judge(rules, workers, ledger) as judge:
            rows = _good_golds(rows, state, judge, console)
            _done(console, 2, f"{len(rows):,} of these golds can be met")
            choices = _no_benchmarks(rows, state, index, console)
            _done(console, 3, f"{len(choices):,} problems: of no benchmark that was given")
            choices = _different(choices, state, judge, rules, console)
            _done(console, 4, f"{len(choices):,} of these problems are different")
            choices = _with_traces(choices, state, rules, measure, index, judge, console)
        kept = sum(choice.kept for choice in choices)
        _done(console, 5, f"{kept:,} traces of {len(choices):,} problems are kept")
        if not choices:
            raise RecipeError(f"no problem is left: {manifest.told(manifest.counted(state.left))}")
        made = _write(choices, state, rules, measure, work, form, console)
        made |= manifest.of_state(choices, state, rules)
        found = manifest.place(out, work, asked, made)
        console.update(6, {})
    return found


def _done(console: Console, stage: int, text: str) -> None:
    console.print(text)
    console.update(stage, {})


def _read(
    sources: tuple[Source, ...], rules: Rules, hashes: dict[str, str], work: Path, console: Console
) -> Iterator[Spool]:
    console.phase("reading")
    for number, one in enumerate(spool.open_all(sources, hashes, work), start=1):
        one.check(rules.max_broken)
        console.part(number, len(sources))
        yield one


def _good_golds(rows: Sequence[Row], state: State, judge: Judge, console: Console) -> list[Row]:
    console.phase("looking at golds")
    faults = judge.gold_faults([row.gold for row in rows], console.part)
    kept = []
    for row, fault in zip(rows, faults, strict=True):
        if fault is None:
            kept.append(row)
        else:
            state.drop(row, GOLD, f"{row.gold[:60]!r} {fault}")
    return kept


def _no_benchmarks(
    rows: Sequence[Row], state: State, index: overlap.Index | None, console: Console
) -> list[Choice]:
    console.phase("comparing with benchmarks")
    kept = []
    for number, row in enumerate(rows):
        choice = Choice([row])
        hits = index.of_problem(row.problem) if index is not None else []
        if index is not None and hits:
            overlap.note(state.seen, index, hits, state.name(row))
            if index.is_too_much(hits[0]):
                item = hits[0].item
                told = hits[0].told()
                shares = f"share_13 {told['share_13']}, similarity {told['similarity']}"
                state.drop(row, BENCHMARK, f"{item.benchmark} problem {item.number} ({shares})")
                continue
            choice.overlap = hits[0].told()
        kept.append(choice)
        if number % CHUNK == 0:
            console.part(number, len(rows))
    return kept


def _different(
    choices: Sequence[Choice], state: State, judge: Judge, rules: Rules, console: Console
) -> list[Choice]:
    """The choices without repeats, whose traces the first one gets, and without near duplicates."""
    console.phase("looking for repeats")
    groups: dict[str, list[Choice]] = defaultdict(list)
    for choice in choices:
        groups[duplicates.key(choice.rows[0].problem)].append(choice)
    several = _with_several_golds(groups, judge)
    firsts = []
    for key, group in groups.items():
        first, *others = group
        if key in several:
            # Nobody can tell which of the golds is right.
            for choice in group:
                golds = " and ".join(sorted({repr(one.rows[0].gold[:30]) for one in group}))
                state.drop(choice.rows[0], SEVERAL, golds)
            continue
        for other in others:
            state.drop(other.rows[0], REPEAT, f"of {state.name(first.rows[0])}")
            first.rows += other.rows
        firsts.append(first)
    return firsts if rules.near is None else _far(firsts, state, judge, rules.near, console)


def _with_several_golds(groups: dict[str, list[Choice]], judge: Judge) -> set[str]:
    """The keys of those problems that rows give different golds."""
    asked: list[tuple[str, tuple[str, str]]] = []
    for key, (first, *others) in groups.items():
        golds = {other.rows[0].gold for other in others}
        gold = first.rows[0].gold
        asked += [(key, (gold, one)) for one in sorted(golds) if not _same(gold, one)]
    answers = judge.same([pair for _, pair in asked])
    return {key for (key, _), same in zip(asked, answers, strict=True) if not same}


def _same(one: str, other: str) -> bool:
    return one == other or normal(one) == normal(other)


def _far(
    choices: Sequence[Choice], state: State, judge: Judge, threshold: float, console: Console
) -> list[Choice]:
    near, kept = Near(threshold), []
    for number, choice in enumerate(choices):
        row = choice.rows[0]
        alike, key = near.find(row.problem)
        like = None
        for one in alike:
            gold = choices[one.place].rows[0].gold
            if one.same_numbers and (_same(gold, row.gold) or judge.same([(gold, row.gold)])[0]):
                like = one
                break
        if like is not None:
            other = state.name(choices[like.place].rows[0])
            state.drop(row, NEAR, f"of {other} (similarity {like.similarity:.3f})")
            continue
        state.variants += bool(alike)
        near.add(number, key)
        kept.append(choice)
        if number % CHUNK == 0:
            console.part(number, len(choices))
    return kept


def _with_traces(
    choices: Sequence[Choice],
    state: State,
    rules: Rules,
    measure: Measure,
    index: overlap.Index | None,
    judge: Judge,
    console: Console,
) -> list[Choice]:
    console.phase("verifying traces")
    kept = []
    for start in range(0, len(choices), CHUNK):
        part = [(choice, state.entries(choice)) for choice in choices[start : start + CHUNK]]
        traces.judge_traces(part, rules, measure, index, judge)
        for choice, _ in part:
            for row, notes in zip(choice.rows, choice.notes, strict=True):
                for note in notes:
                    if note.reason == traces.BENCHMARK and note.overlap is not None:
                        state.seen[note.overlap["benchmark"]].traces += 1
                    if note.reason is not None:
                        name = state.spools[row.source].source.name
                        where = f"{row.where} trace {note.number}"
                        state.left.append(Left(name, where, note.reason, note.detail))
            if choice.kept or not rules.need_trace:
                kept.append(choice)
            else:
                state.drop(choice.rows[0], NO_TRACE)
        console.part(start + len(part), len(choices))
    return kept


def _write(
    choices: Sequence[Choice],
    state: State,
    rules: Rules,
    measure: Measure,
    work: Path,
    form: str,
    console: Console,
) -> dict[str, Any]:
    """The files of the set and of the drops, in the work folder; what the manifest says of them."""
    console.phase("writing")
    shares = manifest.shares(choices, len(state.spools))

    def entries() -> Iterator[Entry]:
        ids: set[str] = set()
        for number, choice in enumerate(choices):
            entry = traces.finished(choice, state.entries(choice), rules, measure, shares)
            yield _with_own_id(entry, ids)
            if number % CHUNK == 0:
                console.part(number, len(choices))

    name = f"set.{form}"
    with disk.writing(work / name):
        schema.write(work / name, entries())
    rows = [vars(left) for left in state.left]
    disk.write_lines(work / manifest.DROPPED, rows)
    return {
        "set": manifest.of_file(work / name, len(choices)),
        "dropped": manifest.of_file(work / manifest.DROPPED, len(rows)),
    }


def _with_own_id(entry: Entry, ids: set[str]) -> Entry:
    """The entry with an id that no entry before it has."""
    name, number = entry.id, 1
    while name in ids:
        number += 1
        name = f"{entry.id}#{number}"
    ids.add(name)
    return dataclasses.replace(entry, id=name)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """RecipeError where another process prepares into the same folder."""
    work = out / "work"
    refusal = f"--out {out}: another process prepares a set there: wait for it, or name another"
    with disk.alone(work / "lock", refusal):
        try:
            yield
        finally:
            if work.is_dir() and [file.name for file in work.iterdir()] == ["lock"]:
                shutil.rmtree(work)
