"""Qwen3, dense."""

from __future__ import annotations

from typing import Any

from red_mcore.models.family import WITHOUT_WINDOW, Config, Family


def shape(config: Config) -> dict[str, Any]:
    """Norms of query and key are no field of its files."""
    return {"qk_norm": True}


FAMILY = Family(
    "qwen3",
    "Qwen3ForCausalLM",
    shape,
    needed=("num_key_value_heads", "head_dim"),
    ignored=WITHOUT_WINDOW,
)
