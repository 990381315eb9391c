"""The policy's shape, read from a Hugging Face ``config.json``; no torch, so that planning can use it anywhere."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from red_mcore.recipe import Model, RecipeError

SUPPORTED = ("qwen2",)
"""``model_type`` values that the converter and the model builder know."""


@dataclass(frozen=True)
class Architecture:
    """A decoder-only transformer with RMSNorm, SwiGLU, grouped-query attention and rotary positions."""

    model_type: str
    vocab_size: int
    hidden_size: int
    ffn_size: int
    layers: int
    heads: int
    kv_groups: int
    head_dim: int
    rope_theta: float
    norm_eps: float
    tied: bool
    """Input embedding and output layer share their weight."""
    qkv_bias: bool
    max_positions: int
    init_std: float

    @property
    def parameters(self) -> int:
        """Parameter count, a tied output layer not counted twice."""
        h, d = self.hidden_size, self.head_dim
        qkv = (self.heads + 2 * self.kv_groups) * d
        layer = h * qkv + (qkv if self.qkv_bias else 0) + self.heads * d * h + 3 * h * self.ffn_size + 2 * h
        return self.layers * layer + h + self.vocab_size * h * (1 if self.tied else 2)


def hf_config(model: Model) -> dict[str, Any]:
    """``config.json`` of the model's folder, where there is one, with ``model.config`` laid over it."""
    found: dict[str, Any] = {}
    if model.path is not None and Path(model.path).is_dir():
        file = Path(model.path) / "config.json"
        if not file.is_file():
            raise RecipeError(f"model.path {model.path} has no config.json")
        try:
            found = json.loads(file.read_text())
        except json.JSONDecodeError as error:
            raise RecipeError(f"{file} is not JSON: {error}") from None
    config = {**found, **model.config}
    if "rope_theta" in model.config and "rope_parameters" in found:  # where newer files keep it, and readers look first
        config["rope_parameters"] = {**found["rope_parameters"], "rope_theta": model.config["rope_theta"]}
    return config


def read_architecture(config: dict[str, Any]) -> Architecture:
    """Architecture of an HF configuration; RecipeError for what is unsupported or missing, by name."""
    model_type = config.get("model_type")
    if model_type not in SUPPORTED:
        raise RecipeError(f"model_type '{model_type}' is not supported; supported: {', '.join(SUPPORTED)}")
    needed = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    missing = [name for name in needed if name not in config]
    if missing:
        raise RecipeError(f"model configuration lacks {', '.join(missing)}")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise RecipeError(f"rope type '{kind}' is not supported; supported: default")
    if config.get("use_sliding_window"):
        raise RecipeError("use_sliding_window=true is not supported; set it to false")
    if config.get("hidden_act", "silu") != "silu":
        raise RecipeError(f"hidden_act '{config['hidden_act']}' is not supported; supported: silu")
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    # Newer configuration files keep theta inside rope_parameters; a flat rope_theta (also an override) wins.
    theta = config.get("rope_theta", rope.get("rope_theta", 10000.0))
    return Architecture(
        model_type=model_type,
        vocab_size=config["vocab_size"],
        hidden_size=hidden,
        ffn_size=config["intermediate_size"],
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_groups=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or hidden // heads,
        rope_theta=float(theta),
        norm_eps=config.get("rms_norm_eps", 1e-6),
        tied=config.get("tie_word_embeddings", False),
        qkv_bias=True,
        max_positions=config.get("max_position_embeddings", 32768),
        init_std=config.get("initializer_range", 0.02),
    )
