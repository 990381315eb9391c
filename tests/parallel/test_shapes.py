"""A step of every algorithm ends, with the numbers of one rank,
whatever share of its groups a rank has."""

import numpy as np
import pytest
from conftest import LAYOUTS
from layout_samples import SMALL
from shape_samples import ALGORITHMS, SHAPES, TOKENS, make

from red_mcore.megatron.packing import arrange, deal

ALONE = ("dp2", "dp4", "dp8")
"""Where all algorithms are tried."""
BESIDE = (
    "tp2_dp2",
    "pp2_dp2",
    "dp2_cp2",
    "pp4_virtual2_dp2",
    "ep2",
    "ep2_dp4",
    "ep2_tp2",
    "ep2_pp2",
)
"""Data parallel beside something else, where the telling ones are."""
TOLERANCE = 1e-5


def same(found, expected) -> None:
    """Steps; metrics and what samples weigh relative, all else absolute."""
    assert found.metrics == pytest.approx(expected.metrics, rel=TOLERANCE, abs=TOLERANCE / 10)
    assert np.array(found.samples) == pytest.approx(
        np.array(expected.samples), rel=TOLERANCE, abs=TOLERANCE
    )
    assert found.version == expected.version
    assert numbers(found.state) == pytest.approx(numbers(expected.state), abs=TOLERANCE)
    for name, tensor in expected.weights.items():
        np.testing.assert_allclose(
            found.weights[name], tensor, rtol=0, atol=TOLERANCE, err_msg=name
        )


def numbers(value) -> list[float]:
    """All numbers of a JSON-able value, in order."""
    if isinstance(value, dict):
        value = list(value.values())
    return (
        [x for part in value for x in numbers(part)] if isinstance(value, list) else [float(value)]
    )


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("layout", ALONE)
def test_steps(layouts, layout, name):
    found, expected = (layouts[which]["shapes"]["steps"] for which in (layout, "one"))
    shapes = [shape for model, algorithm, shape in found if algorithm == name]
    assert shapes == (["one group"] if layout == "dp8" else list(SHAPES))
    for shape in shapes:
        same(found["small", name, shape], expected["small", name, shape])


@pytest.mark.parametrize("layout", BESIDE)
def test_steps_beside_other_ways_to_split(layouts, layout):
    found, expected = (layouts[which]["shapes"]["steps"] for which in (layout, "one"))
    assert len(found) == 12
    for case, step in found.items():
        same(step, expected[case])


@pytest.mark.parametrize("layout", ALONE + BESIDE)
def test_all_ranks_know_the_same(layouts, layout):
    """To the bit: what they decide from it decides which collective comes next."""
    first, *others = layouts[layout]["shapes"]["known"]
    assert others
    for other in others:
        assert other == first


def test_every_data_parallel_layout_takes_part():
    split = {
        name
        for names in LAYOUTS.values()
        for name in names
        if "dp" in name or name.startswith("ep")
    }
    assert split == {*ALONE, *BESIDE}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_comparison_means_something(layouts, name):
    """Steps move the weights far beyond the tolerance where there is something to learn,
    and not at all elsewhere."""
    steps = layouts["one"]["shapes"]["steps"]
    first = steps["small", "GRPO", "nothing to learn"].weights
    for shape in SHAPES:
        step = steps["small", name, shape]
        moved = max(np.abs(step.weights[key] - weight).max() for key, weight in first.items())
        assert moved > 50 * TOLERANCE if step.version else moved == 0, shape
    assert steps["small", name, "mixed"].version
    if name.startswith("RED"):
        for shape in ("mixed", "one trace", "one group", "hopeless but for traces"):
            assert 1 < steps["small", name, shape].metrics["red/weight"] < 5, shape
    if name in ("ReLIFT", "fading RED"):
        assert steps["small", name, "hopeless but for traces"].metrics["lesson/updates"]


def hands(name: str, shape: str, ranks: int) -> list[str]:
    """Of each rank, ``t`` for a trace and ``r`` for a rollout that the algorithm trains on."""
    kept, _ = ALGORITHMS[name].compose(make(SHAPES[shape].groups), {}, 0)
    return ["".join("rt"[s.is_offline] for s in hand) for hand in deal(kept, ranks, SMALL)]


def test_what_the_shapes_were_made_for():
    assert hands("RED", "one group", 2) == ["trrr", ""]
    assert sorted(hands("RED", "one trace", 2), key=lambda hand: "t" in hand)[0].count("r") >= 4, (
        "no trace"
    )
    assert "" in hands("RED", "no trace", 4)
    assert hands("RED", "nothing to learn", 2) == ["", ""]
    assert set("".join(hands("RED-CoDA", "hopeless but for traces", 2))) == {"t"}
    for ranks in (1, 2):
        kept, _ = ALGORITHMS["RED"].compose(make(SHAPES["hopeless but for traces"].groups), {}, 0)
        assert arrange(deal(kept, ranks, SMALL), TOKENS, offline_last=True).late
