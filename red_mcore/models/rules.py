"""Names and tensor rules between Hugging Face and Megatron-Core, for the decoders that ``architecture`` knows.

A rule says which HF tensors make one Megatron parameter and how they are cut over tensor-parallel ranks. The same rules
serve loading, publication to the engine and export.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from red_mcore.models.architecture import Architecture
from red_mcore.models.headers import Shape

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Rule:
    """One Megatron parameter: its name, the HF tensors it holds, and both directions between them."""

    megatron: str
    """Name in a whole, unsplit model: layers counted from the first stage."""
    hf: tuple[tuple[str, Shape], ...]
    """(name, shape) of each HF tensor."""
    layer: int | None
    """Decoder layer; None for what stands before (embedding) or after (final norm, output layer) them."""
    split: Callable[[list[Tensor], int, int], Tensor]
    """(whole HF tensors, rank, size) -> this tensor-parallel rank's part."""
    merge: Callable[[list[Tensor]], list[Tensor]]
    """Parts of all tensor-parallel ranks -> whole HF tensors."""
    expert: int | None = None
    """Expert of the layer, which one of the expert-parallel ranks holds; None for what they all hold."""


def rules(arch: Architecture) -> Iterator[Rule]:
    """All parameters of the model, in the order in which they are streamed."""
    h, d = arch.hidden_size, arch.head_dim
    q, kv = arch.heads * d, arch.kv_groups * d
    yield _vocab("embedding.word_embeddings.weight", "model.embed_tokens.weight", arch)
    for i in range(arch.layers):
        mg, hf = f"decoder.layers.{i}", f"model.layers.{i}"
        yield _same(f"{mg}.input_layernorm.weight", f"{hf}.input_layernorm.weight", (h,), i)
        kinds = (("weight", (h,)), ("bias", ())) if arch.qkv_bias else (("weight", (h,)),)
        for kind, inner in kinds:
            names = [(f"{hf}.self_attn.{p}_proj.{kind}", (n, *inner)) for p, n in (("q", q), ("k", kv), ("v", kv))]
            yield _qkv(f"{mg}.self_attention.linear_qkv.{kind}", names, arch, i)
        for p in ("q", "k") if arch.qk_norm else ():
            yield _same(f"{mg}.self_attention.{p}_layernorm.weight", f"{hf}.self_attn.{p}_norm.weight", (d,), i)
        yield _columns(f"{mg}.self_attention.linear_proj.weight", f"{hf}.self_attn.o_proj.weight", (h, q), i)
        yield _same(f"{mg}.pre_mlp_layernorm.weight", f"{hf}.post_attention_layernorm.weight", (h,), i)
        if arch.experts is None:
            yield from _mlp(f"{mg}.mlp", f"{hf}.mlp", arch, i)
            continue
        yield _same(f"{mg}.mlp.router.weight", f"{hf}.mlp.gate.weight", (arch.experts.count, h), i)
        for e in range(arch.experts.count):
            yield from _mlp(f"{mg}.mlp.experts.local_experts.{e}", f"{hf}.mlp.experts.{e}", arch, i, e)
    yield _same("decoder.final_layernorm.weight", "model.norm.weight", (h,), None)
    if not arch.tied:
        yield _vocab("output_layer.weight", "lm_head.weight", arch)


def hf_shapes(arch: Architecture) -> dict[str, Shape]:
    """Name -> shape of every tensor of the HF checkpoint; a tied output layer is not among them."""
    return {name: shape for rule in rules(arch) for name, shape in rule.hf}


def tied_names(arch: Architecture) -> dict[str, str]:
    """A tensor that files may hold a second time: its name -> that of its equal."""
    return {"lm_head.weight": "model.embed_tokens.weight"} if arch.tied else {}


def _same(megatron: str, hf: str, shape: Shape, layer: int | None) -> Rule:
    # A copy: what is streamed must not change under a receiver when the parameter does.
    return Rule(megatron, ((hf, shape),), layer, lambda t, rank, size: t[0], lambda parts: [parts[0].clone()])


def _mlp(megatron: str, hf: str, arch: Architecture, layer: int, expert: int | None = None) -> Iterator[Rule]:
    h, ffn = arch.hidden_size, arch.ffn_size
    gate_up = tuple((f"{hf}.{p}_proj.weight", (ffn, h)) for p in ("gate", "up"))
    yield Rule(f"{megatron}.linear_fc1.weight", gate_up, layer, _split_gate_up, _merge_gate_up, expert)
    yield _columns(f"{megatron}.linear_fc2.weight", f"{hf}.down_proj.weight", (h, ffn), layer, expert)


def _columns(megatron: str, hf: str, shape: Shape, layer: int, expert: int | None = None) -> Rule:
    """Row-parallel linear: the input dimension is cut."""
    return Rule(
        megatron,
        ((hf, shape),),
        layer,
        lambda t, rank, size: t[0].chunk(size, dim=1)[rank],
        lambda parts: [_cat(parts, dim=1)],
        expert,
    )


def _vocab(megatron: str, hf: str, arch: Architecture) -> Rule:
    """Rows cut over the ranks after padding with zeros to a multiple of them; merging drops the padding."""

    def split(t: list[Tensor], rank: int, size: int) -> Tensor:
        rows = -(-arch.vocab_size // size)
        part = t[0][rank * rows : (rank + 1) * rows]
        return _cat((part, part.new_zeros(rows - len(part), part.shape[1])))

    return Rule(
        megatron,
        ((hf, (arch.vocab_size, arch.hidden_size)),),
        None,
        split,
        lambda parts: [_cat(parts)[: arch.vocab_size]],
    )


def _qkv(megatron: str, names: list[tuple[str, Shape]], arch: Architecture, layer: int) -> Rule:
    """Query, key and value interleaved by group: each group's query heads, then its key, then its value."""
    groups, per_group, d = arch.kv_groups, arch.heads // arch.kv_groups, arch.head_dim

    def split(t: list[Tensor], rank: int, size: int) -> Tensor:
        inner = t[0].shape[1:]
        q, k, v = t[0].view(groups, per_group * d, *inner), t[1].view(groups, d, *inner), t[2].view(groups, d, *inner)
        return _cat((q, k, v), dim=1).chunk(size)[rank].reshape(-1, *inner)

    def merge(parts: list[Tensor]) -> list[Tensor]:
        whole = _cat(parts)
        inner = whole.shape[1:]
        cut = whole.view(groups, (per_group + 2) * d, *inner).split((per_group * d, d, d), dim=1)
        return [x.reshape(-1, *inner) for x in cut]

    return Rule(megatron, tuple(names), layer, split, merge)


def _split_gate_up(t: list[Tensor], rank: int, size: int) -> Tensor:
    return _cat([x.chunk(size)[rank] for x in t])


def _merge_gate_up(parts: list[Tensor]) -> list[Tensor]:
    halves = [part.chunk(2) for part in parts]
    return [_cat([half[i] for half in halves]) for i in (0, 1)]


def _cat(parts: Sequence[Tensor], dim: int = 0) -> Tensor:
    import torch  # names and shapes are asked for where it is not wanted

    return torch.cat(tuple(parts), dim=dim)
