"""This rank's policies under a layout, and what they hold, whole and by Hugging Face name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch.distributed as dist
from family_models import FAMILIES
from layout_samples import BUDGET, DEEP, IMITATION, MAIN, SMALL, TEMPERATURE, Update, config
from megatron.core import parallel_state

from red_mcore.algorithms.red import RED
from red_mcore.config.recipe import Batch, Model, Offload, Parallel, Recipe, Rollout
from red_mcore.convert import hf
from red_mcore.megatron import ranks
from red_mcore.megatron.offload import to_host
from red_mcore.megatron.policy import Policy
from red_mcore.models.architecture import read_architecture

LAYOUTS = {
    "one": Parallel(ranks=1),
    "dp2": Parallel(ranks=2),
    "dp4": Parallel(ranks=4),
    "dp8": Parallel(ranks=8),
    "tp2": Parallel(ranks=2, tensor=2),
    "tp2_sequence": Parallel(ranks=2, tensor=2, sequence=True),
    "pp2": Parallel(ranks=2, pipeline=2),
    "cp2": Parallel(ranks=2, context=2),
    "tp2_dp2": Parallel(ranks=4, tensor=2),
    "tp2_pp2": Parallel(ranks=4, tensor=2, pipeline=2),
    "pp2_dp2": Parallel(ranks=4, pipeline=2),
    "tp2_cp2": Parallel(ranks=4, tensor=2, context=2, sequence=True),
    "dp2_cp2": Parallel(ranks=4, context=2),
    "pp2_cp2": Parallel(ranks=4, pipeline=2, context=2),
    "pp4_virtual2": Parallel(ranks=4, pipeline=4, virtual=2),
    "pp4_virtual2_dp2": Parallel(ranks=8, pipeline=4, virtual=2),
    "ep2": Parallel(ranks=2, expert=2),
    "ep2_dp4": Parallel(ranks=4, expert=2),
    "ep2_tp2": Parallel(ranks=4, expert=2, tensor=2, sequence=True),
    "ep2_pp2": Parallel(ranks=4, expert=2, pipeline=2),
}


class WatchedPolicy(Policy):
    """Keeps the gradients of its last step, as they were before the step clipped them."""

    def step(self, *args, **settings) -> dict[str, float]:
        self.gradients = self._whole_gradients()
        return super().step(*args, **settings)

    def weights(self) -> dict[str, np.ndarray]:
        return {
            name: t.float().cpu().numpy().copy()
            for name, t in hf.stream_weights(self.model, self.arch)
        }

    def _whole_gradients(self) -> dict[str, np.ndarray]:
        # A data-parallel rank has the sums of its own part of each bucket alone.
        groups = [
            ("buffers", parallel_state.get_data_parallel_group(with_context_parallel=True)),
            ("expert_parallel_buffers", parallel_state.get_expert_data_parallel_group()),
        ]
        for kind, group in groups:
            buffers = (buffer for chunk in self._ddp for buffer in getattr(chunk, kind))
            for bucket in (bucket for buffer in buffers for bucket in buffer.buckets):
                parts = list(bucket.grad_data.chunk(group.size()))
                own = parts[group.rank()].clone()
                dist.all_gather(parts, own, group=group)
        weights = {parameter: parameter.data for parameter in self.model.parameters()}
        for parameter in weights:
            parameter.data = parameter.main_grad.to(parameter.dtype)
        gradients = self.weights()
        for parameter, weight in weights.items():
            parameter.data = weight
        return gradients


class Layout:
    """This rank's share of a layout."""

    def __init__(self, name: str, out: Path):
        self.name, self.out, self.parallel = name, out, LAYOUTS[name]
        self.ranks = ranks.start(self.parallel, seed=0)

    def policy(
        self,
        tied: bool,
        tokens: int = BUDGET,
        dtype: str = "float32",
        trained: bool = True,
        deep: bool = False,
        recompute: str = "none",
        offload: Offload | None = None,
        usual: bool = False,
        small: bool = False,
    ) -> WatchedPolicy:
        """A policy with the first weights, or with such as models usually start with, a tenth as
        large."""
        conf, folder = (
            (config(tied, DEEP), self.out / "deep") if deep else (config(tied), self.source(tied))
        )
        conf, folder = (config(tied, hidden=SMALL), self.out / "small") if small else (conf, folder)
        folder = self.out / "usual" if usual else folder
        parallel = replace(self.parallel, recompute=recompute)
        return self._policy(conf, folder, parallel, tokens, dtype, trained, offload or Offload())

    def family(self, name: str) -> WatchedPolicy:
        """A trained policy of another family with the first weights;
        experts want sequence parallel beside tensor."""
        split_experts = "moe" in name and self.parallel.tensor > 1
        parallel = replace(self.parallel, sequence=self.parallel.sequence or split_experts)
        return self._policy(
            FAMILIES[name], self.out / name, parallel, BUDGET, "float32", True, Offload()
        )

    def frozen(self, conf: dict, name: str, offload: Offload) -> WatchedPolicy:
        """A model of its own shape that only scores, in the host's memory between its uses where it
        is offloaded."""
        return self._policy(conf, self.out / name, self.parallel, BUDGET, "float32", False, offload)

    def _policy(
        self,
        conf: dict,
        folder: Path,
        parallel: Parallel,
        tokens: int,
        dtype: str,
        trained: bool,
        offload: Offload,
    ) -> WatchedPolicy:
        recipe = Recipe(
            name="layout",
            model=Model(config=conf, dtype=dtype),
            algorithm=RED(),
            parallel=parallel,
            offload=offload,
            batch=Batch(tokens_per_micro_batch=tokens),
            rollout=Rollout(temperature=TEMPERATURE),
        )
        policy = WatchedPolicy(recipe, read_architecture(conf), self.ranks)
        hf.load_weights(policy.model, policy.arch, folder)
        if offload.reference or offload.teacher:
            to_host(policy.model.parameters())
        if trained:
            policy.start_optimizers({"main": MAIN, "imitation": IMITATION})
        return policy

    def source(self, tied: bool) -> Path:
        return self.out / ("tied" if tied else "untied")

    def left(self, metrics: dict[str, float], policy: WatchedPolicy) -> Update:
        """What the update that returned ``metrics`` leaves behind,
        but for what depends on the layout by its nature."""
        same = {name: value for name, value in metrics.items() if "packing/" not in name}
        return Update(same, policy.weights(), policy.gradients)
