"""Llama 2 and 3, and what has their architecture, such as SmolLM2."""

from __future__ import annotations

from typing import Any

from red_mcore.config.recipe import RecipeError
from red_mcore.models.family import Config, Family


def shape(config: Config) -> dict[str, Any]:
    """Transformers takes no other heads, also where their size is given."""
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    if hidden % heads:
        raise RecipeError(
            f"hidden_size={hidden} is no multiple of num_attention_heads={heads}, which models of"
            " type 'llama' have to be: use one"
        )
    return {}


FAMILY = Family("llama", "LlamaForCausalLM", shape, needed=("max_position_embeddings",))
