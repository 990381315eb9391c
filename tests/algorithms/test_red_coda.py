import json

import pytest
from one_step import group, one_step, rolled, seen, trace

from red_mcore.algorithms.red_coda import REDCoDA


def step(state: dict, accuracies=(1, 0), offline: float = 0.4, online: float = 0.8):
    rollouts = [seen([0.5], a, entropies=online) for a in accuracies]
    return one_step(REDCoDA(), [group(trace(entropies=offline), *rollouts)], state)


@pytest.mark.parametrize(
    ("accuracies", "factor"),
    [([0] * 8, 5), ([1] + [0] * 7, 3.34370152), ([1, 0], 1), ([1] * 8, 0.2)],
)
def test_accuracy_factor(accuracies, factor):
    outcome = step({}, accuracies)
    assert outcome.metrics["red/accuracy_factor"] == pytest.approx(factor, abs=1e-6)
    assert outcome.kept[0].samples[0].weight == pytest.approx(0.1 * max(factor, 1), abs=1e-6)
    assert outcome.gradients[0] == pytest.approx([-0.1 * max(factor, 1) / 3] * 3, abs=1e-6)


def test_weight_lags_a_step_behind_averages_that_start_at_one():
    state = {}
    assert step(state).metrics["red/weight"] == 1
    assert state["now"] == pytest.approx({"offline": 0.99 + 0.004, "online": 0.99 + 0.008})
    state = json.loads(json.dumps(state))
    metrics = step(state, offline=9.0, online=9.0).metrics  # tells only in the next step
    assert metrics["red/weight_raw"] == pytest.approx((1 - 0.4) / (1 - 0.8), rel=1e-4)
    assert state["before"] == pytest.approx({"offline": 0.994, "online": 0.998})
    assert metrics["red/imitation"] == metrics["red/weight"]


def test_product_is_bounded():
    state = {"before": {"offline": 1.0, "online": 1.0}, "now": {"offline": 2.0, "online": 1.001}}
    metrics = step(state, [0, 0]).metrics
    assert (metrics["red/weight"], metrics["red/imitation"]) == (5, 25)
    assert step(state, [1, 1]).metrics["red/imitation"] == 1


def test_a_step_without_traces_or_samples():
    state = {"before": {"offline": 1.0, "online": 1.0}, "now": {"offline": 0.9, "online": 0.9}}
    one_step(REDCoDA(), [group(*rolled(1, 0))], state)
    assert state["now"] == pytest.approx({"offline": 0.9, "online": 0.99 * 0.9 + 0.01})
    before = dict(state)
    assert one_step(REDCoDA(), [group(*rolled(1, 1))], state).losses == {}
    assert state == before
