"""What rules between Hugging Face's tensors and Megatron-Core's parameters are made of.

A rule says which HF tensors make one Megatron parameter and how they are cut over tensor-parallel
ranks. The same rules serve loading, publication to the engine and export. ``decoder`` gives those
of the names that most families share; a family with other names (``Family.rules``) gives its own,
from the same parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from red_mcore.models.headers import Shape
from red_mcore.models.shape import Architecture

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Rule:
    """One Megatron parameter has a name, HF tensors that it holds, and both directions between."""

    megatron: str
    """The name in a whole, unsplit model, whose layers are counted from the first stage."""
    hf: tuple[tuple[str, Shape], ...]
    """(name, shape) of each HF tensor."""
    layer: int | None
    """The decoder layer; None for what stands before them (embedding) or behind (norm, output)."""
    split: Callable[[list[Tensor], int, int], Tensor]
    """(whole HF tensors, rank, size) -> this tensor-parallel rank's part."""
    merge: Callable[[list[Tensor]], list[Tensor]]
    """Parts of all tensor-parallel ranks -> whole HF tensors."""
    expert: int | None = None
    """The expert of the layer, which one expert-parallel rank holds; None for what all hold."""


def decoder(arch: Architecture) -> Iterator[Rule]:
    """All parameters of a model with the usual names, in the order in which they are streamed."""
    h = arch.hidden_size
    yield vocabulary("embedding.word_embeddings.weight", "model.embed_tokens.weight", arch)
    for i in range(arch.layers):
        megatron, hf = f"decoder.layers.{i}", f"model.layers.{i}"
        yield same(f"{megatron}.input_layernorm.weight", f"{hf}.input_layernorm.weight", (h,), i)
        yield from attention(f"{megatron}.self_attention", f"{hf}.self_attn", arch, i)
        after = f"{hf}.post_attention_layernorm.weight"
        yield same(f"{megatron}.pre_mlp_layernorm.weight", after, (h,), i)
        if arch.experts is None:
            yield from mlp(f"{megatron}.mlp", f"{hf}.mlp", arch, i)
        else:
            yield from experts(f"{megatron}.mlp", f"{hf}.mlp", arch, arch.experts.count, i)
    yield same("decoder.final_layernorm.weight", "model.norm.weight", (h,), None)
    if not arch.tied:
        yield vocabulary("output_layer.weight", "lm_head.weight", arch)


def attention(megatron: str, hf: str, arch: Architecture, layer: int) -> Iterator[Rule]:
    """The projections around the attention, and the norms of query and key."""
    h, d = arch.hidden_size, arch.head_dim
    rows = {"q": arch.heads * d, "k": arch.kv_groups * d, "v": arch.kv_groups * d}
    weights = [(f"{hf}.{p}_proj.weight", (n, h)) for p, n in rows.items()]
    yield query_key_value(f"{megatron}.linear_qkv.weight", weights, arch, layer)
    if arch.qkv_bias:
        biases = [(f"{hf}.{p}_proj.bias", (n,)) for p, n in rows.items()]
        yield query_key_value(f"{megatron}.linear_qkv.bias", biases, arch, layer)
    if arch.qk_norm:
        for p in ("q", "k"):
            yield same(f"{megatron}.{p}_layernorm.weight", f"{hf}.{p}_norm.weight", (d,), layer)
    yield columns(f"{megatron}.linear_proj.weight", f"{hf}.o_proj.weight", (h, rows["q"]), layer)
    if arch.output_bias:
        # Whole on every rank: it is added once, to the sum of their products.
        yield same(f"{megatron}.linear_proj.bias", f"{hf}.o_proj.bias", (h,), layer)


def experts(megatron: str, hf: str, arch: Architecture, count: int, layer: int) -> Iterator[Rule]:
    """The router of a mixture, and its experts one by one."""
    yield same(f"{megatron}.router.weight", f"{hf}.gate.weight", (count, arch.hidden_size), layer)
    for e in range(count):
        yield from mlp(f"{megatron}.experts.local_experts.{e}", f"{hf}.experts.{e}", arch, layer, e)


