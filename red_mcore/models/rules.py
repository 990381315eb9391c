"""Names and tensor rules between Hugging Face and Megatron-Core, by the model's family."""

from __future__ import annotations

from collections.abc import Iterator

from red_mcore.models.families import FAMILIES
from red_mcore.models.headers import Shape
from red_mcore.models.parts import Rule
from red_mcore.models.shape import Architecture

__all__ = ["Rule", "Shape", "hf_shapes", "rules", "tied_names"]


def rules(arch: Architecture) -> Iterator[Rule]:
    """All parameters of the model, in the order in which they are streamed."""
    return FAMILIES[arch.model_type].rules(arch)


def hf_shapes(arch: Architecture) -> dict[str, Shape]:
    """Name -> shape of every tensor of the HF checkpoint; a tied output layer is not among them."""
    shapes: dict[str, Shape] = {}
    for rule in rules(arch):
        shapes.update(rule.hf)
    return shapes


def tied_names(arch: Architecture) -> dict[str, str]:
    """A tensor that files may hold a second time: its name -> that of its equal."""
    if not arch.tied:
        return {}
    return {"lm_head.weight": "model.embed_tokens.weight"}
