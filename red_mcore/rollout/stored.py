"""vLLM in process with a model as it is stored: answers one by one, as they come to their end.

Beside ``engine.VllmEngine`` it needs no ranks, takes any model that vLLM knows, and samples from
weights that nobody publishes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from vllm import LLM, SamplingParams
from vllm.platforms import current_platform

from red_mcore.config.recipe import RecipeError

CPU_CACHE_BYTES = 1 << 30
"""Of the key-value cache, where no GPU says how much is left."""


class Finished(NamedTuple):
    """A response that is done."""

    key: str
    token_ids: np.ndarray
    """[T] int32, the stop token included where it ended with one."""
    truncated: bool


class StoredEngine:
    """``add`` requests and ``step`` until they are finished; after ``set_environment``."""

    def __init__(
        self,
        folder: Path,
        *,
        room: int,
        stop_ids: Sequence[int],
        tensor: int = 1,
        dtype: str = "auto",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """``room``: tokens of the longest prompt with its response. ``options``: further arguments
        of ``vllm.LLM``. RecipeError where vLLM refuses them."""
        self._stop_ids = frozenset(stop_ids)
        settings: dict[str, Any] = {}
        if current_platform.is_cpu():
            # Seeded requests cannot be prefilled in parts on a CPU, see ``engine._build``.
            settings = {
                "enforce_eager": True,
                "enable_chunked_prefill": False,
                "max_num_batched_tokens": max(8192, room),
                "kv_cache_memory_bytes": CPU_CACHE_BYTES,
            }
        settings |= {
            "model": str(folder),
            "trust_remote_code": False,
            "dtype": dtype,
            "max_model_len": room,
            "tensor_parallel_size": tensor,
            # The folder's own sampling defaults would join those that are asked for.
            "generation_config": "vllm",
            "disable_log_stats": True,
            "seed": 0,
        }
        try:
            self._llm = LLM(**settings | dict(options or {}))
        except (ValueError, TypeError) as error:
            raise RecipeError(
                f"vLLM refuses {folder} with room for {room} tokens, tensor={tensor},"
                f" dtype={dtype}: {' '.join(str(error).split())}"
            ) from error

    @staticmethod
    def about() -> str:
        """What decides the tokens beside model and settings."""
        import vllm

        return f"vllm {vllm.__version__}"

    def add(
        self, key: str, prompt: np.ndarray, seed: int, max_tokens: int, **sampling: Any
    ) -> None:
        """Queue a request: [P] token ids of its prompt, and the fields of ``SamplingParams``.

        RecipeError for what vLLM does not take.
        """
        try:
            params = SamplingParams(
                seed=seed,
                max_tokens=max_tokens,
                stop_token_ids=sorted(self._stop_ids),
                ignore_eos=True,  # the stop tokens alone decide
                detokenize=False,
                **sampling,
            )
            tokens = {"prompt_token_ids": np.asarray(prompt).tolist()}
            self._llm.llm_engine.add_request(key, tokens, params)
        except (ValueError, TypeError) as error:
            named = ", ".join(f"{name}={value!r}" for name, value in sampling.items())
            raise RecipeError(f"vLLM refuses {named}: {' '.join(str(error).split())}") from error

    def step(self) -> list[Finished]:
        """Make one token of each request that has room; the responses that this finishes."""
        found = []
        for output in self._llm.llm_engine.step():
            if not output.finished:
                continue
            ids = np.asarray(output.outputs[0].token_ids, dtype=np.int32)
            # Not vLLM's reason: a response may end with its last allowed token.
            ended = len(ids) and int(ids[-1]) in self._stop_ids
            found.append(Finished(output.request_id, ids, not ended))
        return found

    def close(self) -> None:
        """Free the engine."""
        from vllm.distributed import cleanup_dist_env_and_memory

        del self._llm
        cleanup_dist_env_and_memory()
