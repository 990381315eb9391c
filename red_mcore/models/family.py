"""What a family of models has to say of itself. Each is one file of ``families``. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from red_mcore.models.parts import Rule, decoder
from red_mcore.models.shape import Architecture

Config = Mapping[str, Any]
"""The fields of a ``config.json``."""


def _nothing(config: Config) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Family:
    """A ``model_type``: what it implies beyond the fields that all families have."""

    model_type: str
    name: str
    """The class of the model in transformers and vLLM."""
    shape: Callable[[Config], dict[str, Any]] = _nothing
    """Fields of ``Architecture`` that are special to it, from values that have been checked.

    RecipeError, by name, where they do not fit one another.
    """
    needed: tuple[str, ...] = ("num_key_value_heads",)
    """Fields whose default differs between families, which therefore have to be there."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Further fields that ``shape`` reads, whole numbers from 1 on; what no model has more of."""
    switches: tuple[str, ...] = ()
    """Further fields that ``shape`` reads, true or false."""
    ignored: frozenset[str] = frozenset()
    """Fields that its files have and that change nothing here."""
    rules: Callable[[Architecture], Iterator[Rule]] = decoder
    """The names of its tensors, and how Megatron's parameters are made from them."""

    @property
    def fields(self) -> frozenset[str]:
        """The fields of its own that it reads."""
        return frozenset(self.sizes) | frozenset(self.switches)


WITHOUT_WINDOW = frozenset({"sliding_window", "max_window_layers"})
"""Fields of Qwen's files, idle while use_sliding_window is false."""
