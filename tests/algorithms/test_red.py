import json
import random

import numpy as np
import pytest
import torch
from loss_inputs import loss_inputs
from one_step import DEMO, one_step, rolled
from one_step import group as grouped
from one_step import trace as demonstration

from red_mcore.algorithms.red import RED, change_ratio
from red_mcore.samples.records import Group, Problem, Sample

P = torch.tensor([0.9, 0.5, 0.01], dtype=torch.float64)


def sample(
    correct: float, *, offline: bool = False, entropy: float = 1.0, length: int = 2
) -> Sample:
    return Sample(
        prompt=np.zeros(3, np.int32),
        response=np.zeros(length, np.int32),
        is_offline=offline,
        accuracy=correct,
        reward=correct,
        entropy=entropy,
    )


def group(trace: float | None, *rollouts: float) -> Group:
    traces = [] if trace is None else [sample(trace, offline=True, length=3)]
    return Group(Problem(0, "", ""), traces + [sample(r) for r in rollouts])


def entropies(offline: float, online: float) -> list[Group]:
    return [
        Group(
            Problem(0, "", ""),
            [sample(1, offline=True, entropy=offline), sample(0, entropy=online)],
        )
    ]


def test_only_the_trace_is_right():
    groups = [group(1, *[0] * 7)]
    kept, metrics = RED().compose(groups, {}, 0)
    trace, *rollouts = groups[0].samples
    assert kept == groups
    assert trace.advantage == pytest.approx(2.47487373, abs=1e-6)
    assert [r.advantage for r in rollouts] == pytest.approx([-0.35355339] * 7, abs=1e-6)
    assert metrics["red/beta_mean"] == trace.beta == 0.125


def test_which_groups_are_kept():
    all_right, all_wrong, wrong_trace, no_trace = (
        group(1, 1, 1),
        group(0, 0, 0),
        group(0, 1, 1, 1),
        group(None, 1, 0),
    )
    kept, metrics = RED().compose([all_right, all_wrong, wrong_trace, no_trace], {}, 0)
    assert kept == [wrong_trace, no_trace]
    assert metrics == {
        "groups/kept": 2,
        "groups/dropped": 2,
        "groups/without_trace": 1,
        "red/beta_mean": 1.75 / 3,
    }
    assert wrong_trace.samples[0].advantage == pytest.approx(
        -1.5
    )  # what a wrong teacher did is discouraged


@pytest.mark.parametrize(
    ("beta", "expected"), [("group", 0.5), ("rollouts", 1 / 3), ("batch", 3 / 8), ("reverse", 0.5)]
)
def test_beta(beta, expected):
    groups = [group(1, 1, 0, 0), group(1, 0, 0, 0)]
    RED(beta=beta).compose(groups, {}, 0)
    assert [s.beta for s in groups[0].samples] == pytest.approx([expected] * 4)
    assert (
        groups[1].samples[0].beta
        == {"group": 0.25, "rollouts": 0.0, "batch": 3 / 8, "reverse": 0.75}[beta]
    )


@pytest.mark.parametrize("beta", [0, 0.3, 1.0])
def test_a_constant_beta(beta):
    """p / (p + (1 - p) beta) by torch, whatever the group's accuracy;
    0 is imitation, 1 the bare p."""
    groups = [grouped(demonstration(), *rolled(1, 0, 0)), grouped(demonstration(0), *rolled(1, 1))]
    outcome = one_step(RED(beta=beta, constant=10.0), groups)
    p = torch.tensor(DEMO, dtype=torch.float64)
    ratio = p / (p + (1 - p) * beta)
    for slope, g in zip((outcome.gradients[0], outcome.gradients[4]), groups, strict=True):
        assert slope == pytest.approx((-g.samples[0].advantage * ratio / (10 * 7)).tolist())
        assert {s.beta for s in g.samples} == {beta}


