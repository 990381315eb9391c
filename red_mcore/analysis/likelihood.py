"""What a model says of given responses, by Megatron in this process: log-prob, entropy and rank of
every token."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from red_mcore.config.recipe import RecipeError
from red_mcore.system import disk

if TYPE_CHECKING:
    from torch import Tensor

    from red_mcore.convert.conversion import StoredModel
    from red_mcore.models.architecture import Architecture

CHUNK_BYTES = 2**26
"""Size of the float32 logits that exist at a time."""


@dataclass(frozen=True)
class TokenScores:
    """What is known of each token, under the model's distribution at its place (temperature 1)."""

    logp: np.ndarray
    """[T] float32, nats."""
    entropy: np.ndarray
    """[T] float32 over the whole vocabulary, nats."""
    rank: np.ndarray
    """[T] int32: tokens that are more likely; 0 is the most likely one."""
    watched: np.ndarray
    """[K, T] float32: probability of each set of watched tokens together, whichever token stands
    there."""


Ids = Sequence[int] | np.ndarray
Dtype = Literal["float32", "bfloat16"]
Score = Callable[[Ids, Ids], TokenScores]
"""(prompt ids [P], response ids [T]) -> scores [T]."""


@contextmanager
def scorer(
    model: StoredModel,
    *,
    dtype: Dtype = "float32",
    watch: Sequence[Sequence[int]] = (),
    chunk_bytes: int = CHUNK_BYTES,
) -> Iterator[Score]:
    """Load the model once, and yield the function that scores one response after another.

    ``watch``: K sets of ids of watched tokens. At most ``chunk_bytes`` of float32 logits exist at a
    time. The function raises RecipeError for what ``refusal`` names and for numbers that are not
    finite, and returns empty arrays for an empty response.
    """
    import torch

    from red_mcore.convert.one_process import loaded

    with loaded(model, dtype) as megatron:
        weight = megatron.output_weight
        watched = [torch.tensor(list(ids), dtype=torch.long, device=weight.device) for ids in watch]
        chunk = max(1, chunk_bytes // (4 * len(weight)))  # tokens whose logits exist at a time

        def score(prompt: Ids, response: Ids) -> TokenScores:
            if reason := refusal(model.arch, prompt, response):
                raise RecipeError(f"{model.folder}: {reason}")
            if not len(response):
                return _from_table(np.zeros((3 + len(watched), 0), np.float32))
            tokens = torch.tensor([*map(int, prompt), *map(int, response)])
            hidden = megatron.hidden(tokens[:-1])[len(prompt) - 1 :]
            targets = tokens[len(prompt) :].to(hidden.device)
            parts = []
            for first in range(0, len(targets), chunk):
                here = slice(first, first + chunk)
                parts.append(_scores(hidden[here] @ weight.T, targets[here], watched))
            scores = _from_table(torch.cat(parts, -1).cpu().numpy())
            wrong = np.flatnonzero(~np.isfinite(scores.logp + scores.entropy))
            if len(wrong):  # nothing is more likely than NaN, which would have rank 0
                first = wrong[0]
                raise RecipeError(
                    f"{model.folder} gives token {first} of a response no finite log-prob"
                    f" ({scores.logp[first]}): its weights are broken, or its numbers too large"
                    " for --dtype"
                )
            return scores

        yield score


def refusal(arch: Architecture, prompt: Ids, response: Ids) -> str | None:
    """Why the model cannot score the response, or None."""
    if not len(prompt):
        return "the prompt is empty, so nothing predicts the first token of the response"
    if len(prompt) + len(response) - 1 > longest(arch):
        return (
            f"{len(prompt)} tokens of prompt + {len(response)} of response - 1, which is only"
            f" predicted, exceed {longest(arch)} positions"
        )
    largest = max(int(np.max(ids)) for ids in (prompt, response) if len(ids))
    if largest >= arch.vocab_size:
        beyond = f"token id {largest} is beyond vocab_size={arch.vocab_size}"
        return f"{beyond}: was another tokenizer used?"
    return None


def longest(arch: Architecture) -> int:
    """Most tokens that the model reads: its positions, or its attention window, which is not
    computed here.

    Longer sequences are refused, not cut: the last third of a cut response would be the middle of a
    whole one.
    """
    return min(arch.max_positions, arch.window or arch.max_positions)


def _scores(logits: Tensor, targets: Tensor, watched: Sequence[Tensor]) -> Tensor:
    """logits [n, V], targets [n] -> log-prob, entropy, rank and K watched probabilities, [3 + K, n]
    float32."""
    import torch

    log_p = logits.float().log_softmax(-1)
    logp = log_p.gather(1, targets[:, None])
    p = log_p.exp()
    # float32 holds ranks exactly up to 2^24, more than any vocabulary has.
    ranks = (log_p > logp).sum(1).float()
    masses = [p[:, ids].sum(1) for ids in watched]
    return torch.stack([logp[:, 0], -(p * log_p).sum(1), ranks, *masses])


def _from_table(table: np.ndarray) -> TokenScores:
    """The rows of ``_scores``."""
    return TokenScores(table[0], table[1], table[2].astype(np.int32), table[3:])


class Cache:
    """Scores on disk, one file per response, so that a stopped analysis goes on.

    What is stored under depends on the model's files, the type it computes in, the watched tokens,
    and the token ids of prompt and response alone: evaluations that share responses share scores,
    and a changed model has none.
    """

    def __init__(
        self, folder: Path, model: StoredModel, dtype: str, watch: Sequence[Sequence[int]]
    ) -> None:
        sets = (_joined(sorted(ids)) for ids in watch)
        self._folder = folder / _digest(_identity(model), dtype, *sets)
        disk.write_atomic(
            self._folder / "model.txt", f"{model.folder.resolve()}\n{dtype}\n", shared=True
        )

    def get(self, prompt: Ids, response: Ids) -> TokenScores | None:
        """None where it is not stored, or not whole."""
        try:
            with np.load(self._file(prompt, response), allow_pickle=False) as stored:
                found = TokenScores(**stored)
        # There is none, or half of one, of a machine that went down.
        except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile):
            return None
        return found if len(found.logp) == len(response) else None

    def put(self, prompt: Ids, response: Ids, scores: TokenScores) -> None:
        buffer, file = io.BytesIO(), self._file(prompt, response)
        np.savez(buffer, **vars(scores))
        disk.write_atomic(file, buffer.getvalue(), shared=True)

    def _file(self, prompt: Ids, response: Ids) -> Path:
        return self._folder / f"{_digest(_joined(prompt), _joined(response))}.npz"


def _identity(model: StoredModel) -> str:
    """Changes when the model's configuration or one of its weight files does."""
    parts = [(model.companions / "config.json").read_text()]
    for file in sorted(model.folder.rglob("*")):
        if file.suffix in (".safetensors", ".distcp") and file.is_file():
            state = file.stat()
            parts.append(f"{file} {state.st_size} {state.st_mtime_ns}")
    return "\n".join(parts)


def _joined(ids: Ids) -> str:
    return ",".join(map(str, np.asarray(ids).tolist()))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
