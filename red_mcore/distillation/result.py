"""What a distillation leaves: the set in the project's schema, and its manifest.

Both depend on ledger, problems and settings alone, not on when and in which order answers came.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from red_mcore.data import schema
from red_mcore.data.schema import Entry
from red_mcore.distillation.keeping import Seen, kept, wanted
from red_mcore.distillation.ledger import Ledger, Line
from red_mcore.distillation.settings import Keeping, Prices, Sampling
from red_mcore.distillation.teacher import Task
from red_mcore.rewards.verifier import NO_VERDICT, VERDICTS
from red_mcore.samples.records import Trace
from red_mcore.system import disk
from red_mcore.tracking.provenance import versions

MANIFEST = "manifest.json"
TEACHERS = "teachers"
"""The key of ``meta`` that says of each teacher how it was asked, and what came of it."""
_SHOWN = 5
"""Examples of what was refused or left out."""


class Result:
    """The set of a ledger whose answers are all there."""

    def __init__(
        self,
        tasks: Sequence[Task],
        seen: Sequence[dict[int, Seen]],
        ledger: Ledger,
        source: str,
        sampling: Sampling,
        keeping: Keeping,
        *,
        add: bool = False,
    ) -> None:
        """``seen``: what is known of the answers to each of ``tasks``. ``source`` is what traces
        call the teacher. ``add``: traces of the problems' own rows stay, but for those of this
        teacher."""
        self._tasks, self._seen, self._ledger = tasks, seen, ledger
        self._source, self._sampling, self._keeping, self._add = source, sampling, keeping, add
        self._counts: Counter[str] = Counter()
        self._without: list[str] = []

    def write(self, file: Path) -> dict[str, Any]:
        """Write the set, which appears whole or not at all, and return the counts of it."""
        self._counts.clear()
        self._without.clear()
        schema.write(file, self._entries())
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return {
            "file": file.name,
            "sha256": digest,
            "problems": len(self._tasks),
            "problems_with_traces": self._counts["problems"],
            "traces": self._counts["traces"],
            "traces_of_the_source": self._counts["own"],
            "verified": self._counts["verified"],
            "cut_by_the_limit": self._counts["cut"],
            "with_a_banned_text": self._counts["banned"],
            "problems_without_a_trace": {
                "count": len(self._without),
                "examples": self._without[:_SHOWN],
            },
        }

    def _entries(self) -> Iterator[Entry]:
        for task, seen in zip(self._tasks, self._seen, strict=True):
            entry = task.entry
            own = tuple(t for t in entry.traces if t.source != self._source) if self._add else ()
            made = tuple(self._trace(entry.id, index) for index in kept(self._keeping, seen))
            if not made and not own:
                self._without.append(entry.id)
                continue
            self._counts["problems"] += 1
            self._counts["own"] += len(own)
            self._counts["traces"] += len(made)
            yield replace(entry, traces=own + made, meta=self._meta(entry, seen))

    def _trace(self, id_: str, index: int) -> Trace:
        line = self._ledger.lines[id_, index]
        answer = self._ledger.answer((id_, index))
        verified = _verified(line)
        lower = answer.text.lower()
        self._counts["verified"] += verified is True
        self._counts["cut"] += line.finish_reason == "length"
        self._counts["banned"] += any(text.lower() in lower for text in self._sampling.banned)
        return Trace(answer.text, self._source, verified, answer.tokens, line.finish_reason)

    def _meta(self, entry: Entry, seen: dict[int, Seen]) -> dict[str, Any]:
        asked = [index for index in wanted(self._keeping, seen) if index in seen]
        here = {
            **self._sampling.row(),
            "asked": len(asked),
            "correct": sum(seen[index].is_correct for index in asked),
        }
        earlier = entry.meta.get(TEACHERS, {}) if self._add else {}
        return entry.meta | {TEACHERS: earlier | {self._source: here}}


def _verified(line: Line) -> bool | None:
    """Whether the answer is the gold; None where nobody could say."""
    if line.verdict is None or line.verdict.verdict in NO_VERDICT:
        return None
    return line.verdict.verdict == "correct"


def totals(lines: Sequence[Line], prices: Prices) -> dict[str, Any]:
    """Of all answers that were asked for: verdicts, tokens, cost."""
    verdicts = Counter(line.verdict.verdict for line in lines if line.verdict is not None)
    reasons = Counter(line.finish_reason for line in lines)
    prompts = sum(line.prompt_tokens for line in lines)
    answers = sum(line.tokens for line in lines if line.has_tokens)
    found: dict[str, Any] = {
        "answers": len(lines),
        "verdicts": {verdict: verdicts[verdict] for verdict in VERDICTS},
        "finish_reasons": dict(sorted(reasons.items())),
        "empty": sum(line.is_empty for line in lines),
        "prompt_tokens": prompts,
        "answer_tokens": answers,
        "answers_without_a_count_of_tokens": sum(not line.has_tokens for line in lines),
    }
    if prices.prompt or prices.answer:
        found["cost"] = round(prices.of(prompts, answers), 6)
    return found


def manifest(
    folder: Path,
    *,
    teacher: dict[str, Any],
    source: dict[str, Any],
    sampling: Sampling,
    keeping: Keeping,
    asked: dict[str, Any],
    written: dict[str, Any],
    refused: Sequence[tuple[str, int, str]],
    left_out: Sequence[tuple[str, str]],
) -> Path:
    """Write ``manifest.json``.

    ``refused``: id, number and reason of the requests that the teacher would not answer.
    ``left_out``: id and fault of the problems whose gold no answer can meet.
    """
    row = {
        "teacher": teacher,
        "data": source,
        "sampling": sampling.row(),
        "keeping": asdict(keeping),
        "asked": asked,
        "written": written,
        "refused": {
            "count": len(refused),
            "examples": [
                {"id": id_, "index": index, "reason": reason}
                for id_, index, reason in sorted(refused)[:_SHOWN]
            ],
        },
        "golds_that_cannot_be_used": {
            "count": len(left_out),
            "examples": [{"id": id_, "fault": fault} for id_, fault in left_out[:_SHOWN]],
        },
        "versions": versions(),
    }
    place = folder / MANIFEST
    disk.write_atomic(place, json.dumps(row, indent=2, ensure_ascii=False) + "\n")
    return place
