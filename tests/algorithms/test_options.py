"""No setting is ignored in silence: in every algorithm each one changes what a step does, or is
refused."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from one_step import Seen, group, one_step, seen
from test_edges import ALGORITHMS

from red_mcore.algorithms.base import GroupAlgorithm
from red_mcore.algorithms.mixins import Lessons, PromptCount, TrainingProblems, stage_of
from red_mcore.config.recipe import Batch, Model, Recipe, RecipeError, Teacher
from red_mcore.samples.records import Group, Problem

OTHER = {
    "aggregation": [
        {"aggregation": "token"},
        {"aggregation": "sequence"},
        {"aggregation": "constant"},
    ],
    "constant": [{"aggregation": "constant", "constant": 7.0}],
    "std_normalise": [{"std_normalise": True}, {"std_normalise": False}],
    "entropy_coefficient": [{"entropy_coefficient": 0.3}],
    "imitation_entropy": [{"imitation_entropy": 0.3, "demonstrations": 1}],
    "clip_low": [{"clip_low": 0.05}],
    "clip_high": [{"clip_high": 0.05}],
    "clip_dual": [{"clip_low": None, "clip_high": None, "clip_dual": 1.5}],
    "kl_coefficient": [{"kl_coefficient": 0.3}],
    "kl_estimator": [{"kl_coefficient": 0.3, "kl_estimator": "k2"}],
    "keep": [{"keep": "accuracy"}, {"keep": "reward"}],
    "sft_weight": [{"sft_weight": 0.7}],
    "rl_weight": [{"rl_weight": 0.7}],
    "gamma": [{"gamma": 0.4}, {"gamma": 0.4, "shift": "shaping"}],
    "imitation_aggregation": [{"imitation_aggregation": "constant"}],
    "shift": [{"shift": "off"}, {"shift": "shaping"}, {"shift": "autograd"}],
    "beta": [{"beta": "rollouts"}, {"beta": 0.3}, {"beta": "batch"}, {"beta": "reverse"}],
    "baseline": [{"baseline": "rollouts"}],
    "entropy_weight": [{"entropy_weight": False}],
    "entropy_change": [{"entropy_change": "absolute"}],
    "entropy_average": [{"entropy_average": "token"}],
    "entropy_ema": [{"entropy_ema": 0.5}],
    "weight_min": [{"weight_min": 6.5}],
    "weight_max": [{"weight_max": 1.0}],
    "alpha": [{"alpha": 0.4}],
    "bound": [{"bound": 2.0}],
    "gate": [{"gate": 1}],
    "warmup_steps": [{"warmup_steps": 9}],
    "decay_steps": [{"decay_steps": 30}],
    "peak": [{"peak": 0.3, "decay_steps": 30}],
    "valley": [{"valley": 0.6}],
    "phi": [{"phi": True}, {"phi": False}],
    "demonstrations": [{"demonstrations": 2}],
    "first_lessons": [{"first_lessons": 4}],
    "fade_steps": [{"fade_steps": 3}],
    "lesson_traces": [{"lesson_traces": 3}],
    "probe_prompts": [{"probe_prompts": 2}],
    "accuracy_ema": [{"accuracy_ema": 0.1}],
    "sft_steps": [{"sft_steps": 2}],
    "teacher": [{"teacher": Teacher("folder", 0.4)}],
    "group_baseline": [{"group_baseline": True}, {"group_baseline": False}],
}
"""Setting -> values that have to differ from the default in what they do;
with whatever they need beside them."""
ELSEWHERE = {
    "imitation": "test_policy of slots: an optimizer",
    "episodes": "test_bread",
    "token_level": "test_gspo: the same where the tokens of a response have one advantage",
    "band_low": "test_bread",
    "band_high": "test_bread",
}


def groups() -> list[Group]:
    """Ratios within and beyond any clip, lengths and entropies that differ,
    groups of every kind."""

    def rollout(correct: float, ratio: float, length: int, reward: float | None = None) -> Seen:
        sample = seen(
            [0.3] * length, correct, old=[0.3 / ratio] * length, entropies=[0.2 * length] * length
        )
        sample.reward = correct if reward is None else reward
        return sample

    def trace(length: int, correct: float = 1.0) -> Seen:
        return seen(
            [0.6, 0.1, 0.3, 0.7][:length],
            correct,
            entropies=[0.1 * length] * length,
            is_offline=True,
        )

    return [
        group(trace(3), rollout(1, 1.4, 1), rollout(0, 0.7, 3), rollout(0, 2.5, 2)),
        group(trace(4), rollout(0, 1.0, 2), rollout(0, 0.9, 3), rollout(0, 1.0, 1, -0.4)),
        group(trace(2, 0), rollout(1, 1.2, 2), rollout(1, 1.0, 2), rollout(1, 1.1, 4)),
        group(trace(2), rollout(1, 1.2, 2), rollout(1, 1.0, 2), rollout(0, 1.1, 4)),
    ]


_KNOWN: dict[str, str] = {}


def does(algorithm: GroupAlgorithm) -> str:
    """All that one can see of three steps; or the refusal."""
    known = repr(algorithm)
    if known not in _KNOWN:
        _KNOWN[known] = _does(algorithm)
    return _KNOWN[known]


def _does(algorithm: GroupAlgorithm) -> str:
    recipe = Recipe(
        name="x", model=Model(), algorithm=algorithm, steps=40, batch=Batch(updates_per_step=1)
    )
    try:
        algorithm.check(recipe)
    except RecipeError as error:
        return str(error)
    before, now = {"offline": 1.0, "online": 1.1}, {"offline": 3.0, "online": 1.12}
    state: dict[str, Any] = {"RED": before, "REDCoDA": {"before": before, "now": now}}.get(
        type(algorithm).__name__, {}
    )
    seen_of = [algorithm.optimizers(recipe)]
    training = TrainingProblems(
        [Problem(i, "", "", "t") for i in range(9)], lambda problem: True, seed=0
    )
    for step in (0, 7, 26):
        now = stage_of(algorithm, step)
        given = [
            Group(g.problem, g.samples if now.traces else g.rollouts) for g in groups()[step % 2 :]
        ]
        outcome = one_step(now, given, state, step=step)
        lessons = now.lessons(given, state, step, training) if isinstance(now, Lessons) else []
        taught = [[len(x.problems), x.beta, x.lr_scale] for x in lessons]
        if lessons:
            demonstration = [group(g.samples[0]) for g in groups()]
            now.aggregate(demonstration, len(demonstration), {}, 0)
            taught.append([sorted(g.samples[0].coefficient.items()) for g in demonstration])
        prompts = now.prompts(step, 24) if isinstance(now, PromptCount) else 24
        seen_of.append([outcome.losses, outcome.gradients, outcome.by_entropy, taught, prompts])
    return json.dumps([str(seen_of[0]), *seen_of[1:]])


CASES = [
    (name, field.name)
    for name, a in ALGORITHMS.items()
    for field in fields(a)
    if field.name not in ELSEWHERE
]


@pytest.mark.parametrize(("name", "setting"), CASES)
def test_every_setting_changes_something_or_is_refused(name, setting):
    algorithm = ALGORITHMS[name]
    names = {field.name for field in fields(algorithm)}
    tried = []
    for values in OTHER[setting]:
        if set(values) <= names and replace(algorithm, **values) != algorithm:
            beside = {key: value for key, value in values.items() if key != setting}
            with_it, without = (does(replace(algorithm, **given)) for given in (values, beside))
            tried.append(with_it != without or with_it.startswith("algorithm."))
    assert tried, "no value to try"
    assert (
        any(tried) if setting == "gamma" else all(tried)
    )  # which one reading of RED has no use for
