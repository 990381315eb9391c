"""Probability, entropy and rank of tokens along responses, from the scores of ``likelihood``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from red_mcore.analysis.likelihood import TokenScores
from red_mcore.analysis.words import LISTS
from red_mcore.samples.responses import Response
from red_mcore.stats import Estimate, ratio

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

    @property
    def is_correct(self) -> bool:
        return self.response.is_correct


def thinking_ids(tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> dict[str, list[int]]:
    """list of words -> ids of the tokens whose text, without space around it and in lower case, is
    one of its words.

    A word that the tokenizer splits, and an entry of several words, have none.
    """
    texts = tokenizer.batch_decode([[token] for token in range(min(len(tokenizer), vocab_size))])
    ids: dict[str, list[int]] = {}
    for token, text in enumerate(texts):
        ids.setdefault(text.strip().lower(), []).append(token)
    return {
        name: [token for word in words.entries for token in ids.get(word, ())]
        for name, words in LISTS.items()
    }


@dataclass(frozen=True)
class Track:
    """A quantity along the responses."""

    thirds: list[Estimate]
    tenths: list[Estimate]


@dataclass(frozen=True)
class Positions:
    """Tracks by kind of token: ``all``, and the tokens of each list of words."""

    probability: dict[str, Track]
    """The probability of the tokens that stand there."""
    entropy: dict[str, Track]
    """The entropy of the distribution that they were drawn from, nats."""
    watched: dict[str, Track]
    """List of words -> probability that the next token is one of it, at every token."""


def positions(
    scored: Sequence[Scored],
    ids: Mapping[str, Sequence[int]],
    before: Sequence[Scored] | None = None,
) -> Positions:
    """``ids``: list of words -> token ids, in the order in which they were watched.

    Token t of T stands in part floor(t x parts / T). Over all tokens each response counts once,
    however long it is; tokens of a list of words are few, and each counts once. With ``before``,
    the same responses scored by another model, all quantities are the differences to it, by token.
    """
    problems = [one.response.problem_id for one in scored]
    values = [_quantities(one) for one in scored]
    if before is not None:
        values = [ours - _quantities(one) for ours, one in zip(values, before, strict=True)]
    members = {}
    for name, tokens in ids.items():
        members[name] = [np.isin(one.token_ids, list(tokens)) for one in scored]

    def track(quantity: int, chosen: Sequence[np.ndarray] | None = None) -> Track:
        rows = [value[quantity] for value in values]
        thirds, tenths = (_track(rows, chosen, problems, n) for n in (len(THIRDS), TENTHS))
        return Track(thirds, tenths)

    def by_kind(quantity: int) -> dict[str, Track]:
        return {"all": track(quantity)} | {kind: track(quantity, members[kind]) for kind in ids}

    watched = {name: track(2 + place) for place, name in enumerate(ids)}
    return Positions(by_kind(0), by_kind(1), watched)


def _quantities(scored: Scored) -> np.ndarray:
    """Probability, entropy and the K watched probabilities, [2 + K, T]."""
    return np.stack([np.exp(scored.scores.logp), scored.scores.entropy, *scored.scores.watched])


def _track(
    values: Sequence[np.ndarray],
    chosen: Sequence[np.ndarray] | None,
    problems: Sequence[tuple[str, int]],
    parts: int,
) -> list[Estimate]:
    """An estimate for each of so many parts of the responses, of all tokens or the ``chosen``."""
    sums, counts = np.zeros((2, len(values), parts))
    for i, value in enumerate(values):
        part = np.arange(len(value)) * parts // max(len(value), 1)
        weight = np.ones(len(value)) if chosen is None else chosen[i].astype(float)
        sums[i] = np.bincount(part, weights=weight * value, minlength=parts)
        counts[i] = np.bincount(part, weights=weight, minlength=parts)
    if chosen is None:
        sums = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
        counts = (counts > 0).astype(float)
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
    """How far the tuned model's tokens are from what the original would have said (arXiv
    2502.12143)."""

    original: dict[str, Estimate]
    """Share of positions by the token's rank under the original: ``unshifted``, ``marginal``,
    ``shifted``."""
    tuned: dict[str, Estimate]
    """The shares under the tuned model itself: what sampling alone does."""
    mean_shift: Estimate
    """Original rank minus own rank."""
    tokens: list[TokenShift]
    """The tokens generated ``least`` times or more, the largest shift first."""


def rank_shift(
    tuned: Sequence[Scored], original: Sequence[Scored], *, least: int = 5
) -> RankShift | None:
    """``tuned`` and ``original``: the same responses, scored by the two models; None of none."""
    if not tuned:
        return None
    ids = np.concatenate([one.token_ids for one in tuned])
    own = np.concatenate([one.scores.rank for one in tuned])
    other = np.concatenate([one.scores.rank for one in original])
    kinds, place, number = np.unique(ids, return_inverse=True, return_counts=True)
    before = np.bincount(place, weights=other) / number
    after = np.bincount(place, weights=own) / number
    tokens = []
    for i in np.flatnonzero(number >= least):
        tokens.append(TokenShift(int(kinds[i]), int(number[i]), float(before[i]), float(after[i])))
    tokens.sort(key=lambda token: (-token.shift, token.token))
    ends = np.cumsum([len(one.token_ids) for one in tuned])[:-1]
    problems = [one.response.problem_id for one in tuned]
    shifts = np.split(other - own, ends)
    mean_shift = ratio([part.sum() for part in shifts], [len(part) for part in shifts], problems)
    shares = [_buckets(np.split(ranks, ends), problems) for ranks in (other, own)]
    return RankShift(*shares, mean_shift, tokens)


def _buckets(
    ranks: Sequence[np.ndarray], problems: Sequence[tuple[str, int]]
) -> dict[str, Estimate]:
    """Shares of positions by rank, [T] of each response."""
    sizes = [len(part) for part in ranks]
    found = {}
    for name, low, high in (
        ("unshifted", 0, 0),
        ("marginal", 1, MARGINAL),
        ("shifted", MARGINAL + 1, np.inf),
    ):
        inside = [float(((part >= low) & (part <= high)).sum()) for part in ranks]
        found[name] = ratio(inside, sizes, problems)
    return found
