"""GPTModel from an HF architecture, on this rank's tensor and pipeline coordinates."""

from __future__ import annotations

import torch
from megatron.core import parallel_state
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.tensor_parallel import (
    ColumnParallelLinear,
    copy_to_tensor_model_parallel_region,
    gather_from_sequence_parallel_region,
)
from megatron.core.transformer.transformer_config import TransformerConfig

from red_mcore.architecture import Architecture
from red_mcore.megatron import shim
from red_mcore.megatron.attention import layer_spec
from red_mcore.recipe import Parallel

_RECOMPUTE = {
    "none": {},
    "selective": {"recompute_granularity": "selective"},
    "full": {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1},
}


def transformer_config(arch: Architecture, parallel: Parallel, dtype: torch.dtype) -> TransformerConfig:
    """Megatron's configuration of ``arch``; every field that would silently change the result is named here."""
    return TransformerConfig(
        num_layers=arch.layers,
        hidden_size=arch.hidden_size,
        ffn_hidden_size=arch.ffn_size,
        num_attention_heads=arch.heads,
        num_query_groups=arch.kv_groups,
        kv_channels=arch.head_dim,
        normalization="RMSNorm",
        layernorm_epsilon=arch.norm_eps,
        gated_linear_unit=True,
        activation_func=torch.nn.functional.silu,
        add_bias_linear=False,
        add_qkv_bias=arch.qkv_bias,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        params_dtype=dtype,
        pipeline_dtype=dtype,
        bf16=dtype == torch.bfloat16,
        tensor_model_parallel_size=parallel.tensor,
        pipeline_model_parallel_size=parallel.pipeline,
        virtual_pipeline_model_parallel_size=parallel.virtual if parallel.virtual > 1 else None,
        context_parallel_size=parallel.context,
        sequence_parallel=parallel.sequence,
        **_RECOMPUTE[parallel.recompute],
        # Gradients are plain sums over micro-batches and ranks: losses carry their global denominators (policy.py).
        calculate_per_token_loss=True,
        use_cpu_initialization=shim.needed(),
        # Weights are loaded later, but only initialisation marks parameters as sharded; unmarked ones fall out of the
        # norm.
        perform_initialization=True,
        bias_dropout_fusion=False,
        masked_softmax_fusion=False,
        gradient_accumulation_fusion=False,
        apply_rope_fusion=False,
    )


def padded_vocab(vocab_size: int, tensor: int) -> int:
    """Smallest multiple of ``tensor`` that holds the vocabulary; the added rows are masked in the loss."""
    return -(-vocab_size // tensor) * tensor


def build_model(arch: Architecture, parallel: Parallel, dtype: torch.dtype) -> torch.nn.ModuleList:
    """This rank's part of the model, weights not yet set, on this rank's device: a GPTModel for each virtual stage."""
    with shim.on_device():
        config = transformer_config(arch, parallel, dtype)
        stages = range(parallel.virtual) if parallel.virtual > 1 else [None]
        return torch.nn.ModuleList(_chunk(arch, parallel, config, stage) for stage in stages).to(shim.device())


def _chunk(arch: Architecture, parallel: Parallel, config: TransformerConfig, virtual_stage: int | None) -> GPTModel:
    model = GPTModel(
        config=config,
        transformer_layer_spec=layer_spec(config, virtual_stage),
        vocab_size=padded_vocab(arch.vocab_size, parallel.tensor),
        max_sequence_length=arch.max_positions,
        pre_process=parallel_state.is_pipeline_first_stage(ignore_virtual=False, vp_stage=virtual_stage),
        post_process=parallel_state.is_pipeline_last_stage(ignore_virtual=False, vp_stage=virtual_stage),
        parallel_output=True,
        share_embeddings_and_output_weights=arch.tied,
        position_embedding_type="rope",
        rotary_base=arch.rope_theta,
        vp_stage=virtual_stage,
    )
    if model.post_process:
        model.output_layer.__class__ = _OutputLayer  # Megatron's own, parameters and all, with another forward
    return model


def output_weight(model: GPTModel) -> torch.Tensor:
    """[V/tp, H]: this rank's rows of the output layer's weight, of the last chunk; the embedding's if tied."""
    tied = model.share_embeddings_and_output_weights
    return model.shared_embedding_or_output_weight() if tied else model.output_layer.weight


class _OutputLayer(ColumnParallelLinear):
    """Leaves the product with the weight to the loss (vocab.py), which never needs all logits at once.

    The model's output [1, T, H] are the hidden states, the same on all tensor-parallel ranks.
    """

    def forward(self, input_, weight=None, runtime_gather_output=None):
        # Either sums the gradient, of which each rank's vocabulary has a share, in the backward.
        if self.sequence_parallel:
            return gather_from_sequence_parallel_region(input_, tensor_parallel_output_grad=True), None
        return copy_to_tensor_model_parallel_region(input_), None
