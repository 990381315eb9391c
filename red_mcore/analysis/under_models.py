"""Recorded evaluations under the models that wrote them, and under an original one to compare
with."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from red_mcore.analysis import scoring
from red_mcore.analysis.findings import Likelihood, find_positions
from red_mcore.analysis.positions import Scored, rank_shift, thinking_ids
from red_mcore.analysis.recorded import Evaluation, spread
from red_mcore.convert.conversion import StoredModel, find_model, open_any
from red_mcore.samples.responses import Response
from red_mcore.tracking.console import Watched

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from red_mcore.analysis.likelihood import Dtype, TokenScores

LEAST_OCCURRENCES = 5
"""A token generated less often has no place in the table of rank shifts."""


@dataclass(eq=False)
class ScoredEvaluation:
    """One evaluation's responses with what the models say of them."""

    model: Path
    original: Path | None
    sequences: list[scoring.Tokenized]
    """Of all responses."""
    chosen: list[scoring.Tokenized]
    """Those that are scored."""
    words: dict[str, list[int]]
    """list of words -> ids of its tokens."""
    tokenizer: PreTrainedTokenizerBase
    own: list[TokenScores | str] = field(default_factory=list)
    """Scores of those chosen, or why one was left out."""
    before: list[TokenScores | str] = field(default_factory=list)
    """The same under the original model; empty without one."""

    @property
    def responses(self) -> list[Response]:
        """All responses, with the token counts that were not recorded."""
        found = []
        for one in self.sequences:
            response = one.response
            if response.tokens is None:
                response = replace(response, tokens=len(one.token_ids))
            found.append(response)
        return found

    def likelihood(self) -> Likelihood:
        """The findings, once the scores are there."""
        own, ours, theirs = [], [], []
        left_out: Counter[str] = Counter()
        for i, sequence in enumerate(self.chosen):
            scores = self.own[i]
            if isinstance(scores, str):
                left_out[scores] += 1
                continue
            own.append(Scored(sequence.response, sequence.token_ids, scores))
            before = self.before[i] if self.before else "not asked"
            if not isinstance(before, str):  # a change is read on responses that both models scored
                ours.append(own[-1])
                theirs.append(Scored(sequence.response, sequence.token_ids, before))
        shift = rank_shift(ours, theirs, least=LEAST_OCCURRENCES)
        named = [token.token for token in shift.tokens] if shift else []
        return Likelihood(
            model=str(self.model),
            original=str(self.original) if self.original else None,
            responses=len(own),
            left_out=dict(left_out),
            tokenized_here=sum(sequence.response.token_ids is None for sequence in self.chosen),
            thinking_tokens={name: len(ids) for name, ids in self.words.items()},
            own=find_positions(own, self.words),
            before=find_positions(theirs, self.words) if theirs else None,
            change=find_positions(ours, self.words, theirs) if theirs else None,
            shift=shift,
            shift_responses=len(theirs),
            texts={token: self.tokenizer.decode([token]) for token in named},
        )


def score(
    evaluations: Mapping[str, Evaluation],
    models: Mapping[str, Path],
    original: Path | None,
    cache: Path,
    *,
    instruction: str,
    limit: int | None,
    dtype: Dtype,
) -> dict[str, ScoredEvaluation]:
    """What the models say of at most ``limit`` responses, by the evaluation's name.

    Each model is loaded once, in turn; scores are kept in ``cache``. RecipeError where a model has
    other tokens than the responses, or than ``original``.
    """
    folders = dict.fromkeys(models.values())
    if original:
        folders[original] = None
    opened = {folder: _opened(folder) for folder in folders}
    tokenizers = {folder: scoring.read_tokenizer(model) for folder, model in opened.items()}
    found: dict[str, ScoredEvaluation] = {}
    for name, folder in models.items():
        tokenizer, responses = tokenizers[folder], evaluations[name].responses
        sequences = scoring.tokenize(responses, tokenizer, instruction)
        # By identity: two responses of one problem may be the same text.
        wanted = set(map(id, spread(responses, limit)))
        chosen = [sequence for sequence in sequences if id(sequence.response) in wanted]
        if original:
            scoring.check_same_tokens(chosen, tokenizer, tokenizers[original])
        words = thinking_ids(tokenizer, opened[folder].arch.vocab_size)
        found[name] = ScoredEvaluation(folder, original, sequences, chosen, words, tokenizer)
    for folder, model in opened.items():
        _score_under(model, folder, list(found.values()), cache, dtype)
    return found


def _opened(folder: Path) -> StoredModel:
    place, faults = find_model(folder)
    for fault in faults:
        print(f"warning: {fault}", file=sys.stderr)
    return open_any(place)


def _score_under(
    model: StoredModel,
    folder: Path,
    evaluations: Sequence[ScoredEvaluation],
    cache: Path,
    dtype: Dtype,
) -> None:
    """Add the scores under one model to the evaluations that ask for it."""
    jobs = [(one, one.own) for one in evaluations if one.model == folder]
    jobs += [(one, one.before) for one in evaluations if one.original == folder]
    # A model is asked about one set of words at a time; the set differs only with the tokenizer.
    batches: dict[str, list[tuple[ScoredEvaluation, list[TokenScores | str]]]] = {}
    for one, scores in jobs:
        batches.setdefault(str(one.words), []).append((one, scores))
    for batch in batches.values():
        words = list(batch[0][0].words.values())
        sequences = list(chain.from_iterable(one.chosen for one, _ in batch))
        with Watched(f"responses under {folder.name}") as watch:
            made = iter(scoring.score_all(model, sequences, words, cache, dtype=dtype, watch=watch))
        for one, scores in batch:
            scores.extend(islice(made, len(one.chosen)))
