"""vLLM in process on every rank: sampling from token ids to token ids, with weights published by
the trainer."""

from __future__ import annotations

import gc
import io
import math
import os
import random
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from tqdm import tqdm
from vllm import LLM, SamplingParams
from vllm.platforms import current_platform

from red_mcore.config.recipe import RecipeError, Rollout
from red_mcore.rollout.exchange import sample_seed
from red_mcore.rollout.protocol import Completion
from red_mcore.rollout.publication import Checked, Publication, PublicationError
from red_mcore.tracking.console import Watch, unwatched


class VllmEngine:
    """This rank's part of a vLLM engine; ``rollout.tensor`` consecutive ranks make one replica.

    Collective: every rank builds it at the same point, after ``torch.distributed`` and
    ``set_environment``. The weights start as noise, so that the first ``publish`` must come before
    the first ``sample``.
    """

    def __init__(
        self,
        folder: Path,
        rollout: Rollout,
        *,
        dtype: str,
        stop_ids: Sequence[int],
        seed: int,
        room: int = 0,
    ) -> None:
        """``folder`` holds config.json (weights and tokenizer are not read); ``stop_ids``: tokens
        that end a response.

        ``room``: tokens of the longest prompt with its response, where that is more than the
        recipe's two limits. Raises RecipeError where ``rollout.tensor`` does not divide the ranks
        or vLLM refuses the lengths or cache size.
        """
        rank, world = dist.get_rank(), dist.get_world_size()
        if world % rollout.tensor:
            raise RecipeError(
                f"rollout.tensor={rollout.tensor} does not divide parallel.ranks={world}"
            )
        self.replica, place = divmod(rank, rollout.tensor)
        self.replicas, self.is_leader = world // rollout.tensor, place == 0
        self.version: int | None = None
        self.checksum: str | None = None
        """The digest of the published weights, whoever published them; 16 hexadecimal digits."""
        self._rollout, self._dtype = rollout, dtype
        self._room = max(room, rollout.max_prompt_tokens + rollout.max_response_tokens)
        self.stop_ids: Collection[int] = frozenset(stop_ids)
        """Tokens that end a response."""
        try:
            with _undisturbed():
                self._llm = _build(folder, rollout, self._room, dtype, seed)
        except ValueError as error:
            limits = (
                f"rollout.max_prompt_tokens={rollout.max_prompt_tokens},"
                f" rollout.max_response_tokens={rollout.max_response_tokens},"
                f" rollout.kv_cache_mib={rollout.kv_cache_mib}, rollout.tensor={rollout.tensor}"
            )
            raise RecipeError(
                f"vLLM refuses {limits} for {folder}: {' '.join(str(error).split())}"
            ) from error
        # Newer vLLM would otherwise destroy the default process group, the trainer's, when the
        # engine is garbage.
        if finalizer := getattr(self._llm.llm_engine.engine_core, "_finalizer", None):
            finalizer.detach()
        self._tied = bool(self._llm.model_config.hf_config.tie_word_embeddings)

    @property
    def about(self) -> dict[str, Any]:
        """What decides the tokens of a call beside its arguments and the weights, but for how the
        cache fills."""
        import vllm

        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        return {
            "engine": f"vllm {vllm.__version__}",
            "tensor": self._rollout.tensor,
            "device": device,
            "dtype": self._dtype,
            "stop_ids": sorted(self.stop_ids),
        }

    def publish(
        self,
        tensors: Iterator[tuple[str, torch.Tensor]],
        expected: Mapping[str, tuple[int, ...]],
        version: int,
    ) -> Publication:
        """Replace the weights, as ``Engine`` says; ``tensors`` are whole, on every rank.

        They are kept until their layer is complete: reuse no buffer. An error of the stream itself
        passes through and leaves the engine unusable.
        """
        start = time.perf_counter()
        self.version = self.checksum = None
        checked = Checked(expected, tied=self._tied)
        (unreached,) = self._llm.collective_rpc("receive_weights", args=(checked.stream(tensors),))
        checked.verify()
        if unreached:
            raise PublicationError(
                f"publication refused: the engine's {', '.join(unreached)} got no weights"
            )
        self.reset()
        self.version, self.checksum = version, f"{checked.digest:016x}"
        return Publication(
            version, checked.tensors, checked.bytes, time.perf_counter() - start, self.checksum
        )

    def sample(
        self,
        prompts: Sequence[np.ndarray],
        n: int,
        seeds: Sequence[int],
        *,
        temperature: float | None = None,
        top_p: float | None = None,
        max_tokens: Sequence[int] | None = None,
        watch: Watch = unwatched,
    ) -> list[list[Completion]]:
        """Sample, as ``Engine`` says; a prompt's sample i has the seed ``sample_seed(seed, i)``.

        After ``reset`` the result depends on the weights and the arguments of this call alone. A
        prompt may be longer than ``rollout.max_prompt_tokens``, as long as it and its
        ``max_tokens`` together fit into the engine's room.
        """
        if self.version is None:
            raise RuntimeError(
                "the engine has no published weights to sample from; call publish first"
            )
        if max_tokens is None:
            max_tokens = [self._rollout.max_response_tokens] * len(prompts)
        common = {
            "temperature": self._rollout.temperature if temperature is None else temperature,
            "top_p": self._rollout.top_p if top_p is None else top_p,
            "stop_token_ids": sorted(self.stop_ids),
            # The stop tokens alone decide, not what config.json calls the end of a sequence.
            "ignore_eos": True,
            "logprobs": 0,  # the sampled token's only
            "flat_logprobs": True,
            "detokenize": False,
        }
        # n requests of one sample each instead of one of n, to which vLLM would give the seeds s,
        # s+1, ..., s+n-1.
        requests, params = [], []
        asked = zip(prompts, seeds, max_tokens, strict=True)
        for place, (prompt, seed, limit) in enumerate(asked):
            self._check_length(prompt, limit, place)
            requests += [{"prompt_token_ids": np.asarray(prompt).tolist()}] * n
            for index in range(n):
                own = sample_seed(seed, index)
                params.append(SamplingParams(seed=own, max_tokens=limit, **common))
        if not requests:
            return []
        with _undisturbed():
            found = self._llm.generate(requests, params, use_tqdm=partial(_Told, watch))
        completions = [self._completion(output.outputs[0]) for output in found]
        return [completions[first : first + n] for first in range(0, len(completions), n)]

    def _check_length(self, prompt: np.ndarray, limit: int, index: int) -> None:
        if not 0 < len(prompt) <= self._room - limit:
            raise ValueError(
                f"prompt {index} has {len(prompt)} tokens; with max_tokens={limit} it may have 1"
                f" to {self._room - limit}, as the engine has room for {self._room}"
            )

    def _completion(self, output: Any) -> Completion:
        assert self.version is not None, "nothing is sampled before a publication"
        return Completion(
            token_ids=np.asarray(output.token_ids, dtype=np.int32),
            logp=np.asarray(output.logprobs.logprobs, dtype=np.float32),
            # Not vLLM's reason: a response may end with its last allowed token.
            truncated=output.token_ids[-1] not in self.stop_ids,
            version=self.version,
        )

    def reset(self) -> None:
        """Forget cached prefixes: they belong to other weights, or make results depend on earlier
        calls."""
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("vLLM did not reset its prefix cache: requests are still running")

    def close(self) -> None:
        """Free the engine; the trainer's process groups stay. Collective."""
        from vllm.distributed import parallel_state

        core = self._llm.llm_engine.engine_core.engine_core
        core.model_executor.shutdown()
        core.scheduler.shutdown()
        parallel_state.destroy_model_parallel()
        parallel_state.get_world_group().destroy()
        parallel_state._WORLD = None
        self.version = None
        del core, self._llm
        gc.unfreeze()  # vLLM froze its objects at start
        gc.collect()


