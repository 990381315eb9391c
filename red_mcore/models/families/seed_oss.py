"""Seed-OSS of ByteDance: biases at query, key and value, and by choice behind the attention."""

from __future__ import annotations

from typing import Any

from red_mcore.models.family import Config, Family


def shape(config: Config) -> dict[str, Any]:
    """Its files say which biases there are."""
    return {
        "qkv_bias": bool(config["attention_bias"]),
        "output_bias": bool(config.get("attention_out_bias")),
    }


FAMILY = Family(
    "seed_oss",
    "SeedOssForCausalLM",
    shape,
    needed=("num_key_value_heads", "head_dim", "attention_bias", "max_position_embeddings"),
    switches=("attention_bias", "attention_out_bias"),
    # Dropout, of which its files say .1, was the pretraining's. Engines do not apply it, and an
    # update that did would compare other probabilities than those that were sampled from.
    ignored=frozenset({"attention_dropout", "residual_dropout"}),
)
