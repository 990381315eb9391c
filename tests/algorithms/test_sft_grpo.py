import pytest
from one_step import DEMO, group, one_step, rolled, trace

from red_mcore.algorithms.sft_grpo import SFTGRPO


def test_the_trace_is_imitated_apart_from_the_groups_statistics():
    outcome = one_step(SFTGRPO(constant=10, sft_weight=2), [group(trace(), *rolled(1, 0, 0, 0))])
    demo, right, *wrong = outcome.gradients
    assert [s.advantage for s in outcome.kept[0].samples] == [0, 0.75, -0.25, -0.25, -0.25]
    assert demo == pytest.approx([-2 / 3] * 3)  # 2 x mean over 3 tokens
    assert right == pytest.approx([-0.75 / 40] * 2)  # N counts the rollouts alone
    assert wrong == [pytest.approx([0.25 / 40] * 2)] * 3
    assert outcome.losses["sft"] == pytest.approx(2 * 5.40367788 / 3, abs=1e-6)


def test_rollouts_without_variance_are_left_out_but_counted():
    """The mean of imitation is over the tokens of all traces, 3 and 1."""
    all_right, plain, nothing = (
        group(trace(), *rolled(1, 1)),
        group(*rolled(1, 0)),
        group(*rolled(0, 0)),
    )
    outcome = one_step(
        SFTGRPO(constant=1), [all_right, group(trace(p=DEMO[:1]), *rolled(1, 0)), plain, nothing]
    )
    assert [len(g.samples) for g in outcome.kept] == [1, 3, 2]
    assert outcome.metrics == {
        "groups/kept": 3,
        "groups/dropped": 1,
        "groups/without_trace": 2,
        "groups/teaching_rollouts": 2,
    }
    assert outcome.gradients[0] == pytest.approx([-1 / 4] * 3)
    assert outcome.gradients[3] == pytest.approx([-1 / 4])
    assert outcome.gradients[4] == pytest.approx([-0.5 / 8] * 2)


def test_the_usual_kl_term_is_for_rollouts_alone():
    without, with_kl = (
        one_step(SFTGRPO(kl_coefficient=k), [group(trace(), *rolled(1, 0))]).losses
        for k in (0.0, 0.5)
    )
    assert with_kl["sft"] == without["sft"]
    assert with_kl["rl"] > without["rl"]
