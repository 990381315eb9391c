"""Several optimizers over the same weights."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler

from red_mcore.config.recipe import Optimizer


class Slot:
    """One of several optimizers over the same weights: moments, step, settings and schedule,
    without the weights.

    A second Megatron optimizer would have float32 weights of its own, which would miss the updates
    of the first. Slots take turns in one.
    """

    def __init__(self, optimizer, settings: Optimizer, steps: int):
        self._parts, self._config, self._clip_grad = (
            optimizer.chained_optimizers,
            optimizer.config,
            settings.clip_grad,
        )
        self.skip_grad = settings.skip_grad
        # Megatron's schedule prefers a group's own bounds of the learning rate.
        bounds = {"max_lr": settings.lr, "min_lr": settings.lr * settings.min_lr_ratio}
        own = {"betas": settings.betas, "eps": settings.eps, **bounds}
        self._groups = [
            [group | own for group in part.optimizer.param_groups] for part in self._parts
        ]
        self._moments: list[dict[Any, dict]] = [defaultdict(dict) for _ in self._parts]
        self.enter()
        for part in self._parts:
            # Zero moments now rather than at the first step: a checkpoint may come earlier, or load
            # into them.
            part.init_state_fn(part.optimizer)
            if isinstance(part.optimizer, torch.optim.AdamW):
                for state in part.optimizer.state.values():
                    state["step"] = torch.tensor(0.0)
        self.schedule = OptimizerParamScheduler(
            optimizer,
            init_lr=settings.lr
            / (settings.warmup_steps + 1),  # of the first update, which would idle at 0
            **bounds,
            lr_warmup_steps=settings.warmup_steps,
            lr_decay_steps=max(steps, settings.warmup_steps + 1),
            lr_decay_style="WSD" if settings.schedule == "wsd" else settings.schedule,
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
        moments = (
            [part.optimizer.state for part in self._parts] if self._is_in_turn else self._moments
        )
        states = (state for of_part in moments for state in of_part.values())
        return [tensor for state in states for name, tensor in state.items() if name != "step"]

    def enter(self) -> None:
        """Put the slot's state into Megatron's optimizer."""
        self._is_in_turn = True
        self._config.clip_grad = self._clip_grad
        for part, groups, moments in zip(self._parts, self._groups, self._moments, strict=True):
            part.optimizer.param_groups, part.optimizer.state = groups, moments

    def leave(self) -> None:
        """Keep what Megatron's optimizer holds now: loading a checkpoint puts new objects there."""
        self._is_in_turn = False
        self._groups = [part.optimizer.param_groups for part in self._parts]
        self._moments = [part.optimizer.state for part in self._parts]
