"""What runs inside vLLM: the receiver of published weights and the processors that make log-probs
exact.

Imported by vLLM itself (``worker_extension_cls``) and by the engine, never without vLLM.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from vllm.config import set_current_vllm_config
from vllm.model_executor.model_loader.reload import (
    finalize_layerwise_reload,
    initialize_layerwise_reload,
)
from vllm.v1.sample.logits_processor import LogitsProcessor


class WeightReceiver:
    """Methods that vLLM adds to its worker; ``self`` is the worker."""

    vllm_config: Any
    model_runner: Any

    def receive_weights(self, tensors: Iterator[tuple[str, torch.Tensor]]) -> list[str]:
        """Load HF-named tensors in place; names of the engine's parameters that none of them
        reached.

        Plain ``model.load_weights`` is not enough: on a CPU the linear layers keep their weights in
        a packed form, which vLLM's layer-wise reload makes anew as soon as a layer is complete.
        """
        with torch.no_grad(), set_current_vllm_config(self.vllm_config):
            model = self.model_runner.get_model()
            names = {name for name, _ in model.named_parameters()}
            initialize_layerwise_reload(model)
            loaded = model.load_weights(tensors)
            finalize_layerwise_reload(model, self.model_runner.model_config)
            repack_tied_head(model)
            repack_experts(model)
        return sorted(names - loaded)


def repack_tied_head(model: Any) -> None:
    """Pack a tied output layer again (CPU): it shares the embedding's new values, but computes with
    an old packed copy.

    Without this the engine silently joins the new body to the old output layer.
    """
    head, embedding = model.lm_head, model.model.embed_tokens
    if hasattr(head, "cpu_linear") and head.weight.data_ptr() == embedding.weight.data_ptr():
        head.quant_method.process_weights_after_loading(head)


def repack_experts(model: Any) -> None:
    """Pack the experts again (CPU): the layer-wise reload puts them in place unpacked, and only a
    first load packs.

    Without this the engine silently computes with weights in the wrong order.
    """
    for layer in model.modules():
        kernel = getattr(getattr(layer, "quant_method", None), "moe_kernel", None)
        if kernel is not None and layer.w13_weight.device.type == "cpu":
            kernel.fused_experts.process_weights_after_loading(layer)


class _Normalize(LogitsProcessor):
    """Subtract the log-sum-exp in place: logits become log-probs, and the distribution stays as it
    is.

    ``logprobs_mode="processed_logits"`` then returns log-probs over the full vocabulary, since
    top-p, which comes afterwards, leaves the kept values alone; ``processed_logprobs`` would
    renormalize over the kept tokens, and ``raw_logprobs`` knows no temperature.
    """

    def __init__(self, vllm_config, device: torch.device, is_pin_memory: bool) -> None:
        """Signature fixed by vLLM; nothing is kept."""

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """[requests, V] float32 -> the same tensor, normalized."""
        return logits.sub_(logits.logsumexp(dim=-1, keepdim=True))

    def update_state(self, batch_update) -> None:
        """Nothing depends on the requests."""


class NormalizeSampled(_Normalize):
    """It works after the temperature: what random sampling returns is log_softmax(logits /
    temperature)."""

    def is_argmax_invariant(self) -> bool:
        return True  # vLLM applies these after the temperature, to random sampling only


class NormalizeGreedy(_Normalize):
    """It works before the temperature: what greedy sampling, which skips the rest, returns is
    log_softmax(logits)."""

    def is_argmax_invariant(self) -> bool:
        return False  # vLLM applies these to all requests
