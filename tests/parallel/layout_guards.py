"""Steps that have to be refused: a number that steers them is not finite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import torch
import torch.distributed as dist
from layout_rank import Layout
from layout_samples import IMITATION, MAIN
from layout_shapes import Steps, steps_of
from shape_samples import SHAPES

from red_mcore.algorithms.chord import CHORD
from red_mcore.algorithms.grpo import GRPO
from red_mcore.algorithms.red import RED
from red_mcore.algorithms.sft import SFT
from red_mcore.samples.records import Group
from red_mcore.train.clock import Clock
from red_mcore.train.step import Step
from red_mcore.train.trainer import learn

LAYOUTS = ("one", "dp2", "pp2", "cp2", "tp2")


@dataclass
class Lopsided(GRPO):
    """Finite rewards make an advantage that is none."""

    def compose(self, groups, state, step):
        kept, metrics = super().compose(groups, state, step)
        kept[-1].samples[-1].advantage = float("inf")
        return kept, metrics


@dataclass
class Endless(SFT):
    """The loss of one token, which one rank alone has, is infinite."""

    def token_losses(self, inputs, state, step):
        losses = super().token_losses(inputs, state, step)["sft"]
        return {"sft": torch.where(inputs.advantage == 5, torch.inf, losses)}


@dataclass
class Vertical(SFT):
    """Finite losses with a gradient that is not."""

    def token_losses(self, inputs, state, step):
        losses = super().token_losses(inputs, state, step)["sft"]
        return {"sft": losses + (losses * 0).sqrt()}


def check_guards(layout: Layout) -> dict[str, tuple[list[str], float, int]]:
    """Of each attempt: how it ends on each rank, how far the weights have moved,
    and the policy's version."""
    if layout.name not in LAYOUTS:
        return {}
    steps = steps_of(layout, "small")

    def logp(value: float, limit: float | None, replay: str | None = None):
        def spoil(run: SimpleNamespace, groups: list[Group]) -> None:
            groups[1].samples[2].sampler_logp[-1] = value
            run.recipe.rollout.logprob_gap_limit, run.recipe.rollout.replay = limit, replay

        return spoil

    def reward(run: SimpleNamespace, groups: list[Group]) -> None:
        groups[0].samples[-1].reward = -np.inf

    def entropies(run: SimpleNamespace, groups: list[Group]) -> None:
        run.state.algorithm = {"offline": np.nan, "online": 6.0}

    def weights(run: SimpleNamespace, groups: list[Group]) -> None:
        next(iter(run.policy.model.parameters())).data.fill_(np.nan)

    def reference(run: SimpleNamespace, groups: list[Group]) -> None:
        for parameter in run.reference.model.parameters():
            parameter.data.mul_(np.nan)

    def marked(run: SimpleNamespace, groups: list[Group]) -> None:
        groups[1].samples[0].advantage = 5.0

    def unclipped(run: SimpleNamespace, groups: list[Group]) -> None:
        run.policy.start_optimizers(
            {"main": (replace(MAIN[0], clip_grad=0.0), 6), "imitation": IMITATION}
        )

    def bounded(run: SimpleNamespace, groups: list[Group]) -> None:
        run.policy.start_optimizers(
            {"main": (replace(MAIN[0], skip_grad=1e3), 6), "imitation": IMITATION}
        )

    def steep(run: SimpleNamespace, groups: list[Group]) -> None:
        step = run.policy.step
        run.policy = SimpleNamespace(
            **{
                name: getattr(run.policy, name)
                for name in ("score", "backward", "model", "weights")
            },
            step=lambda optimizer: step(optimizer, lr_scale=np.inf),
        )

    def nothing(run: SimpleNamespace, groups: list[Group]) -> None: ...

    attempts = {
        "NaN of the engine with a limit": (GRPO(), logp(np.nan, 1e9)),
        "NaN of the engine without a limit": (RED(constant=8.0), logp(np.nan, None)),
        "infinity of the engine in a replay": (GRPO(), logp(-np.inf, None, "somewhere")),
        "reward": (GRPO(), reward),
        "advantage": (Lopsided(), nothing),
        "weight": (CHORD(peak=np.nan), nothing),
        "weight within the pass": (RED(constant=8.0), entropies),
        "loss": (Endless(), marked),
        "gradient": (Vertical(), nothing),
        "gradient, not clipped": (Vertical(), unclipped),
        "gradient with a limit": (Vertical(), bounded),
        "learning rate": (SFT(), steep),
        "trainer, before the pass": (RED(constant=8.0, clip_high=0.2), weights),
        "trainer, within the pass": (GRPO(), weights),
        "reference": (GRPO(kl_coefficient=0.1), reference),
    }
    return {name: attempt(layout, steps, *how) for name, how in attempts.items()}


def attempt(
    layout: Layout, steps: Steps, algorithm, spoil: Callable[[SimpleNamespace, list[Group]], None]
) -> tuple[list[str], float, int]:
    two = isinstance(algorithm, RED) and algorithm.clip_high is not None
    run, groups = steps.prepare(algorithm, SHAPES["mixed, two updates" if two else "mixed"])
    spoil(run, groups)
    before = [parameter.detach().clone() for parameter in run.policy.model.parameters()]
    how = "nothing"
    try:
        learn(run, Step(algorithm, Clock(lambda phase: None), groups, drawn=groups))
    except Exception as error:
        how = f"{type(error).__name__}: {error}"
    ends: list = [None] * layout.ranks.world
    dist.all_gather_object(ends, how)
    pairs = zip(before, run.policy.model.parameters(), strict=True)
    moved = max(float((old - new).nan_to_num(0.0).abs().max()) for old, new in pairs)
    return ends, moved, run.state.policy_version
