"""Norm, core attention and layer specification that run on any device, over packed sequences."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.tensor_parallel import RowParallelLinear, gather_from_sequence_parallel_region
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_block import (
    TransformerBlockSubmodules,
    get_num_layers_to_build,
)
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor
from torch.nn import functional


class RMSNorm(torch.nn.Module):
    """Root-mean-square norm; torch's own wrapper in Megatron-Core refuses sequence parallel."""

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.weight = torch.nn.Parameter(torch.ones(hidden_size, dtype=config.params_dtype))
        # So marked, its gradient is summed over the tensor-parallel ranks by finalize_model_grads.
        setattr(self.weight, "sequence_parallel", config.sequence_parallel)  # noqa: B010

    def forward(self, x: Tensor) -> Tensor:
        normed = functional.rms_norm(x.float(), (x.shape[-1],), self.weight.float(), self.eps)
        return normed.to(x.dtype)


def chunks_of(ranks: int) -> int:
    """Chunks that a sequence is cut into over as many context-parallel ranks: its length is a
    multiple."""
    return 1 if ranks == 1 else 2 * ranks


def local_order(lengths: list[int], rank: int, ranks: int) -> Tensor:
    """[T / ranks] int64: positions in a pack of the tokens that context-parallel ``rank`` of
    ``ranks`` holds.

    Each sequence is cut into 2 ranks chunks, and a rank holds its number from the front and from
    the back: the early chunk attends to few tokens, the late one to many, and all ranks have equal
    work.
    """
    if ranks == 1:
        return torch.arange(sum(lengths))
    held, start = [], 0
    for length in lengths:
        chunks = torch.arange(start, start + length).view(2 * ranks, -1)
        held += [chunks[rank], chunks[-1 - rank]]
        start += length
    return torch.cat(held)


@dataclass
class Bucket:
    """Chunks of sequences (whole ones without context parallel) that one attention call
    computes."""

    queries: Tensor
    """[n, L] int64: positions of n chunks in this rank's tokens; beyond a chunk's end its last
    token is repeated."""
    keys: Tensor
    """[n, K] int64: all tokens up to the end of each chunk, repeated likewise, in those of all
    ranks one after the other."""
    last: Tensor | None
    """[n, L] int64: the last of the keys that each query sees; None where L = K and query t sees
    the first t."""

    @property
    def mask(self) -> Tensor | None:
        """[n, 1, L, K] bool, made when it is needed: of a long sequence it is large."""
        if self.last is None:
            return None
        keys = torch.arange(self.keys.shape[1], device=self.keys.device)
        return keys <= self.last[:, None, :, None]


@dataclass
class Packing(PackedSeqParams):
    """Sequence borders of a micro-batch, with the padded buckets that the core attention computes
    in.

    Chunks are grouped by the next power of two of their length, so a pack costs at most
    log2(longest) attention calls (twice that under context parallel) and no bucket is padded beyond
    twice its tokens.
    """

    buckets: list[Bucket] = field(default_factory=list)
    inverse: Tensor | None = None
    """[T / ranks] int64: where this rank's token t stands in the concatenation of the flattened
    buckets."""

    @classmethod
    def of(cls, lengths: list[int], device: torch.device, rank: int = 0, ranks: int = 1) -> Packing:
        """Packing of sequences that stand one after the other, split over context-parallel
        ``ranks`` (``local_order``).

        ``lengths``, in tokens, of whole sequences, are positive multiples of ``chunks_of(ranks)``.
        """
        ends = torch.tensor([0, *lengths]).cumsum(0)
        chunks = chunks_of(ranks)
        sizes = torch.tensor(lengths) // chunks
        by_size: dict[tuple[int, int], list[int]] = {}
        for number in sorted({rank, chunks - 1 - rank}):  # the chunks that this rank holds
            for i, length in enumerate(sizes.tolist()):
                by_size.setdefault((number, (length - 1).bit_length()), []).append(i)
        gathered = torch.cat([local_order(lengths, r, ranks) for r in range(ranks)])
        place = torch.empty_like(gathered)
        place[gathered] = torch.arange(len(gathered))
        held = len(gathered) // ranks
        buckets, inverse, offset = [], torch.empty(held, dtype=torch.long), 0
        for (number, _), members in by_size.items():
            size = sizes[members][:, None]
            start = ends[members][:, None]
            steps = torch.arange(int(size.max()))
            before = torch.arange((number + 1) * int(size.max()))
            # Of each query's keys: its position in the sequence.
            last = number * size + torch.minimum(steps, size - 1)
            queries = place[start + last] - rank * held
            keys = place[start + torch.minimum(before, (number + 1) * size - 1)]
            real = steps < size
            inverse[queries[real]] = offset + torch.arange(queries.numel()).view_as(queries)[real]
            bucket = Bucket(queries.to(device), keys.to(device), None)
            if number:  # the first chunk's queries see nothing before it: plain causal attention
                bucket.last = last.to(device)
            buckets.append(bucket)
            offset += queries.numel()
        borders = ends.to(device=device, dtype=torch.int32)
        return cls(
            qkv_format="thd",
            cu_seqlens_q=borders,
            cu_seqlens_kv=borders,
            # Exactly the longest: Megatron's rotary code takes frequencies as long as the pack for
            # absolute positions.
            max_seqlen_q=max(lengths),
            max_seqlen_kv=max(lengths),
            buckets=buckets,
            inverse=inverse.to(device),
        )


