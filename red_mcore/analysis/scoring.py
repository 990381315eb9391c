"""Recorded responses as token ids, and their scores under a model, from the cache as far as it has
them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from red_mcore.analysis.likelihood import Cache, Dtype, TokenScores, longest, refusal, scorer
from red_mcore.config.recipe import RecipeError
from red_mcore.data.seams import encode_chat, encode_words, response_text, stop_ids
from red_mcore.samples.responses import Key, Response

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
    made: dict[Key, np.ndarray] = {}  # a problem's prompt is the same for all its responses
    found, recorded = [], []
    for response in responses:
        prompt = response.prompt_ids
        if prompt is None:
            if response.problem_id not in made:
                made[response.problem_id] = _prompt(tokenizer, response, instruction)
            prompt = made[response.problem_id]
        if response.token_ids is None:
            ids = encode_words(tokenizer, response.text, prompt)
            found.append(Tokenized(response, prompt, ids))
        else:
            found.append(Tokenized(response, prompt, response.token_ids))
            recorded.append(found[-1])
    _check_spelling(recorded, tokenizer)
    return found


def _prompt(tokenizer: PreTrainedTokenizerBase, response: Response, instruction: str) -> np.ndarray:
    if tokenizer.chat_template is None:
        raise RecipeError(
            f"{response.benchmark} item {response.item} has no prompt_ids, and the tokenizer no"
            " chat template to make them with: add chat_template.jinja to the model's folder"
        )
    return encode_chat(tokenizer, response.problem, instruction, system_prompt=None)


def _check_spelling(sequences: Sequence[Tokenized], tokenizer: PreTrainedTokenizerBase) -> None:
    """RecipeError where most do not spell their text; some may differ by how it was cleaned."""
    if not sequences:
        return
    stops = stop_ids(tokenizer)
    wrong = []
    for sequence in sequences:
        text = response_text(tokenizer, sequence.token_ids.tolist(), stops)
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
    used: set[int] = set()
    for sequence in sequences:
        used.update(sequence.prompt.tolist(), sequence.token_ids.tolist())
    for token in sorted(used):
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
    dtype: Dtype,
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
        scores = _left_out(model, sequence) or stored.get(sequence.prompt, sequence.token_ids)
        if scores is None:
            missing.append(place)
        found.append(scores or "missing")
    done = len(sequences) - len(missing)
    watch(done, len(sequences))
    if missing:
        _check_memory(model, dtype)
        with scorer(model, dtype=dtype, watch=watched) as score:
            for more, place in enumerate(missing, 1):
                prompt, response = sequences[place].prompt, sequences[place].token_ids
                known = stored.get(prompt, response)  # two evaluations may share it
                if known is None:
                    known = score(prompt, response)
                    stored.put(prompt, response, known)
                found[place] = known
                watch(done + more, len(sequences))
    return found


def _left_out(model: StoredModel, sequence: Tokenized) -> str | None:
    """Why the sequence is not scored, or None; RecipeError where the model cannot have written
    it."""
    prompt, response = sequence.prompt, sequence.token_ids
    if not len(response):
        return "empty"
    if len(prompt) + len(response) - 1 > longest(model.arch):
        return f"longer than {longest(model.arch)} positions"
    if reason := refusal(model.arch, prompt, response):
        raise RecipeError(f"{model.folder}: {reason}")
    return None


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
