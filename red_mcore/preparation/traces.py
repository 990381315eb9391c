"""Which traces of a problem are kept, and what is known of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from red_mcore.data.schema import Entry
from red_mcore.preparation.judging import Judge
from red_mcore.preparation.lengths import Measure
from red_mcore.preparation.overlap import Index
from red_mcore.preparation.settings import Rules
from red_mcore.preparation.spool import Row
from red_mcore.rewards.verifier import NO_VERDICT, Question
from red_mcore.samples.records import Trace

LONG, REPEATED, BENCHMARK = "trace too long", "repeated trace", "trace of a benchmark problem"
"""Reasons for which a trace is left out, beside its verdict (``trace wrong``)."""


@dataclass
class Note:
    """What was found out about one trace."""

    number: int
    """Its place among its row's traces, from 1."""
    length: int
    teacher: str | None
    reason: str | None = None
    """Why it is left out."""
    detail: str = ""
    verdict: str | None = None
    """One of the verifier's; None where nobody asked, because the trace is left out before."""
    overlap: dict[str, Any] | None = None
    """The benchmark problem of which it has most."""


@dataclass
class Choice:
    """A problem of the set: the row that it is taken from, and those that repeat it, whose traces
    it has as well."""

    rows: list[Row]
    overlap: dict[str, Any] | None = None
    """The benchmark problem of which it has most, though too little to be left out."""
    notes: list[list[Note]] = field(default_factory=list)
    """Of each of ``rows``, a note on each of its traces."""

    @property
    def kept(self) -> int:
        """How many traces it keeps."""
        return sum(note.reason is None for notes in self.notes for note in notes)


def judge_traces(
    choices: Sequence[tuple[Choice, Sequence[Entry]]],
    rules: Rules,
    measure: Measure,
    index: Index | None,
    judge: Judge,
) -> None:
    """Write the notes of each choice, whose rows' entries are given.

    The order of the tests is from cheap to dear: what is left out for one reason costs no further
    test.
    """
    texts = [trace.text for _, entries in choices for one in entries for trace in one.traces]
    lengths = iter(measure.lengths(texts))
    asked: list[tuple[Note, Question]] = []
    for choice, entries in choices:
        seen: set[str] = set()
        for entry in entries:
            notes = []
            for number, trace in enumerate(entry.traces, start=1):
                note = Note(number, next(lengths), trace.source)
                _test(note, trace.text, seen, rules, index)
                seen.add(trace.text)
                if note.reason is None:
                    # The gold is the kept row's: that of a repeat says the same in other letters.
                    asked.append((note, Question(choice.rows[0].gold, trace.text)))
                notes.append(note)
            choice.notes.append(notes)
    verdicts = judge.verdicts([question for _, question in asked])
    for (note, _), verdict in zip(asked, verdicts, strict=True):
        note.verdict = verdict
        if not allowed(rules.traces, verdict):
            note.reason = f"trace {verdict}"


def _test(note: Note, text: str, seen: set[str], rules: Rules, index: Index | None) -> None:
    if rules.max_trace is not None and rules.long == "drop" and note.length > rules.max_trace:
        note.reason = LONG
        note.detail = f"{note.length} {rules.unit}, more than {rules.max_trace}"
    elif text in seen:
        note.reason = REPEATED
    elif index is not None and (hits := index.hits(text)):
        note.overlap = hits[0].told()
        if index.is_too_much(hits[0]):
            note.reason = BENCHMARK
            note.detail = f"{hits[0].item.benchmark} problem {hits[0].item.number}"


def allowed(rule: str, verdict: str) -> bool:
    """Whether ``--traces`` lets a trace of this verdict pass."""
    if rule == "all":
        return True
    return verdict == "correct" or (rule == "not_wrong" and verdict in NO_VERDICT)


def finished(
    choice: Choice,
    entries: Sequence[Entry],
    rules: Rules,
    measure: Measure,
    shares: dict[int, float],
) -> Entry:
    """The entry as the set has it: the traces that are kept, with their lineage in ``meta``.

    ``shares``: of each source the share of the set's traces.
    """
    traces: list[Trace] = []
    lineages: list[dict[str, Any]] = []
    for row, entry, notes in zip(choice.rows, entries, choice.notes, strict=True):
        known = entry.meta["traces"]
        for trace, note, lineage in zip(entry.traces, notes, known, strict=True):
            if note.reason is not None:
                continue
            found = {**lineage, "teacher": trace.source, "verdict": note.verdict}
            found["length"] = {rules.unit: note.length}
            found["overlap"] = note.overlap
            found["share"] = round(shares[row.source], 6)
            if rules.max_trace is not None and note.length > rules.max_trace:
                trace = _cut(trace, rules, measure)
                found["cut_to"] = rules.max_trace
            traces.append(replace(trace, verified=verified(note.verdict)))
            lineages.append(found)
    first = entries[0]
    meta = {**first.meta, "overlap": choice.overlap, "traces": lineages}
    if len(choice.rows) > 1:
        repeats = [f"{one.meta['origin']} {one.meta['row']}" for one in entries[1:]]
        meta["repeated_in"] = repeats
    return replace(first, traces=tuple(traces), meta=meta)


def _cut(trace: Trace, rules: Rules, measure: Measure) -> Trace:
    assert rules.max_trace is not None
    text = measure.cut(trace.text, rules.max_trace)
    # How long the rest is by its teacher's tokenizer, nobody has counted.
    return replace(trace, text=text, finish_reason="length", tokens=None)


def verified(verdict: str | None) -> bool | None:
    """``Trace.verified`` of a verdict: unknown where the judging ended without one."""
    return None if verdict is None or verdict in NO_VERDICT else verdict == "correct"
