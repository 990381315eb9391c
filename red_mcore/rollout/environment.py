"""The one place where settings that libraries read only from the environment are made, before their
import."""

from __future__ import annotations

import gc
import logging
import os
import sys
import warnings

_READ_AT_IMPORT_OF = {
    "TORCH_COMPILE_DISABLE": "torch._dynamo.config",
    "HF_HUB_OFFLINE": "huggingface_hub.constants",
}
"""Module that reads a setting once, when it is imported; the others are read by ``vllm``."""


def set_environment(*, offline: bool) -> None:
    """Set what vLLM, PyTorch and the Hugging Face client read only from the environment; to be
    called first in a rank.

    ``offline``: model and data are local, so that no hub need be asked. Raises RuntimeError if a
    setting changes after its reader was imported, when it would be silently without effect.
    """
    _quiet()
    import torch

    settings = {
        # Engine and worker live in this process: publication hands over tensors, and vLLM uses the
        # trainer's groups.
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        # Our logits processors work after the temperature, a place that vLLM's second model runner
        # does not have.
        "VLLM_USE_V2_MODEL_RUNNER": "0",
        # Requests have seeds of their own, which FlashInfer's sampler knows nothing of.
        "VLLM_USE_FLASHINFER_SAMPLER": "0",
        # A training run reports to nobody.
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
    if not torch.cuda.is_available():
        # vLLM would bind every rank to cores of its own choice; the launcher sets how many threads
        # a rank has.
        settings["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        # A first compilation costs 12-15 s, for kernels that a CPU runs as fast without it.
        settings["TORCH_COMPILE_DISABLE"] = "1"
        # Megatron takes Transformer Engine's optimizer wherever that can be imported; its kernels
        # want a GPU.
        sys.modules.setdefault("transformer_engine", None)  # type: ignore[arg-type]
    if offline:
        # Otherwise each load of a local folder tries the network, and waits for it on an isolated
        # node.
        settings["HF_HUB_OFFLINE"] = "1"
    for name, value in settings.items():
        reader = _READ_AT_IMPORT_OF.get(name, "vllm")
        if os.environ.get(name) != value and reader in sys.modules:
            raise RuntimeError(
                f"{name}={value} comes too late: {reader} is imported; call set_environment first"
            )
        os.environ[name] = value


def begin_imports() -> None:
    """Stop the garbage collector until ``end_imports``: imports make a million objects that stay,
    and looking through them again and again is a fifth of a start's time."""
    gc.disable()


def end_imports() -> None:
    """Let it run again, and never look at what is there by now."""
    gc.freeze()
    gc.enable()


def _quiet() -> None:
    """Silence, once, what libraries say at every start on every rank; levels that a user has set
    stand."""
    # Features not used here (preloaded allocators, thread binding) and, at each publication of a
    # tied model, its output layer, which has no weight of its own.
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    # The NUMA node that memory comes from, once per engine; PyTorch's C++ part reads this when it
    # is loaded.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # "Triton not available": nothing on a CPU needs it.
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)
    # vLLM walks over all names of torch.distributed, deprecated ones included.
    warnings.filterwarnings(
        "ignore", message="`torch.distributed.reduce_op` is deprecated", category=FutureWarning
    )
    # Megatron announces each optional package (Transformer Engine, Apex, fused kernels) that a
    # machine lacks.
    warnings.filterwarnings("ignore", module=r"megatron\.core.*")
    logging.getLogger("megatron.core").setLevel(logging.ERROR)
    # Its optimizer's shards are views of the gradient buffer; reading their empty .grad is part of
    # the design.
    warnings.filterwarnings(
        "ignore", message=r"The \.grad attribute of a Tensor that is not a leaf.*"
    )
    # It calls torch functions whose successors the pinned version does not use yet.
    warnings.filterwarnings(
        "ignore",
        category=FutureWarning,
        message=r".*(ShardedTensor|DTensor|load_state_dict|torch\.distributed\.\w+_tensor).*",
    )
