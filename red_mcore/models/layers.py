"""Which layers a model gets on this machine: Transformer Engine's or Megatron-Core's own. No
torch."""

from __future__ import annotations

from red_mcore.config.recipe import Model, RecipeError
from red_mcore.models.architecture import Architecture
from red_mcore.system.devices import has_gpu, has_transformer_engine

FP8_MULTIPLE = {"tensorwise": 16, "blockwise": 128}
"""What all dimensions of a matrix product in FP8 have to be multiples of, by the scaling."""


def uses_transformer_engine(model: Model, arch: Architecture, on_gpu: bool) -> bool:
    """Whether the layers are Transformer Engine's (``model.layers``); ``check_layers`` tells
    whether they can be."""
    if model.layers != "auto":
        return model.layers == "transformer_engine"
    is_able = arch.experts is None and not arch.output_bias
    return on_gpu and model.dtype == "bfloat16" and is_able and has_transformer_engine()


def check_layers(model: Model, arch: Architecture | None, tensor: int) -> None:
    """RecipeError where this machine, or a model of this shape (None: not yet known), cannot have
    the layers asked for.

    ``tensor``: ranks that split each layer.
    """
    if model.layers == "transformer_engine" or model.fp8 != "none":
        field, fix = f"model.layers={model.layers}", "use layers=auto"
        if model.fp8 != "none":
            field, fix = f"model.fp8={model.fp8}", "use fp8=none"
        wants = {
            "an NVIDIA GPU, and this machine has none": not has_gpu(),
            "Transformer Engine, which is not installed": not has_transformer_engine(),
            f"bfloat16, and model.dtype is {model.dtype}": model.dtype != "bfloat16",
            "a model without experts": arch is not None and arch.experts is not None,
            "a model without a bias behind the attention": arch is not None and arch.output_bias,
            f"Transformer Engine's layers, and model.layers is {model.layers}": model.layers
            == "local",
        }
        for want, is_missing in wants.items():
            if is_missing:
                raise RecipeError(f"{field} needs {want}: {fix}")
    if arch is None or model.fp8 == "none":
        return
    widths = {
        "hidden_size": arch.hidden_size,
        "intermediate_size / parallel.tensor": arch.ffn_size // tensor,
        "heads x head_dim / parallel.tensor": arch.heads * arch.head_dim // tensor,
        "key-value heads x head_dim / parallel.tensor": arch.kv_groups * arch.head_dim // tensor,
    }
    multiple = FP8_MULTIPLE[model.fp8]
    for name, width in widths.items():
        if width % multiple:
            raise RecipeError(
                f"model.fp8={model.fp8}: {name} = {width} is no multiple of {multiple}:"
                " use fp8=none"
            )
