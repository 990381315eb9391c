import math

import pytest
from one_step import DEMO, group, one_step, rolled, seen, trace

from red_mcore.algorithms.srft import SRFT


def published():
    return [group(trace(entropies=0.5), seen([0.8, 0.6], 1), seen([0.7, 0.3], 0))]


@pytest.mark.parametrize(
    ("gamma", "offline", "total"), [(None, -0.05875, 0.31735760), (0.1, -0.07601010, 0.30009750)]
)
def test_four_terms(gamma, offline, total):
    """Advantages without the deviation, as the published value takes them:
    A of the trace is 1/3."""
    outcome = one_step(SRFT(gamma=gamma, std_normalise=False, constant=8), published(), sequences=1)
    expected = {"sft": 0.54624939, "offline": offline, "right": 0.02493919, "wrong": -0.19508097}
    assert outcome.losses == pytest.approx(expected, abs=1e-6)
    assert outcome.total == pytest.approx(total, abs=1e-6)
    demo, right, wrong = outcome.gradients
    slope = [p if gamma is None else p * gamma / (p + gamma) ** 2 for p in DEMO]
    assert demo == pytest.approx([-0.30326533 / 3 - s / 3 / 8 for s in slope], abs=1e-6)
    assert right == pytest.approx([-0.27182818 / 8] * 2, abs=1e-6)
    assert wrong == pytest.approx([1 / 8] * 2, abs=1e-6)


def test_weights_follow_each_sequences_entropy():
    outcome = one_step(SRFT(), published())
    assert [s.weight for s in outcome.kept[0].samples] == pytest.approx(
        [0.30326533, 0.27182818, 1.0], abs=1e-6
    )
    assert outcome.metrics["srft/sft_weight_mean"] == pytest.approx(0.5 * math.exp(-0.5))
    assert outcome.metrics["srft/right_weight_mean"] == pytest.approx(0.1 * math.e)


def test_imitation_has_a_normaliser_of_its_own_or_the_common_one():
    """Two traces of 3 and 1 tokens: a mean over their 4 tokens, or 1 / (C N) with N = 4 samples."""
    groups = [group(trace(), *rolled(0)), group(trace(p=[0.2]), *rolled(0))]
    for algorithm, scale in (
        (SRFT(), 1 / 4),
        (SRFT(imitation_aggregation="constant", constant=10), 1 / 40),
    ):
        one_step(algorithm, groups)
        assert [g.samples[0].coefficient["sft"] for g in groups] == pytest.approx([scale] * 2)


def test_no_group_is_dropped():
    groups = [
        group(trace(), *rolled(1, 1)),
        group(trace(0), *rolled(0, 0)),
        group(*rolled(1, 1)),
        group(trace()),
    ]
    outcome = one_step(SRFT(), groups)
    assert outcome.kept == groups
    assert all(g[0] != 0 for g in outcome.gradients)