def mlp(
    megatron: str, hf: str, arch: Architecture, layer: int, expert: int | None = None
) -> Iterator[Rule]:
    """The three matrices of a SwiGLU, of which Megatron holds gate and up as one."""
    h, ffn = arch.hidden_size, arch.ffn_size
    gate_up = ((f"{hf}.gate_proj.weight", (ffn, h)), (f"{hf}.up_proj.weight", (ffn, h)))
    fc1 = f"{megatron}.linear_fc1.weight"
    yield Rule(fc1, gate_up, layer, _split_gate_up, _merge_gate_up, expert)
    fc2 = f"{megatron}.linear_fc2.weight"
    yield columns(fc2, f"{hf}.down_proj.weight", (h, ffn), layer, expert)


def same(megatron: str, hf: str, shape: Shape, layer: int | None) -> Rule:
    """A tensor that every tensor-parallel rank holds whole."""

    def split(whole: list[Tensor], rank: int, size: int) -> Tensor:
        return whole[0]

    def merge(parts: list[Tensor]) -> list[Tensor]:
        # A copy: what is streamed must not change under a receiver when the parameter does.
        return [parts[0].clone()]

    return Rule(megatron, ((hf, shape),), layer, split, merge)


def columns(megatron: str, hf: str, shape: Shape, layer: int, expert: int | None = None) -> Rule:
    """A row-parallel linear layer, whose input dimension is cut."""

    def split(whole: list[Tensor], rank: int, size: int) -> Tensor:
        return whole[0].chunk(size, dim=1)[rank]

    def merge(parts: list[Tensor]) -> list[Tensor]:
        return [_cat(parts, dim=1)]

    return Rule(megatron, ((hf, shape),), layer, split, merge, expert)


def vocabulary(megatron: str, hf: str, arch: Architecture) -> Rule:
    """A row for each word, cut over the ranks after padding with zeros to a multiple of them.

    Merging drops the padding.
    """

    def split(whole: list[Tensor], rank: int, size: int) -> Tensor:
        rows = -(-arch.vocab_size // size)
        part = whole[0][rank * rows : (rank + 1) * rows]
        padding = part.new_zeros(rows - len(part), part.shape[1])
        return _cat((part, padding))

    def merge(parts: list[Tensor]) -> list[Tensor]:
        return [_cat(parts)[: arch.vocab_size]]

    return Rule(megatron, ((hf, (arch.vocab_size, arch.hidden_size)),), None, split, merge)


def query_key_value(
    megatron: str, names: Sequence[tuple[str, Shape]], arch: Architecture, layer: int
) -> Rule:
    """Query, key and value are interleaved by group: its query heads, then its key, then its
    value."""
    groups, d = arch.kv_groups, arch.head_dim
    rows = (arch.heads // groups * d, d, d)  # of each group

    def split(whole: list[Tensor], rank: int, size: int) -> Tensor:
        inner = whole[0].shape[1:]
        by_group = [tensor.view(groups, n, *inner) for tensor, n in zip(whole, rows, strict=True)]
        return _cat(by_group, dim=1).chunk(size)[rank].reshape(-1, *inner)

    def merge(parts: list[Tensor]) -> list[Tensor]:
        whole = _cat(parts)
        inner = whole.shape[1:]
        by_group = whole.view(groups, sum(rows), *inner).split(rows, dim=1)
        return [tensor.reshape(-1, *inner) for tensor in by_group]

    return Rule(megatron, tuple(names), layer, split, merge)


def _split_gate_up(whole: list[Tensor], rank: int, size: int) -> Tensor:
    return _cat([tensor.chunk(size)[rank] for tensor in whole])


def _merge_gate_up(parts: list[Tensor]) -> list[Tensor]:
    gates, ups = [], []
    for part in parts:
        gate, up = part.chunk(2)
        gates.append(gate)
        ups.append(up)
    return [_cat(gates), _cat(ups)]


def _cat(parts: Sequence[Tensor], dim: int = 0) -> Tensor:
    import torch  # names and shapes are asked for where it is not wanted

    return torch.cat(tuple(parts), dim=dim)
