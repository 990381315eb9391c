"""Whether a Hugging Face folder and a checkpoint are the same model: every tensor, and the logits
of both programs."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from red_mcore.config.recipe import RecipeError
from red_mcore.convert.conversion import StoredModel, open_checkpoint, open_hf
from red_mcore.convert.folder import dtype_name, record_verified
from red_mcore.convert.one_process import loaded
from red_mcore.models.rules import hf_shapes

PROMPTS = (
    "The capital of France is Paris, and the capital of Japan is",
    "Question: a train leaves at 9:40 and arrives at 13:05. How long does it take?\nAnswer:",
    "def fibonacci(n):\n    return n if n < 2 else",
)
LIMIT = 1e-3
"""Largest difference of two logits in float32, as a share of the largest logit. Rounding makes less
than a tenth of it; a tensor in the wrong place, or a norm's epsilon or a rotary base that is off,
makes much more."""
_NO_MATTER = ("init_std", "max_positions")
"""Fields of the architecture that the weights and the logits do not depend on."""


@dataclass
class Logits:
    """Difference of the logits that transformers and Megatron compute in float32."""

    prompts: int
    max_difference: float
    limit: float

    @property
    def passed(self) -> bool:
        # NaN does not pass, either; an infinite logit would allow anything.
        return self.max_difference <= self.limit < math.inf


@dataclass
class Verification:
    """What was compared, and how it ended."""

    tensors: int
    compared_in: str
    different: list[str]
    """Names of tensors that differ in a bit."""
    logits: Logits | None
    """The logits' comparison; None where they were not asked for, or the tensors differ already."""

    @property
    def passed(self) -> bool:
        return not self.different and (self.logits is None or self.logits.passed)

    def as_record(self, other: Path) -> dict[str, Any]:
        return {"passed": self.passed, "against": str(other), **asdict(self)}


def verify(
    hf: Path, checkpoint: Path, *, logits: bool, watch: Callable[[int, int], None]
) -> Verification:
    """Compare both, and note the result in the record of each that has one.

    Tensors are compared in the smaller of both types, to which the larger is rounded, bit by bit.
    ``watch`` is told (tensors done, tensors in all). RecipeError for bad input, or too little
    memory for the logits.
    """
    theirs, ours = open_hf(hf), open_checkpoint(checkpoint)
    _check_alike(theirs, ours)
    dtype = min(theirs.dtype, ours.dtype, key=lambda dtype: dtype.itemsize)
    if logits:
        _check_memory(theirs)
    total, different = len(hf_shapes(theirs.arch)), []
    for number, ((name, one), (_, other)) in enumerate(
        zip(theirs.tensors(), ours.tensors(), strict=True), 1
    ):
        if not torch.equal(_bits(one.to(dtype)), _bits(other.to(dtype))):
            different.append(name)
        watch(number, total)
    compared = None
    if logits and not different:
        compared = _compare_logits(theirs, ours)
    result = Verification(total, dtype_name(dtype), different, compared)
    record_verified(hf, result.as_record(checkpoint))
    record_verified(checkpoint, result.as_record(hf))
    return result


def _check_alike(hf: StoredModel, checkpoint: StoredModel) -> None:
    one, other = asdict(hf.arch), asdict(checkpoint.arch)
    for field, value in one.items():
        if value != other[field] and field not in _NO_MATTER:
            raise RecipeError(
                f"{hf.folder} and {checkpoint.folder} are different models:"
                f" {field} is {value} and {other[field]}"
            )


def _check_memory(model: StoredModel) -> None:
    needed = 1.2 * 4 * model.arch.parameters + 2**30  # in float32; one of the two models at a time
    available = psutil.virtual_memory().available
    if needed > available:
        raise RecipeError(
            f"logits of {model.arch.parameters:,} parameters in float32 need about"
            f" {needed / 2**30:.0f} GiB of memory, {available / 2**30:.0f} GiB are free:"
            " use --no-logits, or a machine with more"
        )


def _bits(tensor: Tensor) -> Tensor:
    # As whole numbers: a NaN equals nothing, and -0.0 equals 0.0.
    return tensor.contiguous().view(torch.int16 if tensor.dtype.itemsize == 2 else torch.int32)


def _compare_logits(hf: StoredModel, checkpoint: StoredModel) -> Logits:
    tokens = _tokens(hf)
    theirs = _logits_of_transformers(hf, tokens)
    gc.collect()  # the memory that was checked is that of one model at a time
    ours = _logits_of_megatron(checkpoint, tokens)
    return compare(theirs, ours)


def compare(theirs: list[Tensor], ours: list[Tensor]) -> Logits:
    """Logits [T, V] of each prompt, of transformers and of Megatron."""
    # Of tensors, whose maximum is NaN where one of the numbers is; Python's passes over it.
    difference = torch.stack(
        [(one - other).abs().max() for one, other in zip(theirs, ours, strict=True)]
    ).max()
    largest = torch.stack([one.abs().max() for one in theirs]).max()
    return Logits(len(theirs), float(difference), LIMIT * float(largest))


def _tokens(model: StoredModel) -> list[Tensor]:
    """[T] int64 of each prompt; RecipeError where the folder has no tokenizer."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model.companions, trust_remote_code=False)
    except (OSError, ValueError) as error:
        line = str(error).splitlines()[0]
        raise RecipeError(
            f"{model.companions} has no tokenizer, use --no-logits without one: {line}"
        ) from None
    longest = model.arch.max_positions
    return [torch.tensor(tokenizer.encode(prompt)[:longest]) for prompt in PROMPTS]


def _logits_of_transformers(model: StoredModel, tokens: list[Tensor]) -> list[Tensor]:
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    loaded = AutoModelForCausalLM.from_pretrained(
        model.folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    ).eval()
    with torch.no_grad():
        return [loaded(sequence[None]).logits[0] for sequence in tokens]


def _logits_of_megatron(model: StoredModel, tokens: list[Tensor]) -> list[Tensor]:
    with loaded(model) as megatron:
        return [(megatron.hidden(sequence) @ megatron.output_weight.T).cpu() for sequence in tokens]
