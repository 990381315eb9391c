"""Estimates of memory against what ranks allocate."""

import pytest
from layout_memory import ARMS

TOLERANCE = {"weights": 0.01, "gradients": 0.03, "optimizer": 0.03, "work": 0.15}
"""Buffers are padded; attention's padding depends on the lengths that come."""
CASES = [(layout, *arm) for layout, arms in ARMS.items() for arm in arms]


@pytest.mark.parametrize(("layout", "dtype", "recompute"), CASES)
def test_every_line(layouts, layout, dtype, recompute):
    estimate, measured = layouts[layout]["memory"][dtype, recompute]
    expected = {name: getattr(estimate, name) for name in ("weights", "gradients", "optimizer")}
    expected["work"] = estimate.activations + max(estimate.recomputed, estimate.logits)
    for name, size in measured.items():
        assert expected[name] == pytest.approx(size, rel=TOLERANCE[name]), name
    assert sum(expected.values()) == pytest.approx(sum(measured.values()), rel=0.15)


def test_recomputing_saves(layouts):
    found = layouts["one"]["memory"]
    none, full = (found["float32", recompute][1]["work"] for recompute in ("none", "full"))
    assert full < 0.5 * none
