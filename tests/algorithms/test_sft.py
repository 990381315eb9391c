import pytest
from one_step import group, one_step, rolled, trace

from red_mcore.algorithms.sft import SFT


def test_published_value():
    outcome = one_step(SFT(), [group(trace(0), *rolled(1, 0))])
    assert outcome.losses == {"sft": pytest.approx(1.80122596, abs=1e-6)}
    demo, *rollouts = outcome.gradients
    assert demo == pytest.approx([-1 / 3] * 3)
    assert rollouts == [[0, 0]] * 2


def test_a_problem_without_trace_leaves_an_empty_group_which_is_dropped():
    kept, metrics = SFT().compose([group(), group(trace())], {}, 0)
    assert [len(g.samples) for g in kept] == [1]
    assert metrics == {"groups/kept": 1, "groups/dropped": 1}
