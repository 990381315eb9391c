"""Several optimizers over the same weights."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import torch
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler

from red_mcore.config.recipe import Optimizer


@dataclass
class _Part:
    """What a slot has in one of the optimizers that Megatron's chains."""

    optimizer: Any
    """Megatron's, around torch's."""
    groups: list[dict[str, Any]]
    moments: dict[Any, dict[str, Any]] = field(default_factory=lambda: defaultdict(dict))

    def enter(self) -> None:
        inner = self.optimizer.optimizer
        inner.param_groups, inner.state = self.groups, self.moments

    def keep(self) -> None:
        inner = self.optimizer.optimizer
        self.groups, self.moments = inner.param_groups, inner.state


class Slot:
    """One of several optimizers over the same weights: moments, step, settings and schedule,
    without the weights.

    A second Megatron optimizer would have float32 weights of its own, which would miss the updates
    of the first. Slots take turns in one.
    """

    def __init__(self, optimizer, settings: Optimizer, steps: int):
        self._config, self._clip_grad = optimizer.config, settings.clip_grad
        self.skip_grad = settings.skip_grad
        # Megatron's schedule prefers a group's own bounds of the learning rate.
        bounds = {"max_lr": settings.lr, "min_lr": settings.lr * settings.min_lr_ratio}
        own = {"betas": settings.betas, "eps": settings.eps, **bounds}
        self._parts = []
        for part in optimizer.chained_optimizers:
            self._parts.append(_Part(part, [old | own for old in part.optimizer.param_groups]))
        self.enter()
        for part in optimizer.chained_optimizers:
            # Zero moments now rather than at the first step: a checkpoint may come earlier, or load
            # into them.
            part.init_state_fn(part.optimizer)
            if isinstance(part.optimizer, torch.optim.AdamW):
                for state in part.optimizer.state.values():
                    state["step"] = torch.tensor(0.0)
        self.schedule = OptimizerParamScheduler(
            optimizer,
            # Of the first update, which would idle at 0.
            init_lr=settings.lr / (settings.warmup_steps + 1),
            **bounds,
            lr_warmup_steps=settings.warmup_steps,
            lr_decay_steps=max(steps, settings.warmup_steps + 1),
            lr_decay_style={"wsd": "WSD"}.get(settings.schedule, settings.schedule),
            lr_wsd_decay_style="linear",
            wsd_decay_steps=max(1, round(settings.decay_fraction * steps)),
            start_wd=settings.weight_decay,
            end_wd=settings.weight_decay,
            wd_incr_steps=0,
            wd_incr_style="constant",
        )
        self.leave()

    def moments(self) -> list[torch.Tensor]:
        """The moments of every parameter."""
        if self._is_in_turn:
            self._keep()
        found: list[torch.Tensor] = []
        for part in self._parts:
            for state in part.moments.values():
                found += [tensor for name, tensor in state.items() if name != "step"]
        return found

    def enter(self) -> None:
        """Put the slot's state into Megatron's optimizer."""
        self._is_in_turn = True
        self._config.clip_grad = self._clip_grad
        for part in self._parts:
            part.enter()

    def leave(self) -> None:
        """Let another slot take its turn."""
        self._is_in_turn = False
        self._keep()

    def _keep(self) -> None:
        """Hold what Megatron's optimizer has now: loading a checkpoint puts new objects there."""
        for part in self._parts:
            part.keep()