class PackedAttention(MegatronModule):
    """Causal self-attention within each packed sequence, by torch's scaled_dot_product_attention.

    Under context parallel, keys and values of all ranks are gathered; the backward sums their
    gradients and scatters.
    """

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
        self._context_group = pg_collection.cp if config.context_parallel_size > 1 else None

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
        """query [T, heads, d], key and value [T, groups, d] of this rank's T tokens -> [T, heads *
        d]."""
        if self._context_group is not None:
            # Both at once: one collective instead of two.
            both = torch.stack((key, value), dim=1)
            both = gather_from_sequence_parallel_region(both, group=self._context_group)
            key, value = both.unbind(1)
        assert packed_seq_params is not None, "sequences come in packs here"
        outputs = []
        for bucket in packed_seq_params.buckets:
            q = query[bucket.queries].transpose(1, 2)  # [n, heads, L, d]
            k = key[bucket.keys].transpose(1, 2)  # [n, groups, K, d]
            v = value[bucket.keys].transpose(1, 2)
            mask = bucket.mask
            if mask is not None:
                # On GPUs, the only kernel that takes a mask and fewer heads of keys than of queries
                # keeps all scores.
                copies = q.shape[1] // k.shape[1]
                k = k.repeat_interleave(copies, dim=1)
                v = v.repeat_interleave(copies, dim=1)
            out = functional.scaled_dot_product_attention(
                q,
                k,
                v,
                attn_mask=mask,
                is_causal=mask is None,
                scale=self.softmax_scale,
                enable_gqa=q.shape[1] != k.shape[1],
            )
            outputs.append(out.transpose(1, 2).reshape(-1, q.shape[1] * q.shape[3]))
        return torch.cat(outputs)[packed_seq_params.inverse]


class BiasedOutput(RowParallelLinear):
    """The projection behind the attention with a bias, where Megatron's MLP has none.

    Megatron has one setting for both. The layer gives the bias to its caller, which adds it once.
    """

    def __init__(self, *args: Any, bias: bool, **settings: Any):
        super().__init__(*args, bias=True, **settings)


def layer_spec(
    config: TransformerConfig,
    transformer_engine: bool,
    output_bias: bool = False,
    virtual_stage: int | None = None,
) -> TransformerBlockSubmodules:
    """The decoder layers of this pipeline stage: Megatron's own layer, of Transformer Engine's
    parts or of ours.

    Norms stand before their linear layers and not in them, so that parameters have the same names
    either way.
    """
    layer = get_gpt_layer_local_spec(
        num_experts=config.num_moe_experts,
        qk_layernorm=config.qk_layernorm,
        normalization="RMSNorm",
    )
    attention, mlp = layer.submodules.self_attention.submodules, layer.submodules.mlp.submodules
    norm, attention.core_attention = RMSNorm, PackedAttention
    if transformer_engine:
        from megatron.core.extensions import transformer_engine as parts

        norm, attention.core_attention = parts.TENorm, parts.TEDotProductAttention
        attention.linear_qkv = mlp.linear_fc1 = parts.TEColumnParallelLinear
        attention.linear_proj = mlp.linear_fc2 = parts.TERowParallelLinear
    if output_bias:
        attention.linear_proj = BiasedOutput
    layer.submodules.input_layernorm = layer.submodules.pre_mlp_layernorm = norm
    if config.qk_layernorm:
        attention.q_layernorm = attention.k_layernorm = norm
    return TransformerBlockSubmodules(
        layer_specs=[layer] * get_num_layers_to_build(config, vp_stage=virtual_stage),
        layer_norm=norm,
    )
