"""Everything that an analysis finds out about one evaluation, and as JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np

from red_mcore.analysis.judge import BEHAVIOURS, Judgements
from red_mcore.analysis.lengths import Lengths, groups, lengths, longer_when_incorrect
from red_mcore.analysis.positions import Positions, RankShift, Scored, positions
from red_mcore.analysis.recorded import Evaluation
from red_mcore.analysis.words import Frequency, count, frequencies
from red_mcore.samples.responses import Response
from red_mcore.stats import Estimate, mean


@dataclass(frozen=True)
class Accuracy:
    """The accuracy on one benchmark."""

    problems: int
    responses: int
    accuracy: Estimate
    truncated: float | None
    """Share cut off by the length limit; None where that is not known."""
    verdicts: dict[str, int]


@dataclass(frozen=True)
class Likelihood:
    """What models say of an evaluation's responses; positions are by group."""

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
    """What is known of one evaluation; by group (all, correct, incorrect) where it says so."""

    name: str
    file: str
    benchmarks: dict[str, Accuracy]
    unit: str
    """The unit of lengths: tokens or words."""
    lengths: dict[str, Lengths]
    """The lengths by group."""
    longer_when_incorrect: Estimate
    words: dict[str, dict[str, dict[str, Frequency]]]
    """group -> list of words -> entry, or ``all`` -> frequency."""
    values: dict[str, list[float]] = field(metadata={"json": False})
    """Length of each response of a group, for the histogram."""
    likelihood: Likelihood | None = None
    behaviours: Behaviours | None = None


def find(evaluation: Evaluation, responses: Sequence[Response], unit: str) -> Findings:
    """Lengths and words; ``responses`` are those of the evaluation, perhaps with token counts
    filled in."""
    parts = groups(responses)
    values = {}
    for name, part in parts.items():
        values[name] = [_length(response, unit) for response in part]
    problems = {name: [one.problem_id for one in part] for name, part in parts.items()}
    return Findings(
        name=evaluation.name,
        file=str(evaluation.file),
        benchmarks=_benchmarks(responses),
        unit=unit,
        lengths={name: lengths(values[name], problems[name]) for name in parts},
        longer_when_incorrect=longer_when_incorrect(responses, values["all"]),
        words={name: frequencies(part) for name, part in parts.items()},
        values=values,
    )


def _length(response: Response, unit: str) -> float:
    if unit == "words":
        return float(count(response.text, ()).words)
    assert response.tokens is not None, "tokens are the unit where all are known"
    return float(response.tokens)


def _benchmarks(responses: Sequence[Response]) -> dict[str, Accuracy]:
    by_name: dict[str, list[Response]] = {}
    for response in responses:
        by_name.setdefault(response.benchmark, []).append(response)
    found = {}
    for name, part in by_name.items():
        problems = [response.problem_id for response in part]
        accuracy = mean([float(response.is_correct) for response in part], problems)
        cut = [response.truncated for response in part]
        truncated = None if None in cut else float(np.mean(cut))
        verdicts = dict(Counter(response.verdict for response in part))
        found[name] = Accuracy(len(set(problems)), len(part), accuracy, truncated, verdicts)
    return found


def find_positions(
    scored: Sequence[Scored],
    ids: Mapping[str, Sequence[int]],
    before: Sequence[Scored] | None = None,
) -> dict[str, Positions]:
    """Positions by group; differences to ``before``, the same responses, where that is given."""
    mine = groups(scored)
    theirs = groups(before) if before is not None else None
    return {name: positions(mine[name], ids, theirs and theirs[name]) for name in mine}


def find_behaviours(responses: Sequence[Response], judgements: Judgements) -> Behaviours:
    """Means over the responses that have counts."""
    counts = dict(zip(map(id, responses), judgements.counts, strict=True))
    judged = [response for response in responses if counts[id(response)] is not None]
    found: dict[str, dict[str, Estimate]] = {}
    for name, part in groups(judged).items():
        problems = [response.problem_id for response in part]
        found[name] = {}
        for kind in BEHAVIOURS:
            found[name][kind] = mean([counts[id(one)][kind] for one in part], problems)
    return Behaviours(len(judged), judgements.failures, found)


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
