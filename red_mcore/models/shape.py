"""A model's shape: all numbers that its layers and its parameters follow from. No torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Llama3Rope:
    """The rotary frequencies of Llama 3.1 on: slow ones are divided by ``factor``, fast ones kept,
    and those between blended.

    The turns that a frequency makes in ``original_positions`` tell whether it is slow or fast.
    """

    factor: float
    low_turns: float
    """A frequency of at most these turns is slow."""
    high_turns: float
    """A frequency of at least these turns is fast."""
    original_positions: int


@dataclass(frozen=True)
class Experts:
    """A mixture of experts stands in the place of each layer's MLP; a token uses those with the
    largest share of the softmax over all."""

    count: int
    per_token: int
    normalized: bool
    """The weights of a token's experts are divided by their sum."""


@dataclass(frozen=True)
class Architecture:
    """A decoder-only transformer with RMSNorm, SwiGLU, grouped-query attention and rotary
    positions."""

    model_type: str
    vocab_size: int
    hidden_size: int
    ffn_size: int
    """Width of the MLP, or of one expert."""
    layers: int
    heads: int
    kv_groups: int
    head_dim: int
    rope_theta: float
    norm_eps: float
    tied: bool
    """Input embedding and output layer share their weight."""
    qkv_bias: bool
    """The projections to query, key and value have biases."""
    max_positions: int
    init_std: float
    qk_norm: bool = False
    """Each head's query and key are normalized before the rotation."""
    output_bias: bool = False
    """The projection behind the attention has a bias."""
    rope_scaling: Llama3Rope | None = None
    window: int | None = None
    """The most tokens back that attention reaches. It is not computed: sequences have to be as
    short."""
    experts: Experts | None = None

    @property
    def parameters(self) -> int:
        """The parameter count, in which a tied output layer is not counted twice."""
        h, d = self.hidden_size, self.head_dim
        qkv = (self.heads + 2 * self.kv_groups) * d
        attention = h * qkv + self.heads * d * h
        if self.qkv_bias:
            attention += qkv
        if self.output_bias:
            attention += h
        if self.qk_norm:
            attention += 2 * d
        mlp = 3 * h * self.ffn_size
        if self.experts is not None:
            mlp = self.experts.count * (mlp + h)  # h weights of the router for each
        vocabularies = 1 if self.tied else 2
        return self.layers * (attention + mlp + 2 * h) + h + vocabularies * self.vocab_size * h
