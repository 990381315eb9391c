"""The model and the samples that every layout works on; the same in each process."""

from __future__ import annotations

import numpy as np

from red_mcore.records import Group, Problem, Sample

TEMPERATURE = 0.8
BUDGETS = {1: 1000, 2: 260, 4: 140}
"""Tokens per micro-batch by the number of micro-batches that they give on one rank (checked in test_layouts.py)."""


def config(tied: bool) -> dict:
    """A vocabulary of 263 has to be padded for two tensor-parallel ranks."""
    return {
        "model_type": "qwen2",
        "vocab_size": 263,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.2,
        "tie_word_embeddings": tied,
    }


def make_groups() -> list[Group]:
    """Five groups of four samples with 1 to 60 response tokens; the first two have a trace, the fourth is all wrong.

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