@pytest.mark.parametrize(
    ("before", "now", "relative", "absolute"),
    [
        ((1.20, 0.80), (1.26, 0.78), 2, 3),
        ((1.20, 0.80), (1.21, 0.70), 1, 1),
        ((1.20, 0.80), (1.50, 0.79), 7, 7),
    ],
)
def test_entropy_weight(before, now, relative, absolute):
    for change, expected in (("relative", relative), ("absolute", absolute)):
        algorithm, state, groups = RED(entropy_change=change), {}, entropies(*now)
        first = algorithm.weigh(entropies(*before), state, 0)
        assert (first["red/weight"], first["red/weight_raw"]) == (1, 1)
        metrics = algorithm.weigh(groups, state, 0)
        assert metrics["red/weight"] == pytest.approx(expected, rel=1e-6)
        assert [s.weight for s in groups[0].samples] == [metrics["red/weight"], 1.0]
        assert state == {"offline": now[0], "online": now[1]}


def test_raw_change_ratio_keeps_its_sign():
    before = {"offline": 1.20, "online": 0.80}
    assert change_ratio(before, {"offline": 1.26, "online": 0.78}) == pytest.approx(-2, rel=1e-6)
    assert change_ratio(before, {"offline": 1.21, "online": 0.70}) == pytest.approx(
        -0.06666667, rel=1e-6
    )
    assert change_ratio(before, {"offline": 1.50, "online": 0.79}) == pytest.approx(-20, rel=1e-6)


def test_entropy_weight_can_be_off_and_state_survives_json():
    state = {}
    RED().weigh(entropies(1.20, 0.80), state, 0)
    state = json.loads(json.dumps(state))
    assert RED().weigh(entropies(1.26, 0.78), dict(state), 0)["red/weight"] == pytest.approx(
        2, rel=1e-6
    )
    off = RED(entropy_weight=False).weigh(entropies(1.26, 0.78), state, 0)
    assert off["red/weight"] == 1
    assert off["entropy/offline_nats"] == 1.26


def test_entropies_are_means_over_samples_of_all_ranks():
    one = [sample(1, offline=True, entropy=1.30), sample(0, entropy=0.90), sample(0, entropy=0.70)]
    two = [
        sample(1, offline=True, entropy=1.10),
        *(sample(0, entropy=e) for e in (0.80, 0.60, 1.30)),
    ]
    metrics = RED().weigh([Group(Problem(i, "", ""), s) for i, s in enumerate((one, two))], {}, 0)
    assert metrics["entropy/offline_nats"] == pytest.approx(1.20)
    assert metrics["entropy/rollout_nats"] == pytest.approx(
        0.86
    )  # .85 would be the mean of the ranks' means


def test_entropies_can_be_means_over_tokens():
    """Tokens of .5 and 1.5, and of 1, 2 and 3 nats: 1.5 by sample, 1.6 by token."""
    samples = [
        sample(1, offline=True),
        sample(1, entropy=1.0, length=2),
        sample(0, entropy=2.0, length=3),
    ]
    for average, expected in (("sample", 1.5), ("token", 1.6)):
        metrics = RED(entropy_average=average).weigh([Group(Problem(0, "", ""), samples)], {}, 0)
        assert metrics["entropy/rollout_nats"] == pytest.approx(expected)


def test_moving_averages_of_the_entropies():
    """Half of the past: both changes are halved, so the first ratio is as without;
    the next one knows the past."""
    algorithm, state = RED(entropy_ema=0.5), {}
    algorithm.weigh(entropies(1.20, 0.80), state, 0)
    assert algorithm.weigh(entropies(1.26, 0.78), state, 0)["red/weight_raw"] == pytest.approx(
        -2, rel=1e-6
    )
    assert state == pytest.approx({"offline": 1.23, "online": 0.79})
    metrics = algorithm.weigh(entropies(1.29, 0.77), state, 0)
    assert metrics["red/weight_raw"] == pytest.approx((0.03 / 1.23) / (-0.01 / 0.79), rel=1e-5)
    assert metrics["entropy/offline_nats"] == 1.29  # what is reported is the step's own


def test_a_step_without_traces_leaves_the_state_alone():
    state = {"offline": 1.2, "online": 0.8}
    assert RED().weigh([group(None, 1, 0)], state, 0)["red/weight"] == 1
    assert RED().weigh([], state, 0)["red/weight"] == 1
    assert state == {"offline": 1.2, "online": 0.8}


