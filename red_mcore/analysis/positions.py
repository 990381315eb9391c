"""Probability, entropy and rank of tokens along responses, from the scores of ``likelihood``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from red_mcore.analysis.groups import OfResponse, problem_ids
from red_mcore.analysis.likelihood import TokenScores
from red_mcore.analysis.words import LISTS
from red_mcore.stats import Estimate, ratio

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

THIRDS = ("beginning", "middle", "end")
TENTHS = 10
MARGINAL = 2
"""Largest rank of a marginally shifted position; a larger one is shifted, 0 is not."""


@dataclass(frozen=True)
class Scored(OfResponse):
    """A response with the scores of its tokens."""

    token_ids: np.ndarray
    """[T]"""
    scores: TokenScores


def thinking_ids(tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> dict[str, list[int]]:
    """list of words -> ids of the tokens whose text, without space around it and in lower case, is
    one of its words.

    A word that the tokenizer splits, and an entry of several words, have none.
    """
    texts = tokenizer.batch_decode([[token] for token in range(min(len(tokenizer), vocab_size))])
    ids: dict[str, list[int]] = {}
    for token, text in enumerate(texts):
        ids.setdefault(text.strip().lower(), []).append(token)
    found: dict[str, list[int]] = {}
    for name, words in LISTS.items():
        found[name] = []
        for entry in words.entries:
            found[name] += ids.get(entry, [])
    return found


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


class _Tokens:
    """The N tokens of all responses, one response after the other."""

    def __init__(self, scored: Sequence[Scored]) -> None:
        self.problems = problem_ids(scored)
        # Of no responses there is an empty array, which needs one to be joined.
        ids = [np.zeros(0, np.int32), *(one.token_ids for one in scored)]
        self.ids = np.concatenate(ids)
        self.sizes = np.array([len(part) for part in ids[1:]], int)
        self._owner = np.repeat(np.arange(len(self.sizes)), self.sizes)
        self._place = np.arange(len(self.ids)) - (np.cumsum(self.sizes) - self.sizes)[self._owner]

    def sums(self, values: np.ndarray, parts: int = 1) -> np.ndarray:
        """Sums of ``values`` [N] over each of so many parts of each response, [responses, parts].

        Token t of T stands in part floor(t x parts / T).
        """
        part = self._place * parts // self.sizes[self._owner]
        cells = len(self.sizes) * parts
        sums = np.bincount(self._owner * parts + part, weights=values, minlength=cells)
        return sums.astype(float).reshape(-1, parts)  # of no tokens they are integers

    def mean(self, values: np.ndarray) -> Estimate:
        """The mean of ``values`` [N] over all tokens."""
        return ratio(self.sums(values)[:, 0], self.sizes, self.problems)

    def along(self, values: np.ndarray, chosen: np.ndarray | None, parts: int) -> list[Estimate]:
        """The mean of ``values`` [N] in each part: of the ``chosen`` tokens [N], each of which
        counts once, or, for None, of all, where each response counts once."""
        weights = np.ones(len(self.ids)) if chosen is None else chosen.astype(float)
        tops, bottoms = self.sums(weights * values, parts), self.sums(weights, parts)
        if chosen is None:
            there = bottoms > 0  # a response shorter than ``parts`` has empty ones
            tops = np.divide(tops, bottoms, out=np.zeros_like(tops), where=there)
            bottoms = there.astype(float)
        return [ratio(tops[:, part], bottoms[:, part], self.problems) for part in range(parts)]


def positions(
    scored: Sequence[Scored],
    ids: Mapping[str, Sequence[int]],
    before: Sequence[Scored] | None = None,
) -> Positions:
    """``ids``: list of words -> token ids, in the order in which they were watched.

    Over all tokens each response counts once, however long it is; tokens of a list of words are
    few, and each counts once. With ``before``, the same responses scored by another model, all
    quantities are the differences to it, by token.
    """
    tokens, values = _Tokens(scored), _quantities(scored, len(ids))
    if before is not None:
        values = values - _quantities(before, len(ids))

    def track(quantity: np.ndarray, chosen: np.ndarray | None = None) -> Track:
        thirds = tokens.along(quantity, chosen, len(THIRDS))
        return Track(thirds, tokens.along(quantity, chosen, TENTHS))

    found = Positions({"all": track(values[0])}, {"all": track(values[1])}, {})
    for place, (name, members) in enumerate(ids.items()):
        chosen = np.isin(tokens.ids, list(members))
        found.probability[name] = track(values[0], chosen)
        found.entropy[name] = track(values[1], chosen)
        found.watched[name] = track(values[2 + place])
    return found


def _quantities(scored: Sequence[Scored], watched: int) -> np.ndarray:
    """Probability, entropy and the K ``watched`` probabilities of all tokens, [2 + K, N]."""
    parts = [np.zeros((2 + watched, 0), np.float32)]
    for one in scored:
        scores = one.scores
        parts.append(np.stack([np.exp(scores.logp), scores.entropy, *scores.watched]))
    return np.concatenate(parts, axis=1)


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
    tokens = _Tokens(tuned)
    before, after = _ranks(original), _ranks(tuned)
    kinds, place, numbers = np.unique(tokens.ids, return_inverse=True, return_counts=True)
    means_before = np.bincount(place, weights=before) / numbers
    means_after = np.bincount(place, weights=after) / numbers
    shifts = []
    for i in np.flatnonzero(numbers >= least):
        means = float(means_before[i]), float(means_after[i])
        shifts.append(TokenShift(int(kinds[i]), int(numbers[i]), *means))
    shifts.sort(key=lambda token: (-token.shift, token.token))
    mean_shift = tokens.mean(before - after)
    return RankShift(_shares(tokens, before), _shares(tokens, after), mean_shift, shifts)


def _ranks(scored: Sequence[Scored]) -> np.ndarray:
    return np.concatenate([one.scores.rank for one in scored])


def _shares(tokens: _Tokens, ranks: np.ndarray) -> dict[str, Estimate]:
    """Shares of positions by rank [N]."""
    return {
        "unshifted": tokens.mean(ranks == 0),
        "marginal": tokens.mean((ranks >= 1) & (ranks <= MARGINAL)),
        "shifted": tokens.mean(ranks > MARGINAL),
    }
