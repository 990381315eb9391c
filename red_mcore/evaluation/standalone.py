"""An evaluation outside of training, in each of its ranks: ``tools/evaluate.py --model``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from red_mcore.config.recipe import Model, Parallel, Protocol, Reward, Rollout
from red_mcore.evaluation import asking, benchmarks
from red_mcore.rewards import functions
from red_mcore.samples.records import Problem
from red_mcore.tracking.console import Watched

if TYPE_CHECKING:
    import numpy as np

    from red_mcore.convert.conversion import StoredModel
    from red_mcore.rewards.verifier import Verifier
    from red_mcore.rollout.protocol import Engine

WAIT_MINUTES = 24 * 60.0
"""How long an engine that is done waits for the others."""


@dataclass(frozen=True)
class Job:
    """What is to be evaluated, and how."""

    model: Path
    """As ``conversion.find_model`` found it."""
    benchmarks: tuple[str, ...]
    data: str | None
    """Folder of the benchmarks' files; None is the hub."""
    limit: int | None
    protocol: Protocol
    out: Path
    tensor: int
    """Tensor-parallel size of an engine."""
    dtype: str | None
    """None is the type of the stored weights."""
    kv_cache_mib: int | None
    """Of an engine's rank; None is what is left of a GPU's memory, or 1 GiB of the host's."""
    reward: Reward
    chat_template: str | None = None
    """File of the template in the place of the model's."""


@dataclass
class Prepared:
    """What a job comes to, before anything is started."""

    stored: StoredModel
    tokenizer: Any
    problems: dict[str, list[Problem]]
    longest: int
    """Tokens of the longest prompt."""
    example: np.ndarray
    """[P] int32, a prompt."""
    dtype: str


def prepare(job: Job) -> Prepared:
    """Read model, benchmarks and prompts. RecipeError for what cannot work, before any rank is
    started."""
    from red_mcore.convert.conversion import open_any
    from red_mcore.data import template
    from red_mcore.data.tokenizer import load_tokenizer

    stored = open_any(job.model)
    model = Model(path=str(stored.companions), chat_template=job.chat_template)
    tokenizer = load_tokenizer(model)
    if found := template.find(model):
        template.check(found, job.protocol.system_prompt, job.protocol.template_arguments)
    columns = functions.columns(job.reward)
    problems = {
        name: benchmarks.load(name, job.data, job.protocol.seed, job.limit, columns)
        for name in job.benchmarks
    }
    encoded = asking.prompts(tokenizer, problems, job.protocol)
    room = stored.arch.max_positions
    asking.check_lengths(encoded, job.protocol, room, "the model's max_position_embeddings")
    dtype = job.dtype or str(stored.dtype).removeprefix("torch.")
    longest = max(map(len, encoded.values()))
    return Prepared(stored, tokenizer, problems, longest, next(iter(encoded.values())), dtype)


def run(job: Job, world: int) -> dict[str, Any] | None:
    """Sample and grade what is not there yet, in each of ``world`` processes; the summary on rank
    0, None elsewhere."""
    from red_mcore.megatron import ranks
    from red_mcore.models.rules import hf_shapes
    from red_mcore.rewards.verifier import Verifier
    from red_mcore.rollout.environment import end_imports

    here = ranks.start(Parallel(ranks=world), job.protocol.seed, WAIT_MINUTES)
    prepared = prepare(job)
    stored = prepared.stored
    verifier = Verifier(job.reward) if here.rank % job.tensor == 0 else None
    engines = world // job.tensor
    if here.is_main:
        print(f"starting {engines} engine(s) for {stored.folder}", flush=True)
    engine = start_engine(job, prepared)
    end_imports()
    engine.publish(stored.tensors(), hf_shapes(stored.arch), 0)
    if ranks.any_rank(ranks.from_main(engine.checksum) != engine.checksum):
        raise RuntimeError(
            f"the ranks read different weights from {stored.folder}: was it written to?"
        )
    if here.is_main:
        report_faults(verifier, prepared.problems)
        announce(job, prepared)
    about = {"model": str(stored.folder.resolve()), "dtype": prepared.dtype}
    evaluator = asking.Evaluator(job.protocol, prepared.tokenizer, engine, verifier, job.reward)
    what = "responses" if engines == 1 else f"responses of 1 of {engines} engines"
    with Watched(what, show=here.is_main) as watch:
        summary = evaluator.ask(prepared.problems, job.out, here, watch, about=about)
    if verifier:
        verifier.close()
    engine.close()
    ranks.stop()
    return (
        {**about, **engine.about, "weights": engine.checksum, **summary} if here.is_main else None
    )


def start_engine(job: Job, prepared: Prepared) -> Engine:
    """This rank's part of an engine, without weights; a collective."""
    from red_mcore.data.seams import stop_ids_of
    from red_mcore.rollout.engine import VllmEngine

    cache = job.kv_cache_mib or _cache_mib(
        prepared.stored.arch.parameters, prepared.dtype, job.tensor
    )
    settings = Rollout(
        max_prompt_tokens=prepared.longest,
        max_response_tokens=job.protocol.max_tokens,
        tensor=job.tensor,
        kv_cache_mib=cache,
    )
    companions = prepared.stored.companions
    return VllmEngine(
        companions,
        settings,
        dtype=prepared.dtype,
        stop_ids=stop_ids_of(prepared.tokenizer, companions),
        seed=job.protocol.seed,
    )


def announce(job: Job, prepared: Prepared) -> None:
    """Say what a prompt looks like, and how many responses are wanted."""
    from red_mcore.data.seams import describe, stop_ids_of

    stop_ids = stop_ids_of(prepared.tokenizer, prepared.stored.companions)
    count = 0
    for name, problems in prepared.problems.items():
        count += len(problems) * job.protocol.samples_for(name)
    for line in describe(prepared.tokenizer, prepared.example, None, stop_ids):
        print(line, flush=True)
    print(f"{count} responses to {', '.join(prepared.problems)}, kept in {job.out}", flush=True)


def report_faults(verifier: Verifier, problems: Mapping[str, Sequence[Problem]]) -> None:
    """Say which benchmarks have an unusual size, and which golds no answer can equal: their
    problems count as wrong.

    Of golds only the user knows where the verdict is the user's.
    """
    for line in benchmarks.unusual_sizes(problems):
        print(f"warning: {line}", flush=True)
    if verifier.settings.verdict is not None:
        return
    for name, asked in problems.items():
        for problem, fault in zip(asked, verifier.gold_faults(asked), strict=True):
            if fault:
                print(
                    f"warning: {name} item {problem.id}: gold {problem.gold!r} cannot be used: {fault}",
                    flush=True,
                )


def _cache_mib(parameters: int, dtype: str, tensor: int) -> int:
    import torch

    if not torch.cuda.is_available():
        return 1024
    free, total = torch.cuda.mem_get_info()
    weights = parameters * getattr(torch, dtype).itemsize / tensor
    left = min(free, 0.9 * total) - weights - 4 * 2**30  # vLLM's activations and CUDA graphs
    return max(1024, int(left) >> 20)
