"""Norm, core attention and layer specification that run on any device, over packed sequences."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules, get_num_layers_to_build
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor
from torch.nn import functional


class RMSNorm(torch.nn.Module):
    """Root-mean-square norm; torch's own wrapper in Megatron-Core refuses sequence parallel."""

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.weight = torch.nn.Parameter(torch.ones(hidden_size, dtype=config.params_dtype))
        # finalize_model_grads sums the gradients of so marked weights over the tensor-parallel ranks.
        self.weight.sequence_parallel = config.sequence_parallel

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x.float(), (x.shape[-1],), self.weight.float(), self.eps).to(x.dtype)


@dataclass
class Packing(PackedSeqParams):
    """Sequence borders of a micro-batch, with the padded buckets that the core attention computes in.

    Sequences are grouped by the next power of two of their length, so a pack costs at most log2(longest) attention
    calls and no bucket is padded beyond twice its tokens.
    """

    buckets: list[Tensor] = field(default_factory=list)
    """Each [n, L] int64: positions in the pack of n sequences; beyond a sequence's end its last token is repeated."""
    inverse: Tensor | None = None
    """[T] int64: where token t stands in the concatenation of the flattened buckets."""

    @classmethod
    def of(cls, lengths: list[int], device: torch.device) -> Packing:
        """Packing of sequences that stand one after the other; ``lengths`` in tokens, all positive."""
        ends = torch.tensor([0, *lengths]).cumsum(0)
        by_size: dict[int, list[int]] = {}
        for i, length in enumerate(lengths):
            by_size.setdefault((length - 1).bit_length(), []).append(i)
        buckets, inverse, offset = [], torch.empty(int(ends[-1]), dtype=torch.long), 0
        for members in by_size.values():
            size = torch.tensor([lengths[i] for i in members])
            steps = torch.arange(int(size.max()))
            start = ends[torch.tensor(members)]
            bucket = start[:, None] + torch.minimum(steps[None, :], size[:, None] - 1)
            real = steps[None, :] < size[:, None]
            inverse[bucket[real]] = offset + torch.arange(bucket.numel()).view_as(bucket)[real]
            buckets.append(bucket.to(device))
            offset += bucket.numel()
        borders = ends.to(device=device, dtype=torch.int32)
        return cls(
            qkv_format="thd",
            cu_seqlens_q=borders,
            cu_seqlens_kv=borders,
            # Exactly the longest: Megatron's rotary code takes frequencies as long as the pack for absolute positions.
            max_seqlen_q=max(lengths),
            max_seqlen_kv=max(lengths),
            buckets=buckets,
            inverse=inverse.to(device),
        )


class PackedAttention(MegatronModule):
    """Causal self-attention within each packed sequence, by torch's scaled_dot_product_attention."""

    def __init__(
        self,
        config: TransformerConfig,
        layer_number: int,
        attn_mask_type,
        attention_type: str,
        attention_dropout: float | None = None,
        softmax_scale: float | None = None,
        cp_comm_type: str | None = None,
        pg_collection=None,
    ):
        super().__init__(config=config)
        self.softmax_scale = softmax_scale

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None = None,
        attn_mask_type=None,
        attention_bias: Tensor | None = None,
        packed_seq_params: Packing | None = None,
    ) -> Tensor:
        """query [T, heads, d], key and value [T, groups, d] -> [T, heads * d]."""
        outputs = []
        for bucket in packed_seq_params.buckets:
            q, k, v = (x[bucket].transpose(1, 2) for x in (query, key, value))  # [n, heads, L, d]
            out = functional.scaled_dot_product_attention(
                q, k, v, is_causal=True, scale=self.softmax_scale, enable_gqa=q.shape[1] != k.shape[1]
            )
            outputs.append(out.transpose(1, 2).reshape(-1, q.shape[1] * q.shape[3]))
        return torch.cat(outputs)[packed_seq_params.inverse]


def layer_spec(config: TransformerConfig) -> TransformerBlockSubmodules:
    """The decoder layers of this pipeline stage, with our norm and core attention in Megatron's own layer."""
    layer = get_gpt_layer_local_spec(
        num_experts=config.num_moe_experts, qk_layernorm=config.qk_layernorm, normalization="RMSNorm"
    )
    layer.submodules.input_layernorm = RMSNorm
    layer.submodules.pre_mlp_layernorm = RMSNorm
    attention = layer.submodules.self_attention.submodules
    attention.core_attention = PackedAttention
    if config.qk_layernorm:
        attention.q_layernorm = attention.k_layernorm = RMSNorm
    return TransformerBlockSubmodules(
        layer_specs=[layer] * get_num_layers_to_build(config, vp_stage=None), layer_norm=RMSNorm
    )
