"""GPTModel from an HF architecture, on this rank's tensor and pipeline coordinates."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.tensor_parallel import (
    ColumnParallelLinear,
    copy_to_tensor_model_parallel_region,
    gather_from_sequence_parallel_region,
)
from megatron.core.transformer.transformer_config import TransformerConfig

from red_mcore.config.recipe import Model, Parallel, RecipeError
from red_mcore.megatron import shim
from red_mcore.megatron.attention import layer_spec
from red_mcore.megatron.ranks import virtual_size
from red_mcore.models.architecture import Architecture, Experts, Llama3Rope
from red_mcore.models.layers import uses_transformer_engine

_RECOMPUTE: dict[str, dict[str, Any]] = {
    "none": {},
    "selective": {"recompute_granularity": "selective"},
    "full": {
        "recompute_granularity": "full",
        "recompute_method": "uniform",
        "recompute_num_layers": 1,
    },
}
_FP8_FORMS = {"tensorwise": "hybrid", "blockwise": "e4m3"}


def transformer_config(
    arch: Architecture, parallel: Parallel, settings: Model
) -> TransformerConfig:
    """Megatron's configuration of ``arch``; every field that would silently change the result is
    named here."""
    dtype = getattr(torch, settings.dtype)
    more = dict(_RECOMPUTE[parallel.recompute])
    if settings.fp8 != "none":
        # Both scalings keep no history, which scoring would write to and checkpoints would have to
        # hold.
        more |= {"fp8": _FP8_FORMS[settings.fp8], "fp8_recipe": settings.fp8}
    if arch.experts is not None:
        more |= _expert_settings(arch.experts, arch.ffn_size, parallel)
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
        qk_layernorm=arch.qk_norm,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        params_dtype=dtype,
        pipeline_dtype=dtype,
        bf16=dtype == torch.bfloat16,
        tensor_model_parallel_size=parallel.tensor,
        pipeline_model_parallel_size=parallel.pipeline,
        virtual_pipeline_model_parallel_size=virtual_size(parallel),
        context_parallel_size=parallel.context,
        sequence_parallel=parallel.sequence,
        # Gradients are plain sums over micro-batches and ranks: losses carry their global
        # denominators (policy.py).
        calculate_per_token_loss=True,
        use_cpu_initialization=shim.needed(),
        # Weights are loaded later, but only initialisation marks parameters as sharded; unmarked
        # ones fall out of the norm.
        perform_initialization=True,
        bias_dropout_fusion=False,
        masked_softmax_fusion=False,
        gradient_accumulation_fusion=False,
        apply_rope_fusion=False,
        **more,
    )


def _expert_settings(experts: Experts, ffn_size: int, parallel: Parallel) -> dict[str, Any]:
    return {
        "num_moe_experts": experts.count,
        "moe_ffn_hidden_size": ffn_size,
        "moe_router_topk": experts.per_token,
        # Dividing the chosen experts' softmax by its sum is a softmax over the chosen ones.
        "moe_router_pre_softmax": not experts.normalized,
        "moe_router_dtype": "fp32",
        "moe_router_load_balancing_type": "none",
        "moe_grouped_gemm": False,  # needs Transformer Engine
        "moe_token_dispatcher_type": "allgather",  # gloo refuses what the others send
        "expert_model_parallel_size": parallel.expert,
        "expert_tensor_parallel_size": parallel.tensor,
    }


def padded_vocab(vocab_size: int, tensor: int) -> int:
    """Smallest multiple of ``tensor`` that holds the vocabulary; the added rows are masked in the
    loss."""
    return -(-vocab_size // tensor) * tensor


def build_model(arch: Architecture, parallel: Parallel, settings: Model) -> torch.nn.ModuleList:
    """This rank's part of the model, weights not yet set, on this rank's device: a GPTModel for
    each virtual stage.

    RecipeError where the GPU cannot do what ``settings.fp8`` asks for.
    """
    if settings.fp8 != "none":
        check_fp8(settings.fp8)
    with shim.on_device():
        config = transformer_config(arch, parallel, settings)
        transformer_engine = uses_transformer_engine(settings, arch, on_gpu=not shim.needed())
        stages: Iterable[int | None] = [None]
        if virtual_size(parallel) is not None:
            stages = range(parallel.virtual)
        chunks = [_chunk(arch, parallel, config, transformer_engine, stage) for stage in stages]
        return torch.nn.ModuleList(chunks).to(shim.device())


def check_fp8(scaling: str) -> None:
    """RecipeError where this GPU cannot compute in FP8 with this ``scaling``, saying why."""
    from transformer_engine.pytorch import quantization as fp8

    checks = {
        "tensorwise": fp8.check_fp8_support,
        "blockwise": fp8.check_fp8_block_scaling_support,
    }
    is_able, reason = checks[scaling]()
    if not is_able:
        raise RecipeError(
            f"model.fp8={scaling}: {torch.cuda.get_device_name()}: {reason} Use fp8=none"
        )


def _chunk(
    arch: Architecture,
    parallel: Parallel,
    config: TransformerConfig,
    transformer_engine: bool,
    virtual_stage: int | None,
) -> GPTModel:
    stage: dict[str, Any] = {"ignore_virtual": False, "vp_stage": virtual_stage}
    model = GPTModel(
        config=config,
        transformer_layer_spec=layer_spec(
            config, transformer_engine, arch.output_bias, virtual_stage
        ),
        vocab_size=padded_vocab(arch.vocab_size, parallel.tensor),
        max_sequence_length=arch.max_positions,
        pre_process=parallel_state.is_pipeline_first_stage(**stage),
        post_process=parallel_state.is_pipeline_last_stage(**stage),
        parallel_output=True,
        share_embeddings_and_output_weights=arch.tied,
        position_embedding_type="rope",
        rotary_base=arch.rope_theta,
        vp_stage=virtual_stage,
    )
    if arch.rope_scaling is not None:
        # Megatron's own scaling knows no other bounds and positions than Llama 3.1's.
        rope = model.rotary_pos_emb
        rope.inv_freq = scale_frequencies(rope.inv_freq, arch.rope_scaling)
    for name, parameter in model.named_parameters():
        if ".local_experts." in name:
            # A gradient buffer and an optimizer of their own, also where each rank holds all
            # experts: a checkpoint then loads under any expert parallel.
            parameter.allreduce = False
    if model.post_process:
        # Megatron's own layer, parameters and all, with another forward.
        model.output_layer.__class__ = _OutputLayer
    return model


def scale_frequencies(frequencies: torch.Tensor, rope: Llama3Rope) -> torch.Tensor:
    """[d/2] radians per position -> the same, scaled."""
    turns = frequencies * rope.original_positions / (2 * math.pi)
    kept = ((turns - rope.low_turns) / (rope.high_turns - rope.low_turns)).clamp(0, 1)
    return frequencies * (kept + (1 - kept) / rope.factor)


def output_weight(model: GPTModel) -> torch.Tensor:
    """[V/tp, H]: this rank's rows of the output layer's weight, of the last chunk; the embedding's
    if tied."""
    if model.share_embeddings_and_output_weights:
        return model.shared_embedding_or_output_weight()
    return model.output_layer.weight


class _OutputLayer(ColumnParallelLinear):
    """Leaves the product with the weight to the loss (vocab.py), which never needs all logits at
    once.

    The model's output [1, T, H] are the hidden states, the same on all tensor-parallel ranks.
    """

    def forward(self, input_, weight=None, runtime_gather_output=None):
        # Either sums the gradient, of which each rank's vocabulary has a share, in the backward.
        if self.sequence_parallel:
            hidden = gather_from_sequence_parallel_region(input_, tensor_parallel_output_grad=True)
        else:
            hidden = copy_to_tensor_model_parallel_region(input_)
        return hidden, None
