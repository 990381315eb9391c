"""Qwen2, Qwen2.5 and Qwen2.5-Math."""

from __future__ import annotations

from typing import Any

from red_mcore.models.family import WITHOUT_WINDOW, Config, Family


def shape(config: Config) -> dict[str, Any]:
    """Biases of query, key and value are no field of its files."""
    return {"qkv_bias": True}


FAMILY = Family("qwen2", "Qwen2ForCausalLM", shape, ignored=WITHOUT_WINDOW)
