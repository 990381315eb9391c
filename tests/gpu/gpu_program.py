"""One rank on one GPU: scores, updates, checkpoints and memory under each kind of layers; leaves
OUT/gpu.pt.

gpu_program.py OUT. A check that fails leaves its error instead of its findings, so that the others
are still made.
"""

# ruff: noqa: E402 - the environment has to be set before torch and Megatron are imported

from __future__ import annotations

import gc
import sys
import traceback
from pathlib import Path

from red_mcore.rollout.environment import set_environment

set_environment(offline=True)

from dataclasses import replace

import numpy as np
import torch
from layout_rank import WatchedPolicy
from layout_samples import GRID, MAIN, TEMPERATURE, Update, make_groups

from red_mcore.algorithms.base import losses_of
from red_mcore.algorithms.grpo import GRPO
from red_mcore.checkpoints import manifests, saving
from red_mcore.config.recipe import (
    Batch,
    Checkpoint,
    Model,
    Offload,
    Parallel,
    Recipe,
    RecipeError,
    Rollout,
)
from red_mcore.convert import hf
from red_mcore.data.tokenizer import build_tokenizer
from red_mcore.megatron import ranks
from red_mcore.megatron.model import check_fp8
from red_mcore.models.architecture import read_architecture
from red_mcore.models.layers import check_layers
from red_mcore.planning.memory import estimate
from red_mcore.samples.records import Group, Problem, Sample

SMALL = {
    "model_type": "qwen2",
    "vocab_size": 1029,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.06,
    "tie_word_embeddings": True,
}
HALF_B = {
    "model_type": "qwen2",
    "vocab_size": 151936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}
"""The shape of Qwen2.5-0.5B."""
KINDS = {
    "float32": Model(config=SMALL),
    "local": Model(config=SMALL, dtype="bfloat16", layers="local"),
    "te": Model(config=SMALL, dtype="bfloat16", layers="transformer_engine"),
    "tensorwise": Model(
        config=SMALL, dtype="bfloat16", layers="transformer_engine", fp8="tensorwise"
    ),
    "blockwise": Model(
        config=SMALL, dtype="bfloat16", layers="transformer_engine", fp8="blockwise"
    ),
}
MEMORY = [
    (layers, recompute) for layers in ("local", "te") for recompute in ("none", "selective", "full")
]
TOKENS = 8192
"""Of a micro-batch whose memory is measured."""


