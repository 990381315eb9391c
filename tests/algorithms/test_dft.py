import pytest
from one_step import group, one_step, rolled, trace

from red_mcore.algorithms.dft import DFT


def test_published_values():
    outcome = one_step(DFT(), [group(trace(0), *rolled(1, 0))])
    assert outcome.losses == {"sft": pytest.approx(0.16248325, abs=1e-6)}
    demo, *rollouts = outcome.gradients
    assert demo == pytest.approx([-0.3, -0.16666667, -0.00333333], abs=1e-6)
    assert rollouts == [[0, 0]] * 2


def test_groups_without_a_trace_are_dropped():
    kept, metrics = DFT().compose([group(trace(), *rolled(1)), group(*rolled(1, 0))], {}, 0)
    assert [len(g.samples) for g in kept] == [1]
    assert metrics == {"groups/kept": 1, "groups/dropped": 1}
