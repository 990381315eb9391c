"""Megatron-Core 0.16.1 on CPU ranks: what it asks of the CUDA device is answered by the CPU.

Megatron-Core writes ``device="cuda"``, ``torch.cuda.current_device()`` and CUDA streams into its
code. ``install`` replaces those entry points once per process, and ``on_device`` redirects literal
cuda devices while Megatron code runs. Neither does anything where a CUDA device is present, so CPU
and GPU ranks share one code path.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_CPU = torch.device("cpu")
# The optimizer compares Tensor.type() with the names of CUDA tensors.
_CUDA_NAMES = {
    "torch.FloatTensor": "torch.cuda.FloatTensor",
    "torch.BFloat16Tensor": "torch.cuda.BFloat16Tensor",
    "torch.HalfTensor": "torch.cuda.HalfTensor",
}
_installed = False


def needed() -> bool:
    """True on a machine without a CUDA device."""
    return not torch.cuda.is_available()


def device() -> torch.device:
    """The device of this rank's tensors."""
    return _CPU if needed() else torch.device("cuda", torch.cuda.current_device())


def name() -> str:
    """What this rank computes on, for people."""
    return "CPU" if needed() else torch.cuda.get_device_name()


def install() -> None:
    """Replace Megatron's CUDA entry points with CPU ones; does nothing with a CUDA device or when
    already done."""
    global _installed
    if _installed or not needed():
        return
    _installed = True
    cuda: Any = torch.cuda
    tensors: Any = torch.Tensor
    cuda.current_device = lambda: _CPU
    cuda.synchronize = lambda *args, **kwargs: None
    cuda.empty_cache = lambda: None
    cuda.get_rng_state = lambda *args, **kwargs: torch.get_rng_state()
    cuda.manual_seed = torch.manual_seed
    cuda.default_stream = cuda.current_stream = lambda *args, **kwargs: _Stream()
    cuda.Stream = cuda.Event = _Stream
    cuda.stream = lambda *args, **kwargs: _Stream()
    tensors.record_stream = lambda tensor, stream: None
    import megatron.core.tensor_parallel.random as random
    import megatron.core.transformer.moe.moe_utils as moe_utils

    random._get_cuda_rng_state = lambda *args, **kwargs: torch.get_rng_state()
    random._set_cuda_rng_state = lambda state, *args, **kwargs: torch.set_rng_state(state)
    # 0.16.1 reads this name even where the Transformer Engine import that defines it failed.
    if not hasattr(moe_utils, "te_general_gemm"):
        moe_utils.te_general_gemm = None


def on_device() -> AbstractContextManager:
    """Context in which Megatron code may name the cuda device literally; every call into Megatron
    runs inside it."""
    return _CudaIsCpu() if needed() else nullcontext()


class _CudaIsCpu(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if _is_cuda(kwargs.get("device")):
            kwargs = {**kwargs, "device": _CPU}
        if func is torch.Tensor.cuda:
            return args[0]
        if func is torch.Tensor.to and len(args) > 1 and _is_cuda(args[1]):
            args = (args[0], _CPU, *args[2:])
        if func is torch.Tensor.type and len(args) == 1 and not kwargs:
            name = func(*args)
            return _CUDA_NAMES.get(name, name)
        return func(*args, **kwargs)


def _is_cuda(value: object) -> bool:
    if isinstance(value, torch.device):
        return value.type == "cuda"
    return isinstance(value, str) and value.startswith("cuda")


class _Stream:
    """A stream and an event on a device without either: everything has already happened."""

    def __init__(self, *args, **kwargs):
        pass

    def _done(self, *args, **kwargs):
        return self

    wait_stream = wait_event = record_event = record = wait = synchronize = __enter__ = _done

    def __exit__(self, *error):
        return None
