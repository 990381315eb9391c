from dataclasses import replace

import numpy as np
import pytest
import torch
from loss_inputs import loss_inputs
from one_step import group, one_step, rolled

from red_mcore.algorithms.base import GroupAlgorithm, advantages
from red_mcore.algorithms.chord import CHORD
from red_mcore.algorithms.grpo import GRPO, dapo, dr_grpo
from red_mcore.algorithms.luffy import LUFFY
from red_mcore.algorithms.red import RED
from red_mcore.algorithms.relift import ReLIFT
from red_mcore.algorithms.sft import SFT
from red_mcore.algorithms.sft_grpo import SFTGRPO
from red_mcore.config.recipe import Batch, Model, Recipe, RecipeError
from red_mcore.losses import token
from red_mcore.samples.records import Group, Problem, Sample

OLD = [np.log([0.5, 0.4, 0.8]), np.log([0.6, 0.3])]
DIFFERENCE = [np.array([0.30, -0.05, 0.22]), np.log([0.7, 1.5])]


def rewarded(*rewards: float) -> Group:
    prompt, response = np.zeros(3, np.int32), np.zeros(2, np.int32)
    return Group(
        Problem(0, "", ""), [Sample(prompt, response, reward=r, accuracy=r) for r in rewards]
    )


@pytest.mark.parametrize(
    ("rewards", "normalised", "plain"),
    [
        ([1, 0, 0, 0, 0, 0, 0, 0], (2.47487373, -0.35355339), (0.875, -0.125)),
        ([1, 0], (0.70710678, -0.70710678), (0.5, -0.5)),
        ([1, 1, 0, 0], (0.86602540, -0.86602540), (0.5, -0.5)),
        ([1, 1, 1, 1, 1, 0, 0, 0], (0.72456884, -1.20761473), (0.375, -0.625)),
    ],
)
def test_advantages(rewards, normalised, plain):
    for std_normalise, expected in ((True, normalised), (False, plain)):
        found = advantages(rewards, std_normalise)
        assert (found[0], found[-1]) == pytest.approx(expected, abs=1e-6)
        assert len(set(found)) == 2


@pytest.mark.parametrize("rewards", [[0.1] * 7, [1.0], [0, 0]])
def test_equal_rewards_have_exactly_no_advantage(rewards):
    assert advantages(rewards) == [0.0] * len(rewards)


def test_groups_without_variance_are_dropped_and_counted():
    groups = [rewarded(1, 0, 0), rewarded(1, 1, 1), rewarded(0, 0, 0), rewarded(0.5, 1, 1)]
    kept, metrics = GroupAlgorithm().compose(groups, {}, 0)
    assert kept == [groups[0], groups[3]]
    assert metrics == {"groups/kept": 2, "groups/dropped": 2}


def test_dapo_keeps_groups_whose_accuracies_differ():
    """An overlong penalty tells samples apart that are all wrong;
    a bonus for entropy brings such groups back in GRPO alone."""
    late, mixed, right = rewarded(0, 0, -0.5), rewarded(0, 1, 1), rewarded(1, 1, 1)
    for sample in late.samples:
        sample.accuracy = 0.0
    groups = [late, mixed, right]
    assert dapo().compose(groups, {}, 0)[0] == [mixed]
    assert GRPO().compose(groups, {}, 0)[0] == [late, mixed]
    assert GRPO(entropy_coefficient=0.001).compose(groups, {}, 0)[0] == groups
    assert GRPO(entropy_coefficient=0.001, keep="accuracy").compose(groups, {}, 0)[0] == [mixed]


@pytest.mark.parametrize(
    "algorithm",
    [
        GRPO(kl_coefficient=0.1),
        SFTGRPO(kl_coefficient=0.1),
        ReLIFT(kl_coefficient=0.1),
        CHORD(kl_coefficient=0.1),
    ],
)
@pytest.mark.parametrize("rewards", [(1, 1), (0, 0)])
def test_a_kl_term_has_the_groups_without_advantage(algorithm, rewards):
    """By itself and beside a group that teaches; with N as if there was no KL term."""
    algorithm = replace(algorithm, aggregation="constant", constant=10.0, entropy_coefficient=0.0)
    outcome = one_step(algorithm, [group(*rolled(*rewards)), group(*rolled(1, 0))])
    weight = 1 - algorithm.peak if isinstance(algorithm, CHORD) else 1.0
    slope = (
        weight * 0.1 * (1 - np.exp(-0.1)) / (4 * 10)
    )  # of k3, N = 4; the reference's log-probs are .1 lower
    assert outcome.gradients[0] == pytest.approx([slope] * 2)
    assert outcome.losses["rl"] > 0
    assert (
        len(one_step(replace(algorithm, kl_coefficient=0.0), [group(*rolled(*rewards))]).kept) == 0
    )


def test_the_filter_of_dapo_goes_before_a_kl_term():
    assert one_step(replace(dapo(), kl_coefficient=0.1), [group(*rolled(1, 1))]).kept == []


