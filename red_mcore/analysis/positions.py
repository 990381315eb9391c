"""Probability, entropy and rank of tokens along responses, from the scores of ``likelihood``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from red_mcore.analysis.estimates import Estimate, ratio
from red_mcore.analysis.likelihood import TokenScores
from red_mcore.analysis.recorded import Response
from red_mcore.analysis.words import LISTS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

THIRDS = ("beginning", "middle", "end")
TENTHS = 10
MARGINAL = 2
"""Largest rank of a marginally shifted position; a larger one is shifted, 0 is not."""


@dataclass(frozen=True)
class Scored:
    """A response with the scores of its tokens."""

    response: Response
    token_ids: np.ndarray
    """[T]"""
    scores: TokenScores


def thinking_ids(tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> dict[str, list[int]]:
    """list of words -> ids of the tokens whose text, without space around it and in lower case, is one of its words.

    A word that the tokenizer splits, and an entry of several words, have none.
    """
    texts = tokenizer.batch_decode([[token] for token in range(min(len(tokenizer), vocab_size))])
    ids: dict[str, list[int]] = {}
    for token, text in enumerate(texts):
        ids.setdefault(text.strip().lower(), []).append(token)
    return {name: [token for word in words.entries for token in ids.get(word, ())] for name, words in LISTS.items()}


@dataclass(frozen=True)
class Track:
    """A quantity along the responses."""

    thirds: list[Estimate]
    tenths: list[Estimate]


@dataclass(frozen=True)
class Positions:
    """Tracks by kind of token: ``all``, and the tokens of each list of words."""

    probability: dict[str, Track]
    """Of the tokens that stand there."""
    entropy: dict[str, Track]
    """Of the distribution that they were drawn from, nats."""
    watched: dict[str, Track]
    """By list of words: probability that the next token is one of it, at every token."""


def positions(
    scored: Sequence[Scored], ids: Mapping[str, Sequence[int]], before: Sequence[Scored] | None = None
) -> Positions:
    """``ids``: list of words -> token ids, in the order in which they were watched.

    Token t of T stands in part floor(t x parts / T). Over all tokens each response counts once, however long it is;
    tokens of a list of words are few, and each counts once. With ``before``, the same responses scored by another
    model, all quantities are the differences to it, token by token.
    """
    values = [_quantities(s) for s in scored]
    if before is not None:
        values = [
            [one - other for one, other in zip(ours, _quantities(s), strict=True)]
            for ours, s in zip(values, before, strict=True)
        ]
    probabilities, entropies, *watched = (list(rows) for rows in zip(*values, strict=True)) if values else ([], [])
    members = {name: [np.isin(s.token_ids, list(tokens)) for s in scored] for name, tokens in ids.items()}
    problems = [s.response.problem_id for s in scored]

    def both(values: Sequence[np.ndarray], chosen: Sequence[np.ndarray] | None = None) -> Track:
        return Track(*(_track(values, chosen, problems, parts) for parts in (len(THIRDS), TENTHS)))

    return Positions(
        {"all": both(probabilities)} | {name: both(probabilities, where) for name, where in members.items()},
        {"all": both(entropies)} | {name: both(entropies, where) for name, where in members.items()},
        {name: both(rows) for name, rows in zip(ids, watched or [[]] * len(ids), strict=True)},
    )


def _quantities(scored: Scored) -> list[np.ndarray]:
    """Probability, entropy and the watched probabilities, [T] each."""
    return [np.exp(scored.scores.logp), scored.scores.entropy, *scored.scores.watched]


def _track(
    values: Sequence[np.ndarray], chosen: Sequence[np.ndarray] | None, problems: Sequence[tuple[str, int]], parts: int
) -> list[Estimate]:
    sums, counts = np.zeros((2, len(values), parts))
    for i, value in enumerate(values):
        part = np.arange(len(value)) * parts // max(len(value), 1)
        weight = np.ones(len(value)) if chosen is None else chosen[i].astype(float)
        sums[i] = np.bincount(part, weights=weight * value, minlength=parts)
        counts[i] = np.bincount(part, weights=weight, minlength=parts)
    if chosen is None:
        sums, counts = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0), (counts > 0).astype(float)
    return [ratio(sums[:, part], counts[:, part], problems) for part in range(parts)]


@dataclass(frozen=True)
class TokenShift:
    """One token, over all places where it was generated."""

    token: int
    count: int
    original_rank: float
    """Mean rank under the original model, 0 the most likely."""
    rank: float
    """Mean rank under the model that generated it."""

    @property
    def shift(self) -> float:
        return self.original_rank - self.rank


@dataclass(frozen=True)
class RankShift:
    """How far the tuned model's tokens are from what the original would have said (arXiv 2502.12143)."""

    original: dict[str, Estimate]
    """Share of positions by the token's rank under the original: ``unshifted``, ``marginal``, ``shifted``."""
    tuned: dict[str, Estimate]
    """The same under the tuned model itself: what sampling alone does."""
    mean_shift: Estimate
    """Original rank minus own rank."""
    tokens: list[TokenShift]
    """Those generated ``least`` times or more, the largest shift first."""


def rank_shift(tuned: Sequence[Scored], original: Sequence[Scored], *, least: int = 5) -> RankShift:
    """``tuned`` and ``original``: the same responses, scored by the two models."""
    problems = [s.response.problem_id for s in tuned]
    counts = [len(s.token_ids) for s in tuned]
    ids = np.concatenate([s.token_ids for s in tuned])
    own, other = (np.concatenate([s.scores.rank for s in side]).astype(float) for side in (tuned, original))
    kinds, place, number = np.unique(ids, return_inverse=True, return_counts=True)
    means = [np.bincount(place, weights=ranks) / number for ranks in (other, own)]
    tokens = [
        TokenShift(int(kind), int(n), float(first), float(second))
        for kind, n, first, second in zip(kinds, number, *means, strict=True)
        if n >= least
    ]
    shifts = [float((b.scores.rank - a.scores.rank).sum()) for a, b in zip(tuned, original, strict=True)]
    return RankShift(
        _buckets(original),
        _buckets(tuned),
        ratio(shifts, counts, problems),
        sorted(tokens, key=lambda token: (-token.shift, token.token)),
    )


def _buckets(scored: Sequence[Scored]) -> dict[str, Estimate]:
    problems = [s.response.problem_id for s in scored]
    counts = [len(s.token_ids) for s in scored]
    kinds = {
        "unshifted": lambda rank: rank == 0,
        "marginal": lambda rank: (rank > 0) & (rank <= MARGINAL),
        "shifted": lambda rank: rank > MARGINAL,
    }
    return {
        name: ratio([float(test(s.scores.rank).sum()) for s in scored], counts, problems)
        for name, test in kinds.items()
    }
