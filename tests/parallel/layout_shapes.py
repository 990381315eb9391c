"""Steps of every algorithm on groups of unusual shapes, by the loop's own code,
under this rank's layout."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from layout_rank import Layout, WatchedPolicy
from layout_samples import IMITATION, MAIN
from shape_samples import ALGORITHMS, SHAPES, TOKENS, Shape, make, state_of

from red_mcore.algorithms.base import GroupAlgorithm
from red_mcore.config.recipe import Batch, Model, Recipe, Rollout
from red_mcore.data.tokenizer import build_tokenizer
from red_mcore.rollout.sampler import Sampler
from red_mcore.samples.records import Group
from red_mcore.train.clock import Clock
from red_mcore.train.state import State
from red_mcore.train.step import Step
from red_mcore.train.trainer import learn

TELLING = ("RED", "RED-CoDA", "GRPO with a reference", "ReLIFT")
"""In the passes of the first two, ranks meet in the middle."""


class Outcome(NamedTuple):
    """What a step leaves behind."""

    metrics: dict[str, float]
    samples: list[tuple[float, float, float]]
    """Weight, advantage and entropy of each sample that was given, in order."""
    state: dict[str, Any]
    """The algorithm's."""
    version: int
    weights: dict[str, np.ndarray]


class Steps:
    """Steps of any algorithm from the same weights."""

    def __init__(
        self, layout: Layout, policy: WatchedPolicy, reference: WatchedPolicy | None
    ) -> None:
        self._layout, self._policy, self._reference = layout, policy, reference
        self._first = [parameter.detach().clone() for parameter in policy.model.parameters()]
        self._tokenizer = build_tokenizer()

    def prepare(
        self, algorithm: GroupAlgorithm, shape: Shape
    ) -> tuple[SimpleNamespace, list[Group]]:
        """A run before a step, and the step's groups."""
        for parameter, first in zip(self._policy.model.parameters(), self._first, strict=True):
            parameter.data.copy_(first)
        recipe = Recipe(
            name="shapes",
            model=Model(),
            algorithm=algorithm,
            steps=6,
            optimizer=MAIN[0],
            batch=Batch(updates_per_step=shape.updates),
            rollout=Rollout(max_response_tokens=TOKENS),
        )
        self._policy.start_optimizers({"imitation": IMITATION} | algorithm.optimizers(recipe))
        groups = make(shape.groups)
        return SimpleNamespace(
            recipe=recipe,
            ranks=self._layout.ranks,
            arch=self._policy.arch,
            policy=self._policy,
            reference=self._reference,
            teacher=self._reference,
            sampler=Sampler(recipe, self._tokenizer, engine=None, verifier=None),
            problems=[g.problem for g in groups],
            state=State(algorithm=state_of(algorithm)),
        ), groups

    def step(self, algorithm: GroupAlgorithm, shape: Shape) -> Outcome:
        run, groups = self.prepare(algorithm, shape)
        step = Step(algorithm, Clock(lambda phase: None), groups, drawn=groups)
        learn(run, step)
        return Outcome(
            {
                name: x
                for name, x in step.metrics.items()
                if not name.startswith(("time/", "speed/")) and "packing" not in name
            },
            [(s.weight, s.advantage, s.entropy) for g in groups for s in g.samples],
            run.state.algorithm,
            run.state.policy_version,
            self._policy.weights(),
        )


def cases(layout: Layout) -> list[tuple[str, str, str]]:
    """(model, algorithm, shape); all of them where the ranks differ by their data alone,
    the telling ones elsewhere."""
    every = [("small", name, shape) for name in ALGORITHMS for shape in SHAPES]
    some = [
        (name, shape)
        for name in TELLING
        for shape in ("one trace", "one group", "hopeless but for traces")
    ]
    small, deep, experts = (
        [(model, *case) for case in some] for model in ("small", "deep", "experts")
    )
    if layout.name == "one":
        return every + deep + experts
    if layout.parallel.data == 1:
        return []
    if layout.name in ("dp2", "dp4"):
        return every
    if layout.name == "dp8":
        return [case for case in every if case[2] == "one group"]
    return deep if layout.parallel.virtual > 1 else experts if layout.parallel.expert > 1 else small


def steps_of(layout: Layout, model: str) -> Steps:
    if model == "experts":
        return Steps(layout, layout.family("qwen3_moe"), layout.family("qwen3_moe"))
    size = {model: True}
    policy, reference = (
        layout.policy(True, TOKENS, **size),
        layout.policy(True, TOKENS, trained=False, **size),
    )
    with torch.no_grad():
        for parameter in reference.model.parameters():
            parameter.mul_(1.1)
    return Steps(layout, policy, reference)


def check_shapes(layout: Layout) -> dict:
    """Of each case; and what each rank knows of them, which has to be the same."""
    wanted = cases(layout)
    models = {
        model: steps_of(layout, model) for model in dict.fromkeys(model for model, *_ in wanted)
    }
    found = {}
    for model, algorithm, shape in wanted:
        try:
            found[model, algorithm, shape] = models[model].step(
                ALGORITHMS[algorithm], SHAPES[shape]
            )
        except Exception as error:
            error.add_note(f"{algorithm} on {shape}, {model}")
            raise
    known: list = [None] * layout.ranks.world
    dist.all_gather_object(known, {case: step._replace(weights={}) for case, step in found.items()})
    return {"steps": found, "known": known}
