import pytest
from one_step import group, one_step, rolled, trace

from red_mcore.algorithms.hpt import HPT


def test_an_unsolved_group_imitates_its_trace():
    outcome = one_step(HPT(), [group(trace(), *rolled(*[0] * 8))])
    assert outcome.losses["sft"] == pytest.approx(0.54036779, abs=1e-6)
    assert [len(g.samples) for g in outcome.kept] == [1]
    assert outcome.metrics["groups/imitated"] == 1


def test_imitation_with_the_entropy_bonus():
    """Published for ReLIFT's imitation, which has this form with weight 1."""
    outcome = one_step(HPT(sft_weight=1), [group(trace(entropies=[0.3, 0.7, 2.0]), *rolled(0, 0))])
    assert outcome.total == pytest.approx(1.80022596, abs=1e-6)


def test_a_solved_group_learns_without_its_trace():
    outcome = one_step(HPT(constant=10, entropy_coefficient=0), [group(trace(), *rolled(1, 0))])
    assert outcome.gradients == [
        [0, 0, 0],
        [pytest.approx(-0.5 / 20)] * 2,
        [pytest.approx(0.5 / 20)] * 2,
    ]


def test_gate_and_missing_traces():
    groups = [group(trace(), *rolled(1, 1, 0)), group(*rolled(1, 1, 0)), group(*rolled(0, 0, 0))]
    kept, metrics = HPT(gate=2, entropy_coefficient=0).compose(groups, {}, 0)
    assert [len(g.samples) for g in kept] == [1, 3]
    assert metrics == {
        "groups/kept": 2,
        "groups/dropped": 1,
        "groups/without_trace": 2,
        "groups/teaching_rollouts": 1,
        "groups/imitated": 1,
    }
