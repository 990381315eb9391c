"""Every family: the layouts agree, and weights come back from the ranks as the folder holds
them."""

import numpy as np
import pytest
from family_models import CASES, EXPERT_LAYOUTS, FAMILIES
from test_layouts import same


@pytest.mark.parametrize(("layout", "name"), CASES)
def test_weights_go_round_to_the_bit(layouts, layout, name):
    assert layouts[layout]["families"][name]["round_trip"] == []


@pytest.mark.parametrize(("layout", "name"), [case for case in CASES if case[0] != "one"])
def test_updates(layouts, layout, name):
    """Gradients of routers, experts and the norms of query and key among them."""
    found, expected = layouts[layout]["families"][name], layouts["one"]["families"][name]
    same(found["update"], expected["update"])


@pytest.mark.parametrize("name", [name for name in FAMILIES if "moe" in name])
@pytest.mark.parametrize("layout", [layout for layout in EXPERT_LAYOUTS if layout.startswith("ep")])
def test_one_pass_equals_two_with_expert_parallel(layouts, layout, name):
    found = layouts[layout]["families"][name]
    one, two = found["one_pass"], found["update"]
    shared = one.metrics.keys() & two.metrics.keys()
    shared -= {
        "rollout/logprob_gap_max_nats",
        "rollout/logprob_gap_mean_nats",
    }  # two passes measure the dropped group
    assert {"loss/rl", "loss/offline", "red/weight", "update/grad_norm"} <= shared
    same(
        *(
            update._replace(metrics={key: update.metrics[key] for key in shared})
            for update in (one, two)
        )
    )


@pytest.mark.parametrize("layout", ["dp2", "ep2", "ep2_tp2"])
def test_a_mixture_of_experts_goes_on_bit_by_bit(layouts, layout):
    found = layouts[layout]["experts_continuation"]
    assert found[layout].metrics == found["uninterrupted"].metrics
    for name, tensor in found["uninterrupted"].weights.items():
        np.testing.assert_array_equal(found[layout].weights[name], tensor, err_msg=name)


@pytest.mark.parametrize(
    ("layout", "source"), [("ep2", "dp2"), ("tp2_pp2", "ep2"), ("ep2_tp2", "ep2")]
)
def test_a_mixture_of_experts_goes_on_under_another_expert_parallel(layouts, layout, source):
    same(
        layouts[layout]["experts_continuation"][source],
        layouts[source]["experts_continuation"]["uninterrupted"],
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_the_comparison_means_something(layouts, name):
    """Every tensor has a gradient."""
    metrics, _, gradients = layouts["one"]["families"][name]["update"]
    assert min(np.abs(gradient).max() for gradient in gradients.values()) > 1e-4
    assert metrics["update/grad_norm"] > 1, "clipping takes part"
