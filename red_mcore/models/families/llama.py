"""Llama 2 and 3, and what has their architecture, such as SmolLM2."""

from red_mcore.models.family import Family

FAMILY = Family("llama", "LlamaForCausalLM", needed=("max_position_embeddings",))