class Program:
    def __init__(self, out: Path) -> None:
        self.out = out
        self.ranks = ranks.start(Parallel(), seed=0)
        hf.make_fresh(SMALL, build_tokenizer(), out / "small", 0, torch.float32)
        self.kinds = [name for name, model in KINDS.items() if self.is_able(model)]

    def is_able(self, model: Model) -> bool:
        """Whether this machine has the layers, and this GPU computes so."""
        try:
            check_layers(model, read_architecture(SMALL), 1)
            if model.fp8 != "none":
                check_fp8(model.fp8)
        except RecipeError:
            return False
        return True

    def allocated(self) -> int:
        """Bytes of tensors on the GPU; those of policies that nobody holds any more are gone."""
        gc.collect()
        return torch.cuda.memory_allocated()

    def policy(self, kind: str, offload: Offload | None = None) -> WatchedPolicy:
        recipe = Recipe(
            name="gpu",
            model=KINDS[kind],
            algorithm=GRID["red"],
            batch=Batch(tokens_per_micro_batch=160),
            rollout=Rollout(temperature=TEMPERATURE),
            offload=offload or Offload(),
        )
        policy = WatchedPolicy(recipe, read_architecture(SMALL), self.ranks)
        hf.load_weights(policy.model, policy.arch, self.out / "small")
        policy.start_optimizers({"main": MAIN})
        return policy

    def step(self, policy: WatchedPolicy) -> Update:
        """A step of RED with everything scored ahead."""
        algorithm, groups = GRID["red"], make_groups()
        metrics = policy.score(groups)
        kept, _ = algorithm.compose(groups, {}, 0)
        metrics |= algorithm.weigh(kept, {"offline": 5.0, "online": 4.0}, 0)
        algorithm.aggregate(kept, algorithm.sequences(groups), {}, 0)
        metrics |= policy.update(kept, losses_of(algorithm, {}, 0))
        self.samples = [s for g in kept for s in g.samples]
        return Update(metrics, policy.weights(), policy.gradients)

    def check_updates(self) -> dict:
        """kind -> (the samples trained on, update)."""
        found = {}
        for kind in self.kinds:
            update = self.step(self.policy(kind))
            found[kind] = self.samples, update
        return found

    def check_checkpoints(self) -> dict:
        """(saved under, loaded under) -> weights after loading and after one more update, beside
        the undisturbed."""
        found = {}
        last = "te" if "te" in self.kinds else "local"
        for kind in dict.fromkeys(("local", last)):
            policy = self.policy(kind)
            self.step(policy)
            saver = saving.Saver(self.out / kind, Checkpoint())
            saver.save("main-1", policy, {})
            saved = policy.weights()
            went_on = self.step(policy).weights
            for other in dict.fromkeys(("local", last)):
                again = self.policy(other)
                manifest, _ = manifests.newest(self.out / kind, checksums=True)
                saving.load(self.out / kind, manifest, again)
                found[kind, other] = saved, again.weights(), went_on, self.step(again).weights
        return found

    def check_offload(self) -> dict:
        """kind -> (weights after two steps, bytes on the GPU afterwards) without and with
        offload."""
        found = {}
        for kind in ("float32", *(k for k in ("local", "te") if k in self.kinds)):
            for offload in (Offload(), Offload(optimizer=True)):
                before = self.allocated()
                policy = self.policy(kind, offload)
                self.step(policy)
                weights = self.step(policy).weights
                policy.gradients = None
                found[kind, offload.optimizer] = weights, self.allocated() - before
                del policy
        return found

    def check_memory(self) -> dict:
        """(layers, recompute) -> estimate, and bytes measured by line."""
        found = {}
        for layers, recompute in MEMORY:
            if layers in self.kinds:
                found[layers, recompute] = self._memory(layers, recompute)
        return found

    def _memory(self, layers: str, recompute: str) -> tuple:
        algorithm = GRPO(constant=8.0)
        recipe = Recipe(
            name="memory",
            model=replace(KINDS[layers], config=HALF_B),
            algorithm=algorithm,
            parallel=Parallel(recompute=recompute),
            batch=Batch(tokens_per_micro_batch=TOKENS),
        )
        arch = read_architecture(HALF_B)
        start = self.allocated()
        policy = WatchedPolicy(recipe, arch, self.ranks)
        policy.start_optimizers({"main": MAIN})
        state = self.allocated() - start
        groups = long_samples(2)
        algorithm.aggregate(groups, 8, {}, 0)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        policy.backward(groups, losses_of(algorithm, {}, 0), on_policy=True)
        work = torch.cuda.max_memory_allocated() - before
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        super(WatchedPolicy, policy).step()
        step = torch.cuda.max_memory_allocated() - before
        return estimate(recipe, arch, 0, on_gpu=True), {"state": state, "work": work, "step": step}


def long_samples(micro_batches: int) -> list[Group]:
    """As many full micro-batches of sequences of 500 to 2000 tokens."""
    rng, found = np.random.default_rng(0), []
    for _ in range(micro_batches):
        room = TOKENS
        while room:
            n = room if room <= 2000 else int(rng.integers(500, 1501))
            response = rng.integers(5, 260, n - 5).astype(np.int32)
            sample = Sample(np.arange(5, dtype=np.int32), response, advantage=1.0)
            sample.sampler_logp = np.zeros(n - 5, np.float32)
            found.append(Group(Problem(len(found), "", ""), [sample]))
            room -= n
    return found


def main(out: Path) -> None:
    program, found = Program(out), {}
    for name in (name for name in dir(Program) if name.startswith("check_")):
        try:
            found[name.removeprefix("check_")] = getattr(program, name)()
        except (
            Exception
        ):  # kept, and the test that asks for this check fails with it; the others go on
            found[name.removeprefix("check_")] = traceback.format_exc()
            print(found[name.removeprefix("check_")], flush=True)
    torch.save(found, out / "gpu.pt")
    ranks.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
