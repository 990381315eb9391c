"""Recorded responses as token ids, and their scores under a model, from the cache as far as it has
them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from red_mcore.analysis.likelihood import Cache, TokenScores, longest, refusal, scorer
from red_mcore.config.recipe import RecipeError
from red_mcore.data.seams import encode_chat, encode_words, response_text, stop_ids
from red_mcore.samples.responses import Response

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from red_mcore.convert.conversion import StoredModel


@dataclass(frozen=True, eq=False)
class Tokenized:
    """What a model is asked to score."""

    response: Response
    prompt: np.ndarray
    """[P]"""
    token_ids: np.ndarray
    """[T]; end-of-sequence included where it was recorded, none is added to text."""


def read_tokenizer(model: StoredModel) -> PreTrainedTokenizerBase:
    """That of the model's folder; RecipeError where it has none."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(model.companions, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise RecipeError(
            f"{model.companions} has no tokenizer: {str(error).splitlines()[0]}"
        ) from None


def tokenize(
    responses: Sequence[Response], tokenizer: PreTrainedTokenizerBase, instruction: str
) -> list[Tokenized]:
    """Ids as recorded; where there are none, of the text, and of the chat with ``instruction``
    after the problem.

    RecipeError where a prompt has to be made and there is no chat template, or where recorded ids
    do not spell the recorded text, so that another tokenizer wrote them.
    """
    prompts: dict[tuple[str, int], np.ndarray] = {}
    found = []
    for response in responses:
        prompt = response.prompt_ids
        if prompt is None:
            if response.problem_id not in prompts:
                prompts[response.problem_id] = _prompt(tokenizer, response, instruction)
            prompt = prompts[response.problem_id]
        ids = response.token_ids
        if ids is None:
            ids = encode_words(tokenizer, response.text, prompt)
        found.append(Tokenized(response, prompt, ids))
    _check_spelling(
        [sequence for sequence in found if sequence.response.token_ids is not None], tokenizer
    )
    return found


def _prompt(tokenizer: PreTrainedTokenizerBase, response: Response, instruction: str) -> np.ndarray:
    if tokenizer.chat_template is None:
        raise RecipeError(
            f"{response.benchmark} item {response.item} has no prompt_ids, and the tokenizer no"
            " chat template to make them with: add chat_template.jinja to the model's folder"
        )
    return encode_chat(tokenizer, response.problem, instruction, system_prompt=None)


def _check_spelling(sequences: Sequence[Tokenized], tokenizer: PreTrainedTokenizerBase) -> None:
    """Some may differ by how text was cleaned; most must not."""
    if not sequences:
        return
    stops = stop_ids(tokenizer)
    wrong = []
    for sequence in sequences:
        text = response_text(tokenizer, sequence.token_ids, stops)
        if text.strip() != sequence.response.text.strip():
            wrong.append(sequence)
    if 2 * len(wrong) > len(sequences):
        first = wrong[0].response
        raise RecipeError(
            f"token_ids of {len(wrong)} of {len(sequences)} responses do not spell their text with"
            f" the tokenizer of --model, first {first.benchmark} item {first.item}: name the model"
            " that wrote them, or one with its tokenizer"
        )


def check_same_tokens(
    sequences: Sequence[Tokenized], one: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase
) -> None:
    """RecipeError where an id that occurs stands for another token with the other tokenizer."""
    parts = [np.unique(ids) for s in sequences for ids in (s.prompt, s.token_ids)]
    used = np.unique(np.concatenate(parts)).tolist() if parts else []
    for token in used:
        ours = one.convert_ids_to_tokens(token)
        theirs = other.convert_ids_to_tokens(token) if token < len(other) else None
        if ours != theirs:
            differ = f"id {token} is {ours!r} and {theirs!r}"
            raise RecipeError(f"--original has another tokenizer than --model: {differ}")


def score_all(
    model: StoredModel,
    sequences: Sequence[Tokenized],
    watched: Sequence[Sequence[int]],
    cache: Path,
    *,
    dtype: str,
    watch: Callable[[int, int], None],
) -> list[TokenScores | str]:
    """Scores of each sequence, stored in ``cache`` at once, or why it was left out; the model is
    loaded if need be.

    Left out: empty responses, and those that are too long for the model (``likelihood.longest``).
    ``watch`` is told (responses done, responses in all). RecipeError where the model does not fit
    into the memory, or cannot have written the sequences.
    """
    stored = Cache(cache, model, dtype, watched)
    found: list[TokenScores | str] = []
    missing = []
    for place, sequence in enumerate(sequences):
        prompt, response = sequence.prompt, sequence.token_ids
        if not len(response):
            found.append("empty")
        elif len(prompt) + len(response) - 1 > longest(model.arch):
            found.append(f"longer than {longest(model.arch)} positions")
        elif reason := refusal(model.arch, prompt, response):
            raise RecipeError(f"{model.folder}: {reason}")
        else:
            scores = stored.get(prompt, response)
            if scores is None:
                missing.append(place)
            found.append("missing" if scores is None else scores)
    done = len(sequences) - len(missing)
    watch(done, len(sequences))
    if missing:
        _check_memory(model, dtype)
        with scorer(model, dtype=dtype, watch=watched) as score:
            for more, place in enumerate(missing, 1):
                prompt, response = sequences[place].prompt, sequences[place].token_ids
                scores = stored.get(prompt, response)  # two evaluations may share it
                if scores is None:
                    scores = score(prompt, response)
                    stored.put(prompt, response, scores)
                found[place] = scores
                watch(done + more, len(sequences))
    return found


def _check_memory(model: StoredModel, dtype: str) -> None:
    import psutil
    import torch

    if torch.cuda.is_available():
        return
    needed = 1.2 * getattr(torch, dtype).itemsize * model.arch.parameters + 2**30
    available = psutil.virtual_memory().available
    if needed > available:
        raise RecipeError(
            f"{model.folder}: {model.arch.parameters:,} parameters in {dtype} need about"
            f" {needed / 2**30:.0f} GiB of memory, {available / 2**30:.0f} GiB are free: use"
            " --dtype bfloat16, or a machine with more"
        )
