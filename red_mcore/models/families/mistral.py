"""Mistral 7B; of those with a sliding window, sequences that fit in it."""

from __future__ import annotations

from typing import Any

from red_mcore.models.family import Config, Family


def shape(config: Config) -> dict[str, Any]:
    """The window holds in all layers, unless it is null."""
    return {"window": config["sliding_window"]}


FAMILY = Family(
    "mistral",
    "MistralForCausalLM",
    shape,
    needed=("num_key_value_heads", "max_position_embeddings", "sliding_window"),
    sizes={"sliding_window": 2**31},
)