def _build(folder: Path, rollout: Rollout, length: int, dtype: str, seed: int) -> LLM:
    from red_mcore.rollout.worker import NormalizeGreedy, NormalizeSampled, WeightReceiver

    cache = rollout.kv_cache_mib << 20
    if current_platform.is_cpu():
        # Seeded requests cannot be prefilled in parts on a CPU ("CPU Generator does not use
        # offset"), so that one batch must hold the longest sequence whole.
        device: dict[str, Any] = {
            "enforce_eager": True,
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(8192, length),
        }
    else:
        # The share of the memory that vLLM wants free at its start; the size of the cache is given.
        # By default it would ask for nine tenths of all, of which the trainer has its part already.
        total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
        device = {"enforce_eager": rollout.eager, "gpu_memory_utilization": min(1.0, cache / total)}
    return LLM(
        model=str(folder),
        trust_remote_code=False,
        skip_tokenizer_init=True,
        load_format="dummy",
        dtype=dtype,
        seed=seed,
        max_model_len=length,
        kv_cache_memory_bytes=cache,
        tensor_parallel_size=rollout.tensor,
        # Ranks were launched by somebody else; vLLM splits them into replicas that sample
        # independently.
        distributed_executor_backend="external_launcher",
        worker_extension_cls=f"{WeightReceiver.__module__}.{WeightReceiver.__qualname__}",
        logits_processors=[NormalizeGreedy, NormalizeSampled],
        logprobs_mode="processed_logits",
        generation_config="vllm",  # the folder's own sampling defaults would override the recipe's
        disable_log_stats=True,
        **device,
    )


class _Told(tqdm):
    """vLLM's progress bar, which draws nothing and tells ``watch`` instead, or nobody where it goes
    around a list."""

    monitor_interval = 0  # no thread that would draw

    def __init__(self, watch: Watch, *iterable: Any, **settings: Any) -> None:
        self._watch = watch
        super().__init__(*iterable, **settings | {"file": io.StringIO(), "mininterval": math.inf})

    def update(self, n: float = 1) -> bool | None:
        drawn = super().update(n)
        self._watch(int(self.n), int(self.total))
        return drawn


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep what vLLM changes in passing: the trainer's random states and variables that child
    processes inherit.

    Construction seeds every generator; each sampling step draws from PyTorch's. LOCAL_WORLD_SIZE
    becomes the engine's tensor-parallel size and LD_PRELOAD names an allocator.
    """
    names = ("LOCAL_WORLD_SIZE", "LD_PRELOAD")
    variables = {name: os.environ.get(name) for name in names}
    python_state, numpy_state = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        for name, value in variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
