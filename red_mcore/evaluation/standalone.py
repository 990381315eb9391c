"""An evaluation outside of training, in each of its ranks: ``tools/evaluate.py --model``."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from red_mcore.evaluation import asking, benchmarks, items
from red_mcore.recipe import Model, Parallel, Protocol, Reward, Rollout
from red_mcore.records import Problem
from red_mcore.tracking.console import Watched

if TYPE_CHECKING:
    from red_mcore.convert.conversion import Model as StoredModel

WAIT_MINUTES = 24 * 60.0
"""How long an engine that is done waits for the others."""


@dataclass(frozen=True)
class Job:
    """What is to be evaluated, and how."""

    model: Path
    benchmarks: tuple[str, ...]
    data: str | None
    """Folder of the benchmarks' files; None is the hub."""
    limit: int | None
    protocol: Protocol
    out: Path
    ranks: int
    tensor: int
    """Tensor-parallel size of an engine."""
    dtype: str | None
    """None is the type of the stored weights."""
    kv_cache_mib: int | None
    """None is what is left of a GPU's memory, or 1 GiB of the host's."""
    reward: Reward


@dataclass
class Prepared:
    """What a job comes to, before anything is started."""

    stored: StoredModel
    tokenizer: Any
    problems: dict[str, list[Problem]]
    longest: int
    """Tokens of the longest prompt."""
    identity: dict[str, Any]


def prepare(job: Job) -> Prepared:
    """Read model, benchmarks and prompts. RecipeError for what cannot work, before any rank is started."""
    from red_mcore.convert.conversion import open_any
    from red_mcore.data.tokenizer import load_tokenizer

    stored = open_any(job.model)
    tokenizer = load_tokenizer(Model(path=str(stored.companions)))
    problems = {name: benchmarks.load(name, job.data, job.protocol.seed, job.limit) for name in job.benchmarks}
    encoded = asking.prompts(tokenizer, problems, job.protocol)
    room = stored.arch.max_positions
    asking.check_lengths(encoded, job.protocol, room, "the model's max_position_embeddings")
    identity = {
        "model": str(stored.folder.resolve()),
        "dtype": job.dtype or _name(stored.dtype),
        "protocol": asdict(job.protocol),
    }
    return Prepared(stored, tokenizer, problems, max(map(len, encoded.values())), identity)


def run(job: Job) -> list[items.Row] | None:
    """Sample and grade what is not there yet, in each of ``job.ranks`` processes; all rows on rank 0, else None."""
    from red_mcore.architecture import hf_config
    from red_mcore.convert.rules import hf_shapes
    from red_mcore.data.tokenizer import stop_ids
    from red_mcore.megatron import ranks
    from red_mcore.rewards.verifier import Verifier
    from red_mcore.rollout.engine import Engine

    here = ranks.start(Parallel(ranks=job.ranks), job.protocol.seed, WAIT_MINUTES)
    prepared = prepare(job)
    stored, tokenizer = prepared.stored, prepared.tokenizer
    is_leader = here.rank % job.tensor == 0
    verifier = Verifier(job.reward) if is_leader else None
    if here.is_main:
        print(f"starting {job.ranks // job.tensor} engine(s) for {stored.folder}", flush=True)
    settings = Rollout(
        max_prompt_tokens=prepared.longest,
        max_response_tokens=job.protocol.max_tokens,
        tensor=job.tensor,
        kv_cache_mib=job.kv_cache_mib or _cache_mib(stored, job.tensor),
    )
    engine = Engine(
        stored.companions,
        settings,
        dtype=prepared.identity["dtype"],
        stop_ids=stop_ids(tokenizer, hf_config(Model(path=str(stored.companions)))),
        seed=job.protocol.seed,
    )
    engine.publish(stored.tensors(), hf_shapes(stored.arch), 0)
    identity = prepared.identity | {"weights": engine.checksum, "problems": digests(prepared.problems)}
    ranks.on_main(here, lambda: items.claim(job.out, identity))
    if here.is_main:
        for line in benchmarks.unusual_sizes(prepared.problems):
            print(f"warning: {line}", flush=True)
        report_golds(verifier, prepared.problems)
        count = sum(len(found) * job.protocol.samples_for(name) for name, found in prepared.problems.items())
        print(f"{count} responses to {', '.join(prepared.problems)}, kept in {job.out}", flush=True)
    asker = asking.Asker(job.protocol, tokenizer, engine, verifier)
    with Watched("responses", show=here.is_main) as watch:
        rows = asker.ask(prepared.problems, job.out, here.is_main, watch)
    if verifier:
        verifier.close()
    engine.close()
    ranks.stop()
    return rows if here.is_main else None


def digests(problems: dict[str, list[Problem]]) -> dict[str, str]:
    """16 hexadecimal digits for the texts and golds of each benchmark."""
    found = {}
    for name, asked in problems.items():
        text = json.dumps([[p.text, p.gold, p.kind] for p in asked])
        found[name] = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return found


def report_golds(verifier, problems: dict[str, list[Problem]]) -> None:
    """Say which golds no answer can be equal to; their problems count as wrong."""
    for name, asked in problems.items():
        for problem, fault in zip(asked, verifier.gold_faults(asked), strict=True):
            if fault:
                print(f"warning: {name} item {problem.id}: gold {problem.gold!r} cannot be used: {fault}", flush=True)


def _cache_mib(stored: StoredModel, tensor: int) -> int:
    import torch

    if not torch.cuda.is_available():
        return 1024
    free, total = torch.cuda.mem_get_info()
    weights = stored.arch.parameters * stored.dtype.itemsize / tensor
    left = min(free, 0.9 * total) - weights - 4 * 2**30  # vLLM's activations and CUDA graphs
    return max(1024, int(left) >> 20)


def _name(dtype) -> str:
    return str(dtype).removeprefix("torch.")
