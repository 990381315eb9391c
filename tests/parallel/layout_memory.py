"""What an update of this rank really allocates,
beside what ``red_mcore.planning.memory`` estimates."""

from __future__ import annotations

import weakref
from dataclasses import replace

import numpy as np
import torch
from layout_rank import Layout
from layout_samples import MAIN
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from red_mcore.algorithms.base import losses_of
from red_mcore.algorithms.grpo import GRPO
from red_mcore.config.recipe import Batch, Model, Recipe
from red_mcore.megatron.policy import Policy
from red_mcore.models.architecture import read_architecture
from red_mcore.planning.memory import estimate
from red_mcore.samples.records import Group, Problem, Sample

TOKENS = 1024
CONFIG = {
    "model_type": "qwen2",
    "vocab_size": 2000,
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
}
ARMS = {
    "one": [
        ("float32", "none"),
        ("bfloat16", "none"),
        ("float32", "selective"),
        ("float32", "full"),
    ],
    "dp2": [("bfloat16", "none")],
    "tp2_sequence": [("float32", "none")],
    "pp2": [("float32", "none")],
    "cp2": [("float32", "selective")],
}


def check_memory(layout: Layout) -> dict:
    """(data type, recompute) -> (estimate, measured bytes by line) of this rank."""
    return {arm: of_an_update(layout, *arm) for arm in ARMS.get(layout.name, [])}


def of_an_update(layout: Layout, dtype: str, recompute: str):
    algorithm = GRPO(constant=8.0)
    recipe = Recipe(
        name="memory",
        model=Model(config=CONFIG, dtype=dtype),
        algorithm=algorithm,
        parallel=replace(layout.parallel, recompute=recompute),
        batch=Batch(tokens_per_micro_batch=TOKENS),
    )
    arch = read_architecture(CONFIG)
    policy = Policy(recipe, arch, layout.ranks)
    policy.start_optimizers({"main": MAIN})
    groups = samples(layout.ranks.data * layout.ranks.pipeline)  # as many as are under way
    algorithm.aggregate(groups, 8, {}, 0)
    with Allocations() as allocations:
        policy.backward(groups, losses_of(algorithm, {}, 0), on_policy=True)
    states = [
        x
        for part in policy.optimizer.chained_optimizers
        for s in part.optimizer.state.values()
        for x in s.values()
    ]
    moments = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in states}
    weights = {p.untyped_storage().data_ptr() for p in policy.model.parameters()}
    copies = {
        p.untyped_storage().data_ptr(): p.untyped_storage().nbytes()
        for part in policy.optimizer.chained_optimizers
        for group in part.optimizer.param_groups
        for p in group["params"]
    }
    measured = {
        "weights": sum(p.numel() * p.element_size() for p in policy.model.parameters()),
        "gradients": sum(b.grad_data.numel() * 4 for chunk in policy._ddp for b in chunk.buffers),
        "optimizer": sum(moments.values())
        + sum(size for at, size in copies.items() if at not in weights),
        "work": allocations.peak,
    }
    return estimate(recipe, arch, layout.ranks.pipeline_rank, on_gpu=False), measured


def samples(micro_batches: int) -> list[Group]:
    """As many full micro-batches; lengths spread evenly between two powers of two."""
    rng = np.random.default_rng(0)
    found, room = [], 0
    for _ in range(micro_batches):
        room = TOKENS
        while room >= 65:
            n = int(rng.integers(65, 129)) if room > 193 else room if room <= 128 else room - 65
            response = rng.integers(5, 260, n - 5).astype(np.int32)
            prompt = np.arange(5, dtype=np.int32)
            sample = Sample(
                prompt, response, advantage=1.0, sampler_logp=np.zeros(n - 5, np.float32)
            )
            found.append(Group(Problem(len(found), "", ""), [sample]))
            room -= n
    return found


class Allocations(TorchDispatchMode):
    """Bytes of tensors that operators made and that are alive, and their peak."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = {
            t.untyped_storage()._cdata
            for t in tree_leaves((args, kwargs))
            if isinstance(t, torch.Tensor)
        }
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in given:
                storage = tensor.untyped_storage()
                given.add(storage._cdata)
                self.alive += storage.nbytes()
                weakref.finalize(storage, self._free, storage.nbytes())
        self.peak = max(self.peak, self.alive)
        return result

    def _free(self, size: int) -> None:
        self.alive -= size
