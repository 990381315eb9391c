"""Everything that an analysis finds out about one evaluation, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np

from red_mcore.analysis.estimates import Estimate, mean
from red_mcore.analysis.judge import BEHAVIOURS, Judgements
from red_mcore.analysis.lengths import Lengths, groups, lengths, longer_when_incorrect
from red_mcore.analysis.positions import Positions, RankShift, Scored, positions, rank_shift
from red_mcore.analysis.recorded import Evaluation, Response
from red_mcore.analysis.words import Frequency, count, frequencies


@dataclass(frozen=True)
class Accuracy:
    """Of one benchmark."""

    problems: int
    responses: int
    accuracy: Estimate
    truncated: float | None
    """Share cut off by the length limit; None where that is not known."""
    verdicts: dict[str, int]

    @property
    def told(self) -> str:
        return ", ".join(f"{verdict} {number}" for verdict, number in self.verdicts.items())


@dataclass(frozen=True)
class Likelihood:
    """What models say of an evaluation's responses."""

    model: str
    original: str | None
    responses: int
    left_out: dict[str, int]
    """Why -> responses that the model did not score."""
    tokenized_here: int
    """Responses whose token ids were not recorded."""
    thinking_tokens: dict[str, int]
    """list of words -> tokens of the vocabulary that are one of them."""
    own: dict[str, Positions]
    """By group (all, correct, incorrect)."""
    before: dict[str, Positions] | None
    """Under the original model."""
    change: dict[str, Positions] | None
    """Own minus original."""
    shift: RankShift | None
    shift_responses: int
    """Responses that both models scored."""
    texts: dict[int, str]
    """Text of each token that ``shift`` names."""


@dataclass(frozen=True)
class Behaviours:
    """What the judge counted."""

    judged: int
    failures: dict[str, int]
    """Why -> responses without counts."""
    per_response: dict[str, dict[str, Estimate]]
    """group -> behaviour."""


@dataclass
class Findings:
    """Of one evaluation."""

    name: str
    file: str
    benchmarks: dict[str, Accuracy]
    unit: str
    """Of lengths: tokens or words."""
    lengths: dict[str, Lengths]
    """By group."""
    longer_when_incorrect: Estimate
    words: dict[str, dict[str, dict[str, Frequency]]]
    """group -> list of words -> entry, or ``all`` -> frequency."""
    values: dict[str, list[float]] = field(metadata={"json": False})
    """Length of each response of a group, for the histogram."""
    likelihood: Likelihood | None = None
    behaviours: Behaviours | None = None


def find(evaluation: Evaluation, responses: Sequence[Response], unit: str) -> Findings:
    """Lengths and words; ``responses`` are those of the evaluation, perhaps with token counts filled in."""
    parts = groups(responses)
    values = {name: [_length(response, unit) for response in part] for name, part in parts.items()}
    return Findings(
        name=evaluation.name,
        file=str(evaluation.file),
        benchmarks=_benchmarks(responses),
        unit=unit,
        lengths={name: lengths(values[name], [r.problem_id for r in part]) for name, part in parts.items()},
        longer_when_incorrect=longer_when_incorrect(responses, values["all"]),
        words={name: frequencies(part) for name, part in parts.items()},
        values=values,
    )


def _length(response: Response, unit: str) -> float:
    return float(count(response.text, ()).words if unit == "words" else response.tokens)


def _benchmarks(responses: Sequence[Response]) -> dict[str, Accuracy]:
    found = {}
    for name in dict.fromkeys(response.benchmark for response in responses):
        mine = [response for response in responses if response.benchmark == name]
        problems = [response.problem_id for response in mine]
        cut = [response.truncated for response in mine]
        verdicts = [response.verdict for response in mine]
        found[name] = Accuracy(
            len(set(problems)),
            len(mine),
            mean([float(response.is_correct) for response in mine], problems),
            None if None in cut else float(np.mean(cut)),
            {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)},
        )
    return found


def find_positions(
    scored: Sequence[Scored], ids: Mapping[str, Sequence[int]], before: Sequence[Scored] | None = None
) -> dict[str, Positions]:
    """By group; differences to ``before`` where that is given."""
    found = {}
    for name in ("all", "correct", "incorrect"):
        inside = [name == "all" or s.response.is_correct == (name == "correct") for s in scored]
        mine, theirs = (
            None if side is None else [s for s, is_in in zip(side, inside, strict=True) if is_in]
            for side in (scored, before)
        )
        found[name] = positions(mine, ids, theirs)
    return found


def find_shift(own: Sequence[Scored], before: Sequence[Scored], least: int) -> RankShift | None:
    """None of no responses."""
    return rank_shift(own, before, least=least) if own else None


def find_behaviours(responses: Sequence[Response], judgements: Judgements) -> Behaviours:
    """Means over the responses that have counts."""
    counted = [
        (response, counts) for response, counts in zip(responses, judgements.counts, strict=True) if counts is not None
    ]
    found: dict[str, dict[str, Estimate]] = {}
    for name in ("all", "correct", "incorrect"):
        mine = [(r, counts) for r, counts in counted if name == "all" or r.is_correct == (name == "correct")]
        problems = [response.problem_id for response, _ in mine]
        found[name] = {kind: mean([counts[kind] for _, counts in mine], problems) for kind in BEHAVIOURS}
    return Behaviours(len(counted), judgements.failures, found)


def as_json(value: Any) -> Any:
    """Data classes as objects, without fields that say so; None for what JSON has no number for."""
    if is_dataclass(value):
        shown = [f.name for f in fields(value) if f.metadata.get("json", True)]
        return {name: as_json(getattr(value, name)) for name in shown}
    if isinstance(value, Mapping):
        return {str(key): as_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
