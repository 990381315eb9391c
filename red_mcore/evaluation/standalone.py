"""Evaluations outside of training: of a model, in each of its ranks, and of recorded responses."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from red_mcore.config.recipe import Model, Parallel, Protocol, RecipeError, Reward, Rollout
from red_mcore.evaluation import asking, benchmarks, generations, items
from red_mcore.evaluation.generations import Recorded
from red_mcore.evaluation.summary import Summary, summarise, unjudged
from red_mcore.rewards import functions
from red_mcore.samples.records import Problem
from red_mcore.samples.responses import Response
from red_mcore.system import disk
from red_mcore.tracking.console import Watched

if TYPE_CHECKING:
    import numpy as np

    from red_mcore.convert.conversion import StoredModel
    from red_mcore.rewards.verifier import Verifier
    from red_mcore.rollout.protocol import Engine

DISAGREEMENTS = "disagreements.jsonl"
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
    problems = {}
    for name in job.benchmarks:
        problems[name] = benchmarks.load(name, job.data, job.protocol.seed, job.limit, columns)
    encoded = asking.prompts(tokenizer, problems, job.protocol)
    room = stored.arch.max_positions
    asking.check_lengths(encoded, job.protocol, room, "the model's max_position_embeddings")
    # As its name is in a recipe, where PyTorch says torch.bfloat16.
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
    # Each rank has read the files on its own, and they may be on another node's disk.
    if ranks.any_rank(ranks.from_main(engine.checksum) != engine.checksum):
        raise RuntimeError(
            f"the ranks read different weights from {stored.folder}: was it written to?"
        )
    if here.is_main:
        assert verifier is not None, "rank 0 leads its engine"
        report_faults(verifier, prepared.problems)
        announce(job, prepared)
    about = {"model": str(stored.folder.resolve()), "dtype": prepared.dtype}
    evaluator = asking.Evaluator(job.protocol, prepared.tokenizer, engine, verifier, job.reward)
    what = "responses"
    if engines > 1:  # only rank 0's are counted
        what = f"responses of 1 of {engines} engines"
    with Watched(what, show=here.is_main) as watch:
        summary = evaluator.ask(prepared.problems, job.out, here, watch, about=about)
    if verifier:
        verifier.close()
    engine.close()
    ranks.stop()
    if not here.is_main:
        return None
    return {**about, **engine.about, "weights": engine.checksum, **summary}


def grade_recorded(
    recorded: Sequence[Recorded], reward: Reward, boxed_only: bool, folder: Path
) -> tuple[list[Response], Summary]:
    """The responses with their grades, and the summary; ``folder`` gets ``items.jsonl``, and the
    responses that an earlier grader judged otherwise.

    RecipeError where the user's verdict failed on every response of a benchmark.
    """
    from red_mcore.rewards.verifier import Verifier

    responses = [each.response for each in recorded]
    with Verifier(reward) as verifier:
        report_faults(verifier, generations.problems(responses))
        with Watched("responses graded") as watch:
            graded = generations.grade(responses, verifier, boxed_only, reward, watch)
    for path, failure in verifier.failures.items():
        print(f"warning: '{path}' failed, for the first time so:\n{failure}", file=sys.stderr)
    found = summarise(graded)
    if reward.verdict is not None and (names := unjudged(found)):
        raise RecipeError(
            f"--verdict '{reward.verdict}' failed on all responses of {', '.join(names)}: see above"
        )
    items.write(folder, graded)
    differing, judged = generations.disagreements(recorded, graded)
    if judged:
        disk.write_lines(folder / DISAGREEMENTS, differing)
        found["agreement"] = {"responses": judged, "agree": judged - len(differing)}
    return graded, found


def start_engine(job: Job, prepared: Prepared) -> Engine:
    """This rank's part of an engine, without weights; a collective."""
    from red_mcore.data.seams import stop_ids_of
    from red_mcore.rollout.engine import VllmEngine

    parameters, companions = prepared.stored.arch.parameters, prepared.stored.companions
    settings = Rollout(
        max_prompt_tokens=prepared.longest,
        max_response_tokens=job.protocol.max_tokens,
        tensor=job.tensor,
        kv_cache_mib=job.kv_cache_mib or _cache_mib(parameters, prepared.dtype, job.tensor),
    )
    stop_ids, seed = stop_ids_of(prepared.tokenizer, companions), job.protocol.seed
    return VllmEngine(companions, settings, dtype=prepared.dtype, stop_ids=stop_ids, seed=seed)


def announce(job: Job, prepared: Prepared) -> None:
    """Say what a prompt looks like, and how many responses are wanted."""
    from red_mcore.data.seams import describe, stop_ids_of

    stop_ids = stop_ids_of(prepared.tokenizer, prepared.stored.companions)
    for line in describe(prepared.tokenizer, prepared.example, None, stop_ids):
        print(line, flush=True)
    count = 0
    for name, problems in prepared.problems.items():
        count += len(problems) * job.protocol.samples_for(name)
    print(f"{count} responses to {', '.join(prepared.problems)}, kept in {job.out}", flush=True)


def report_faults(verifier: Verifier, problems: Mapping[str, Sequence[Problem]]) -> None:
    """Say which benchmarks have an unusual size, and which golds no answer can equal: their
    problems count as wrong.

    Of golds only the user knows where the verdict is the user's.
    """
    told = benchmarks.unusual_sizes(problems)
    if verifier.settings.verdict is None:
        for name, asked in problems.items():
            for problem, fault in zip(asked, verifier.gold_faults(asked), strict=True):
                if fault:
                    item = f"{name} item {problem.id}: gold {problem.gold!r}"
                    told.append(f"{item} cannot be used: {fault}")
    for line in told:
        print(f"warning: {line}", flush=True)


def _cache_mib(parameters: int, dtype: str, tensor: int) -> int:
    """What is left of a GPU's memory beside the weights; a training run's default on a CPU."""
    import torch

    if not torch.cuda.is_available():
        return 1024
    free, total = torch.cuda.mem_get_info()
    weights = parameters * getattr(torch, dtype).itemsize / tensor
    left = min(free, 0.9 * total) - weights - 4 * 2**30  # vLLM's activations and CUDA graphs
    return max(1024, int(left) >> 20)
