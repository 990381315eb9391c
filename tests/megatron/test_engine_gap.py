"""The difference to the engine: no maximum on its way may pass over what is no number."""

import math

import numpy as np
import pytest

from red_mcore.megatron.engine_gap import Gap, differences, engine_gap

GOOD = np.array([-1.0, -2.0, -3.0], np.float32)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize("side", ["trainer", "engine"])
def test_a_gap_with_a_number_that_is_none_is_infinite(side, value, place):
    bad = GOOD.copy()
    bad[place] = value
    gap = differences(bad, GOOD) if side == "trainer" else differences(GOOD, bad)
    assert gap.max() == math.inf
    assert np.isfinite(gap).sum() == 2
    rows = [
        Gap(float(g.max()), float(g.sum()), g.size)
        for g in (differences(GOOD, GOOD), gap, differences(GOOD, GOOD))
    ]
    assert engine_gap(rows)["rollout/logprob_gap_max_nats"] == math.inf


def test_both_sides_infinite_do_not_agree():
    assert differences(np.array([-np.inf]), np.array([-np.inf])).tolist() == [math.inf]
