"""Everything that an analysis finds out about one evaluation, and as JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from red_mcore.analysis.groups import OfResponse, groups, problem_ids
from red_mcore.analysis.judge import BEHAVIOURS, Counts, Judgements
from red_mcore.analysis.lengths import Lengths, lengths, longer_when_incorrect
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
    values, found_lengths, words = {}, {}, {}
    for name, part in groups(responses).items():
        values[name] = [_length(response, unit) for response in part]
        found_lengths[name] = lengths(values[name], problem_ids(part))
        words[name] = frequencies(part)
    by_benchmark: dict[str, list[Response]] = {}
    for response in responses:
        by_benchmark.setdefault(response.benchmark, []).append(response)
    return Findings(
        name=evaluation.name,
        file=str(evaluation.file),
        benchmarks={name: _accuracy(part) for name, part in by_benchmark.items()},
        unit=unit,
        lengths=found_lengths,
        longer_when_incorrect=longer_when_incorrect(responses, values["all"]),
        words=words,
        values=values,
    )


def _length(response: Response, unit: str) -> float:
    if unit == "words":
        return float(count(response.text, ()).words)
    assert response.tokens is not None, "tokens are the unit where all are known"
    return float(response.tokens)


def _accuracy(responses: Sequence[Response]) -> Accuracy:
    """The numbers of one benchmark."""
    problems = problem_ids(responses)
    correct = mean([response.is_correct for response in responses], problems)
    verdicts = dict(Counter(response.verdict for response in responses))
    cut = Counter(response.truncated for response in responses)
    truncated = None if None in cut else cut[True] / cut.total()
    return Accuracy(len(set(problems)), len(responses), correct, truncated, verdicts)


def find_positions(
    scored: Sequence[Scored],
    ids: Mapping[str, Sequence[int]],
    before: Sequence[Scored] | None = None,
) -> dict[str, Positions]:
    """Positions by group; differences to ``before``, the same responses, where that is given."""
    theirs = groups(before) if before else {}
    return {name: positions(part, ids, theirs.get(name)) for name, part in groups(scored).items()}


@dataclass(frozen=True)
class _Judged(OfResponse):
    """A response that the judge has counts of."""

    counts: Counts


def find_behaviours(responses: Sequence[Response], judgements: Judgements) -> Behaviours:
    """Means over the responses that have counts."""
    judged = []
    for response, counts in zip(responses, judgements.counts, strict=True):
        if counts is not None:
            judged.append(_Judged(response, counts))
    found: dict[str, dict[str, Estimate]] = {}
    for name, part in groups(judged).items():
        found[name] = {}
        for kind in BEHAVIOURS:
            found[name][kind] = mean([one.counts[kind] for one in part], problem_ids(part))
    return Behaviours(len(judged), judgements.failures, found)


def as_json(value: Any) -> Any:
    """Data classes as objects, without fields that say so; None for what JSON has no number for."""
    if is_dataclass(value):
        hidden = {field.name for field in fields(value) if not field.metadata.get("json", True)}
        return {key: as_json(inner) for key, inner in vars(value).items() if key not in hidden}
    if isinstance(value, Mapping):
        return {str(key): as_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
