"""Small models of every family beside Qwen2, with what sets each apart; no norm is left at its
first value."""

from __future__ import annotations

from pathlib import Path

import torch

from red_mcore.convert.hf import make_fresh
from red_mcore.data.tokenizer import build_tokenizer

_COMMON = {
    "vocab_size": 263,  # has to be padded for two tensor-parallel ranks
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
}
_EXPERTS = {"num_experts": 8, "moe_intermediate_size": 32, "head_dim": 16}
FAMILIES = {
    "qwen3": {
        **_COMMON,
        "model_type": "qwen3",
        "head_dim": 32,
        "tie_word_embeddings": True,
        "rope_theta": 1e6,
    },
    "llama": {
        **_COMMON,
        "model_type": "llama",
        "head_dim": 24,
        "rms_norm_eps": 1e-5,
        # Of the twelve frequencies some are kept, some are divided and some lie between.
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 4.0,
            "low_freq_factor": 0.5,
            "high_freq_factor": 3.0,
            "original_max_position_embeddings": 64,
        },
        "rope_theta": 500.0,
    },
    # The window just holds the longest sample.
    "mistral": {**_COMMON, "model_type": "mistral", "num_key_value_heads": 4, "sliding_window": 69},
    # Heads are wider together than the stream, as in the published model; dropout must not be
    # applied.
    "seed_oss": {
        **_COMMON,
        "model_type": "seed_oss",
        "head_dim": 24,
        "attention_bias": True,
        "attention_out_bias": True,
        "attention_dropout": 0.1,
        "residual_dropout": 0.1,
    },
    "qwen3_moe": {
        **_COMMON,
        **_EXPERTS,
        "model_type": "qwen3_moe",
        "num_experts_per_tok": 2,
        "norm_topk_prob": True,
    },
    "qwen3_moe_raw": {
        **_COMMON,
        **_EXPERTS,
        "model_type": "qwen3_moe",
        "num_experts_per_tok": 3,
        "norm_topk_prob": False,
        "tie_word_embeddings": True,
    },
}

LAYOUTS = ("one", "tp2", "pp2", "cp2", "tp2_pp2")
"""Where all families are compared; mixtures of experts also where experts are split, and beside
it."""
EXPERT_LAYOUTS = ("dp2", "ep2", "ep2_dp4", "ep2_tp2", "ep2_pp2")
CASES = [
    *((layout, name) for layout in LAYOUTS for name in FAMILIES),
    *((layout, name) for layout in EXPERT_LAYOUTS for name in FAMILIES if "moe" in name),
]
"""(layout, family)"""


def make_family(name: str, folder: Path) -> None:
    """Write the HF folder of ``FAMILIES[name]``."""
    from safetensors.torch import load_file, save_file

    make_fresh(FAMILIES[name], build_tokenizer(), folder, seed=3, dtype=torch.float32)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    generator = torch.Generator().manual_seed(4)
    for tensor in (tensors[key] for key in sorted(tensors) if tensors[key].ndim == 1):
        tensor += 0.3 * torch.randn(tensor.shape, generator=generator)
    save_file(tensors, file, metadata={"format": "pt"})