def test_the_order_of_samples_means_nothing():
    """What is a trace is said by its flag, not by its place in the group."""

    def step(groups: list[Group]) -> list[tuple]:
        algorithm, state = RED(), {"offline": 1.2, "online": 0.8}
        kept, _ = algorithm.compose(groups, {}, 0)
        algorithm.aggregate(kept, 8, {}, 0)
        algorithm.weigh(kept, state, 0)
        return [
            (s.accuracy, s.is_offline, s.advantage, s.beta, s.weight, s.coefficient)
            for s in groups[0].samples
        ]

    def make() -> list[Group]:
        samples = [
            sample(1, offline=True, entropy=1.26),
            *(sample(a, entropy=0.78) for a in (0, 1, 0, 0)),
        ]
        return [Group(Problem(0, "", ""), samples)]

    order = random.Random(3).sample(range(5), 5)
    shuffled = make()
    shuffled[0].samples = [shuffled[0].samples[i] for i in order]
    straight = step(make())
    assert straight[0][4:] == (pytest.approx(2, rel=1e-6), {"offline": 1 / (3000 * 8)})
    for found, i in zip(step(shuffled), order, strict=True):
        assert found == (*straight[i][:2], *map(pytest.approx, straight[i][2:5]), straight[i][5])


@pytest.mark.parametrize(
    ("shift", "expected"),
    [
        ("detached", [-4.88194269, -4.39977551, -0.37007458]),
        ("autograd", [-0.66875927, -0.97772789, -0.34586409]),
    ],
)
def test_loss_of_a_group(shift, expected):
    """The trace of 3 tokens is right, 7 rollouts of 2 tokens are wrong;
    w = 2, beta = 1/8, C = 3000."""
    algorithm, groups = RED(shift=shift), [group(1, *[0] * 7)]
    algorithm.compose(groups, {}, 0)
    algorithm.aggregate(groups, 8, {}, 0)
    groups[0].samples[0].weight = 2.0
    total, losses = 0.0, []
    for s in groups[0].samples:
        logp = (
            (P if s.is_offline else torch.full((2,), 0.3, dtype=torch.float64))
            .log()
            .requires_grad_()
        )
        scalars = {name: getattr(s, name) for name in ("advantage", "beta", "weight")}
        given = loss_inputs(logp, old_logp=logp.detach(), **scalars)
        token_losses = algorithm.token_losses(given, {}, 0)
        ((component, coefficient),) = s.coefficient.items()
        loss = (coefficient * token_losses[component]).sum()
        losses.append(8 * loss.item())
        total += loss.item()
        if s.is_offline:
            gradient = torch.autograd.grad(loss, logp)[0] * 3000 * 8
    assert losses == pytest.approx([-0.00321726] + [0.00023570] * 7, abs=1e-8)
    assert total == pytest.approx(-0.00019592, abs=1e-8)
    assert gradient.tolist() == pytest.approx(expected, abs=1e-6)


def test_the_rollouts_alone_can_be_the_baseline():
    groups = [group(1, 1, 0, 0, 0)]
    RED(baseline="rollouts").compose(groups, {}, 0)
    deviation = 0.5477225575
    assert [s.advantage for s in groups[0].samples] == pytest.approx(
        [a / deviation for a in (0.75, 0.75, -0.25, -0.25, -0.25)]
    )
    groups = [group(1, 0, 0, 0)]  # rollouts without any deviation
    RED(baseline="rollouts").compose(groups, {}, 0)
    assert [s.advantage for s in groups[0].samples] == pytest.approx([2, 0, 0, 0])


def test_shaping_instead_of_a_shift():
    logp = P.log().requires_grad_()
    given = loss_inputs(logp, old_logp=logp.detach(), advantage=1.0, beta=1.0)
    loss = RED(shift="shaping").token_losses(given, {}, 0)["offline"]
    assert loss.tolist() == pytest.approx([-0.9, -0.83333333, -0.09090909], abs=1e-6)
    (gradient,) = torch.autograd.grad(loss.sum(), logp)
    assert gradient.tolist() == pytest.approx([-0.09, -0.13888889, -0.08264463], abs=1e-6)
