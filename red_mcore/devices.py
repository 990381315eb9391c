"""What the machine has, told without torch, and which layers a model therefore gets."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from red_mcore.architecture import Architecture
from red_mcore.recipe import Model

FP8_MULTIPLE = 16
"""What all dimensions of a matrix product in FP8 have to be multiples of."""


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA GPU."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def has_transformer_engine() -> bool:
    """Whether Transformer Engine is installed."""
    return find_spec("transformer_engine") is not None


def uses_transformer_engine(model: Model, arch: Architecture, on_gpu: bool) -> bool:
    """Whether the layers are Transformer Engine's (``model.layers``); whether they can be is checked elsewhere."""
    if model.layers != "auto":
        return model.layers == "transformer_engine"
    return on_gpu and model.dtype == "bfloat16" and arch.experts is None and has_transformer_engine()