def test_a_mean_over_tokens_counts_those_without_advantage():
    """But for DAPO, whose filter leaves them out."""
    groups = [group(*rolled(1, 1)), group(*rolled(1, 0))]
    for algorithm, tokens in (
        (GRPO(aggregation="token", std_normalise=False), 8),
        (replace(dapo(), std_normalise=False), 4),
    ):
        assert one_step(algorithm, groups).gradients[2] == pytest.approx([-0.5 / tokens] * 2)


REFUSED = [
    (
        GRPO(kl_coefficient=0.1, kl_estimator="k1"),
        {},
        r"algorithm\.kl_estimator=k1 .* use k2 or k3",
    ),
    (SFTGRPO(kl_coefficient=0.1, kl_estimator="k1"), {}, r"algorithm\.kl_estimator=k1"),
    (LUFFY(clip_dual=1.0), {}, r"algorithm\.clip_dual=1\.0 .* use more than 1"),
    (
        RED(),
        {"updates_per_step": 2},
        r"batch\.updates_per_step=2: .* algorithm\.clip_low=0\.2 .* or use 1 update",
    ),
    (RED(beta=1.5), {}, r"algorithm\.beta=1\.5 .* use 0 to 1"),
    (SFT(std_normalise=False), {}, r"algorithm\.std_normalise=false changes nothing"),
]


@pytest.mark.parametrize(("algorithm", "batch", "message"), REFUSED)
def test_what_cannot_work_is_refused(algorithm, batch, message):
    with pytest.raises(RecipeError, match=message) as raised:
        algorithm.check(Recipe(name="x", model=Model(), algorithm=algorithm, batch=Batch(**batch)))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "algorithm", [GRPO(kl_estimator="k1"), RED(clip_high=0.28), LUFFY(), RED(beta=0)]
)
def test_what_works_is_not(algorithm):
    updates = 1 if algorithm == RED(beta=0) else 2
    algorithm.check(
        Recipe(name="x", model=Model(), algorithm=algorithm, batch=Batch(updates_per_step=updates))
    )


def loss(algorithm: GroupAlgorithm, sequences: int = 2) -> float:
    """What the update sums: two sequences of 3 and 2 tokens, one right and one wrong."""
    samples = [
        Sample(
            np.zeros(4, np.int32),
            np.zeros(len(old), np.int32),
            accuracy=1.0 - i,
            reward=1.0 - i,
            old_logp=old,
        )
        for i, old in enumerate(OLD)
    ]
    groups = [Group(Problem(0, "", ""), samples)]
    kept, _ = algorithm.compose(groups, {}, 0)
    assert algorithm.sequences(groups) == 2
    algorithm.aggregate(kept, sequences, {}, 0)
    total = 0.0
    for sample, difference in zip(samples, DIFFERENCE, strict=True):
        old = torch.from_numpy(sample.old_logp)
        given = loss_inputs(
            old + torch.from_numpy(difference),
            old_logp=old,
            ref_logp=old - 0.1,
            advantage=sample.advantage,
            entropy=1.0,
        )
        total += (
            (sample.coefficient["rl"] * algorithm.token_losses(given, {}, 0)["rl"]).sum().item()
        )
    return total


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        (GRPO(), 0.01164022),
        (GRPO(kl_coefficient=0.04), 0.01387128),
        (dapo(), -0.16649623),
        (dr_grpo(max_response_tokens=8), -0.03285092),
    ],
)
def test_aggregations(algorithm, expected):
    assert loss(algorithm) == pytest.approx(expected, abs=1e-6)


def test_dropped_sequences_stay_in_the_denominator():
    assert loss(GRPO(), sequences=6) == pytest.approx(0.01164022 / 3, abs=1e-6)


def test_sft_is_the_mean_over_all_target_tokens():
    """Sequences of 3 tokens with a summed loss of 3 and of 1 token with 2:
    5/4, not the mean of their means."""
    samples = [
        Sample(np.zeros(2, np.int32), np.zeros(n, np.int32), is_offline=True) for n in (3, 1)
    ]
    SFT().aggregate([Group(Problem(i, "", ""), [s]) for i, s in enumerate(samples)], 2, {}, 0)
    sums = (3.0, 2.0)
    assert sum(
        s.coefficient["sft"] * x for s, x in zip(samples, sums, strict=True)
    ) == pytest.approx(1.25)
    logp = torch.tensor([-1.0, -2.0])
    assert torch.equal(SFT().token_losses(loss_inputs(logp), {}, 0)["sft"], token.imitation(logp))


def test_grpo_refuses_groups_of_one():
    recipe = Recipe(name="x", model=Model(), algorithm=GRPO(), batch=Batch(samples_per_prompt=1))
    with pytest.raises(
        RecipeError, match=r"batch\.samples_per_prompt=1: GRPO compares .* use at least 2"
    ):
        recipe.algorithm.check(recipe)
