"""The model, samples, algorithms and optimizers that every layout works with;
the same in each process."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from red_mcore.algorithms.grpo import GRPO
from red_mcore.algorithms.gspo import GSPO
from red_mcore.algorithms.luffy import LUFFY
from red_mcore.algorithms.opd import OPD
from red_mcore.algorithms.red import RED
from red_mcore.algorithms.sft import SFT
from red_mcore.algorithms.srft import SRFT
from red_mcore.config.recipe import Optimizer, Teacher
from red_mcore.megatron.packing import bins
from red_mcore.samples.records import Group, Problem, Sample

TEMPERATURE = 0.8
BUDGET = 140
"""Tokens per micro-batch where nothing else is said: four micro-batches on one rank."""
COUNTS = (1, 2, 4)
"""Numbers of micro-batches on one rank."""
DEEP = 8
"""Layers of the model that is cut into eight chunks."""
SMALL = 32
"""Width of the model that makes the many steps on unusual groups."""
TEACHER = (DEEP, SMALL)
"""Layers and width of the teacher."""
LONGEST = 69
"""Tokens of the longest sample, a trace: where they are the budget,
the other trace comes in a later micro-batch."""
GRID = {
    "red": RED(constant=8.0),
    "grpo": GRPO(kl_coefficient=0.1),
    "luffy": LUFFY(constant=8.0, entropy_coefficient=0.1),
    "srft": SRFT(constant=8.0),
    "sft": SFT(),
    "gspo": GSPO(aggregation="constant", constant=4.0, clip_low=0.02, clip_high=0.02),
}
DISTILLED = {
    "alone": OPD(teacher=Teacher("teacher", 0.7)),
    "added": RED(constant=8.0, teacher=Teacher("teacher", 0.7)),
}
"""Algorithms with a teacher, which is narrower and deeper than the policy."""
# A large eps keeps Adam's step smooth: where a gradient is nearly zero,
# rounding must not decide its sign.
MAIN = Optimizer(lr=1e-2, eps=1e-3, warmup_steps=1, weight_decay=0.1), 6
IMITATION = (
    Optimizer(
        lr=5e-3, eps=1e-3, schedule="wsd", decay_fraction=0.8, betas=(0.8, 0.9), clip_grad=0.5
    ),
    6,
)


class Update(NamedTuple):
    """What an update leaves behind; tensors by Hugging Face name."""

    metrics: dict[str, float]
    weights: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]
    """Before they are clipped."""


def config(tied: bool, layers: int = 2, hidden: int = 64) -> dict:
    """A vocabulary of 263 has to be padded for two tensor-parallel ranks."""
    return {
        "model_type": "qwen2",
        "vocab_size": 263,
        "hidden_size": hidden,
        "intermediate_size": 96,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.2,
        "tie_word_embeddings": tied,
    }


def apart(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    """Norm of the difference of all tensors together, relative."""
    ours, theirs = (
        np.concatenate([tensors[name].ravel() for name in expected])
        for tensors in (found, expected)
    )
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


def make_groups() -> list[Group]:
    """Five groups of four samples with 1 to 60 response tokens; the first two have a trace, the
    fourth is all wrong.

    Dropping the fourth changes which data-parallel rank the others are dealt to.
    """
    rng = np.random.default_rng(5)
    groups = []
    for g in range(5):
        prompt = rng.integers(5, 260, 5 + 4 * g).astype(np.int32)
        samples = []
        for i in range(4):
            length = (1, 60, 13, 9, 22)[g] if i == 0 else int(rng.integers(1, 30))
            accuracy = 0.0 if g == 3 else float((i + g) % 3 == 0)
            offline = g < 2 and i == 0
            samples.append(
                Sample(
                    prompt=prompt,
                    response=rng.integers(5, 260, length).astype(np.int32),
                    is_offline=offline,
                    sampler_logp=None if offline else rng.normal(-5, 1, length).astype(np.float32),
                    accuracy=accuracy,
                    reward=accuracy,
                )
            )
        groups.append(Group(Problem(id=g, text="", gold=""), samples))
    return groups


def groups_of(kind: str) -> list[Group]:
    """What the algorithm ``kind`` of the grid is given; to SFT every sample is a trace."""
    groups = make_groups()
    if kind == "sft":
        for sample in (s for g in groups for s in g.samples):
            sample.is_offline, sample.sampler_logp = True, None
    return groups


def tied_of(kind: str) -> tuple[bool, ...]:
    """The models of an algorithm under a layout, by whether the head's weight is the embedding's:
    that is a matter of the layout, not of the loss. RED has both, and the others have them in turn.
    """
    return (True, False) if kind == "red" else (list(GRID).index(kind) % 2 == 0,)


def kept_of(kind: str) -> list[Group]:
    """The groups that it trains on."""
    return GRID[kind].compose(groups_of(kind), {}, 0)[0]


@functools.cache
def budget(kind: str, count: int) -> int:
    """``budget_of`` what the algorithm ``kind`` of the grid trains on."""
    return budget_of(kept_of(kind), count)


def budget_of(groups: list[Group], count: int) -> int:
    """The most tokens per micro-batch that make ``count`` micro-batches on one rank."""
    samples = [s for g in groups for s in g.samples]
    return next(
        b for b in range(sum(s.tokens for s in samples), 0, -1) if len(bins(samples, b)) == count
    )
