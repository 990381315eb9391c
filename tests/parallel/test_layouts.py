"""The same samples give the same scores, losses,
gradients and weights under every layout and any micro-batches."""

import numpy as np
import pytest
from conftest import LAYOUTS
from layout_samples import (
    COUNTS,
    GRID,
    Update,
    apart,
    budget,
    config,
    groups_of,
    kept_of,
    make_groups,
    tied_of,
)

from red_mcore.megatron.packing import bins, deal

PARTIAL = ("one", "dp4", "dp8", "pp4_virtual2", "pp4_virtual2_dp2")
"""What the others are compared with, and layouts that are tried in a few ways only."""
SPLIT = [
    name for names in LAYOUTS.values() for name in names if name not in PARTIAL and name[:2] != "ep"
]
PAIRS = [name for name in LAYOUTS[2] if name in SPLIT]
SET = [*PAIRS, "tp2_pp2"]
"""Where data types, places and limits are tried."""
TOLERANCE = 1e-5
UPDATES = [
    *((kind, tied, 2) for kind in GRID for tied in tied_of(kind)),
    *(("red", tied, count) for tied in (True, False) for count in (1, 4)),
    ("grpo of one group", False, 1),
    ("sft of one group", False, 1),
]
EVERYWHERE = [(name, False, 2) for name in ("REDCoDA", "ReLIFT")]
"""Other updates, of which ranks meet in the middle, or which two optimizers make."""
OTHERS = [*EVERYWHERE, *((name, False, 2) for name in ("SFTGRPO", "HPT", "CHORD", "DFT"))]
"""They, and those that are tried where there is one split."""


def same(found: Update, expected: Update) -> None:
    """Metrics relative, weights absolute, gradients relative to the largest entry of their
    tensor."""
    assert found.metrics == pytest.approx(expected.metrics, rel=TOLERANCE, abs=TOLERANCE / 10)
    assert (
        found.weights.keys()
        == found.gradients.keys()
        == expected.weights.keys()
        == expected.gradients.keys()
    )
    for name, tensor in expected.weights.items():
        np.testing.assert_allclose(
            found.weights[name], tensor, rtol=0, atol=TOLERANCE, err_msg=name
        )
    for name, tensor in expected.gradients.items():
        atol = TOLERANCE * np.abs(tensor).max()
        np.testing.assert_allclose(
            found.gradients[name], tensor, rtol=0, atol=atol, err_msg=f"gradient of {name}"
        )


def left(findings: dict, update: tuple) -> Update:
    return findings["updates" if update in OTHERS else "grid"][update]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("layout", SPLIT)
def test_scores(layouts, layout, tied):
    found, expected = (layouts[name]["scores"][tied] for name in (layout, "one"))
    assert found["metrics"] == pytest.approx(expected["metrics"], abs=TOLERANCE)
    assert found["entropy"] == pytest.approx(expected["entropy"], abs=TOLERANCE)
    for a, b in zip(found["old_logp"], expected["old_logp"], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2 * TOLERANCE)


@pytest.mark.parametrize(
    ("layout", "update"),
    [
        (layout, update)
        for layout in SPLIT
        for update in UPDATES + (OTHERS if layout in PAIRS else EVERYWHERE)
    ],
    ids=str,
)
def test_updates(layouts, layout, update):
    same(left(layouts[layout], update), left(layouts["one"], update))


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("update", ["first", "second", "resumed"])
def test_interleaved_pipeline(layouts, update, count):
    """Two chunks of layers on each of four stages;
    ``resumed``: the second update, from a checkpoint of the first."""
    found, expected = (layouts[name]["deep"] for name in ("pp4_virtual2", "one"))
    same(found[update, count], expected[update.replace("resumed", "second"), count])
    for a, b in zip(found["scores", count], expected["scores", count], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2 * TOLERANCE)
    moved = found["second", count].weights
    assert (
        min(
            np.abs(moved[name] - weight).max()
            for name, weight in found["first", count].weights.items()
        )
        > 1e-4
    )


@pytest.mark.parametrize("recompute", ["selective", "full"])
@pytest.mark.parametrize("layout", ["one", *PAIRS])
def test_recompute_changes_nothing(layouts, layout, recompute):
    """Not a bit; attention runs twice, and the norms
    of the layers only where these are computed again as a whole."""
    found = layouts[layout]["recompute"]
    (update, attention, norms), (expected, once, norms_once) = found[recompute], found["none"]
    assert update.metrics == expected.metrics
    for name, gradient in expected.gradients.items():
        np.testing.assert_array_equal(update.gradients[name], gradient, err_msg=name)
    assert attention == 2 * once > 0
    assert (norms > norms_once) == (recompute == "full")


def test_padding_is_measured(layouts):
    """Nothing pads on one rank; context parallel fills each sequence up to a multiple of four."""
    tokens = [s.tokens for g in kept_of("red") for s in g.samples]
    found = {name: layouts[name]["updates"]["packing", 4] for name in ("one", "dp2", "cp2", "pp2")}
    assert found["one"] == {"fill_fraction": 1.0, "imbalance": 1.0}
    assert found["cp2"]["fill_fraction"] == pytest.approx(
        sum(tokens) / sum(-(-n // 4) * 4 for n in tokens)
    )
    assert found["pp2"]["fill_fraction"] < 1
    assert found["cp2"]["imbalance"] == 1 < found["dp2"]["imbalance"] < 2


@pytest.mark.parametrize("layout", SET)
def test_bfloat16(layouts, layout):
    """To a hundredth, with weights as models usually start with;
    with larger ones rounding weighs more."""
    one = layouts["one"]["settings"]
    expected, exact = one["bfloat16"], one["float32"]
    found = layouts[layout]["settings"]["bfloat16"]
    assert found.metrics == pytest.approx(expected.metrics, rel=0.01, abs=0.01)
    assert apart(found.weights, expected.weights) < 0.01
    assert apart(found.gradients, expected.gradients) < 0.01
    assert apart(expected.gradients, exact.gradients) > 0.003, "rounding takes part"


@pytest.mark.parametrize("layout", ["one", *SET])
def test_offload_changes_nothing(layouts, layout):
    """And the state of both optimizers is elsewhere outside a step."""
    state, moved = layouts[layout]["settings"]["moved"]
    assert moved == state > 0
    found, expected = (layouts[layout]["settings"][name] for name in ("offloaded", "bfloat16"))
    assert found.metrics == expected.metrics
    for name, weight in expected.weights.items():
        np.testing.assert_array_equal(found.weights[name], weight, err_msg=name)


@pytest.mark.parametrize("layout", ["one", *SET])
def test_a_steep_step_is_left_out_on_all_ranks(layouts, layout):
    """Weights, moments and schedule stand still; below the limit nothing is different."""
    updates, start = layouts[layout]["settings"], layouts[layout]["grid"]["start", False]
    (skipped, skipped_steps), (done, done_steps) = (
        updates["skip_grad", limit] for limit in (1e-3, 1e3)
    )
    assert (skipped.metrics["update/skipped"], done.metrics["update/skipped"]) == (1, 0)
    assert (skipped_steps, done_steps) == (0, 1)
    assert (
        1e-3
        < skipped.metrics["update/grad_norm"]
        == pytest.approx(done.metrics["update/grad_norm"])
    )
    assert skipped.metrics["update/change_norm"] == 0 < done.metrics["update/change_norm"]
    for name, weight in start.items():
        np.testing.assert_array_equal(skipped.weights[name], weight, err_msg=name)
    same(done, layouts["one"]["settings"]["skip_grad", 1e3][0])


@pytest.mark.parametrize("count", [*COUNTS[1:], "unpacked"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", GRID)
def test_micro_batches(layouts, kind, tied, count):
    """``unpacked``: every sequence in a micro-batch of its own."""
    grid = layouts["one"]["grid"]
    same(grid[kind, tied, count], grid[kind, tied, 1])


@pytest.mark.parametrize("count", [1, 4, "apart"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("layout", ["one", *SPLIT])
def test_one_pass_equals_two(layouts, layout, tied, count):
    """Weights of traces that depend on rollouts not yet seen when the pass starts;
    ``apart``: and on a later trace."""
    found = layouts[layout]["updates"]["red in one pass", tied, count]
    expected = layouts[layout]["grid"]["red", tied, 1 if count == "apart" else count]
    shared = found.metrics.keys() & expected.metrics.keys()
    shared -= {"rollout/logprob_gap_max_nats", "rollout/logprob_gap_mean_nats"}
    assert {
        "loss/rl",
        "loss/offline",
        "red/weight",
        "update/grad_norm",
        "entropy/rollout_nats",
    } <= shared
    same(
        *(
            update._replace(metrics={name: update.metrics[name] for name in shared})
            for update in (found, expected)
        )
    )
    # The dropped group is not part of the update;
    # only two-pass scoring compares its rollouts with the engine.
    mean = "rollout/logprob_gap_mean_nats"
    assert 0 < found.metrics[mean] < 2 * expected.metrics[mean]


def test_the_comparison_means_something(layouts):
    """Updates move weights far beyond the tolerance; every tensor has a gradient;
    all parts of the loss take part."""
    for update in UPDATES + OTHERS:
        metrics, weights, gradients = left(layouts["one"], update)
        start = layouts["one"]["grid"]["start", update[1]]
        moved = [np.abs(weights[name] - start[name]).max() for name in start]
        assert max(moved) > 100 * TOLERANCE, update
        change = [weights[name] - start[name] for name in start]
        for norm, tensors in (("weight", weights.values()), ("change", change)):
            expected = np.sqrt(sum(np.square(x, dtype=np.float64).sum() for x in tensors))
            if update[0] != "ReLIFT":  # whose weights are those after the lesson
                assert metrics[f"update/{norm}_norm"] == pytest.approx(expected, rel=1e-5), update
        assert min(np.abs(gradient).max() for gradient in gradients.values()) > 0, update
        assert metrics["update/skipped"] == 0
        if update in OTHERS:
            continue
        assert min(moved) > 50 * TOLERANCE, update
        assert metrics["update/grad_norm"] > 1, "clipping takes part"
        parts = [abs(value) for name, value in metrics.items() if name.startswith("loss/")]
        assert min(parts) > 20 * TOLERANCE, update
        if update[0] == "red":
            assert 1 < metrics["red/weight"] < 7


@pytest.mark.parametrize("kind", GRID)
def test_a_component_is_absent_from_some_micro_batch(kind):
    """Among four on one rank; those that have one component only,
    on a second rank without a sample."""
    algorithm, kept = GRID[kind], kept_of(kind)
    samples = [s for g in kept for s in g.samples]
    batches = [
        {name for s in members for name in algorithm.components(s)}
        for members in bins(samples, budget(kind, 4))
    ]
    assert len(batches) == 4
    if kind in ("grpo", "sft", "gspo"):
        hands = deal(groups_of(kind)[4:], 2, config(True)["hidden_size"])
        assert [len(hand) for hand in hands] == [4, 0]
    else:
        assert set.intersection(*batches) < set.union(*batches)


def test_what_the_samples_were_made_for():
    samples = [s for g in kept_of("red") for s in g.samples]
    assert len(samples) == 4 * (len(make_groups()) - 1)
    assert min(len(s.response) for s in samples) == 1
    assert config(True)["vocab_size"] % 2 == 1


def test_dropping_a_group_moves_another_to_another_rank():
    """Else it would go unseen if a sample's old log-probs stayed on the rank that scored it."""

    def owner(groups) -> dict[int, int]:
        hands = deal(groups, 2, config(True)["hidden_size"])
        return {
            int(s.prompt[0]) * 1000 + len(s.prompt): rank
            for rank, hand in enumerate(hands)
            for s in hand
        }

    scoring, update = owner(make_groups()), owner(kept_of("red"))
    assert any(scoring[prompt] != rank for prompt, rank in update.items())


@pytest.mark.parametrize("layout", ["dp2", "cp2"])
def test_loss_scale_is_undone_exactly(layouts, layout):
    """Token-loss sums [[-3, 1.2], [.6, -.8]] of 2 ranks x 2 micro-batches over 3000 x 8: -2 /
    24000."""
    assert layouts[layout]["loss_scale"] == pytest.approx(-8.3333333333e-05, rel=1e-9)


def test_an_error_of_one_rank_is_one_of_all(layouts):
    """The rank that fails says why, the other leaves quietly;
    a limit that one sees passed stops both."""
    found = layouts["dp2"]["errors_of_one_rank"]
    assert found["writing"] == ["SystemExit: 3", "OSError: disk full"]
    assert found["input"] == ["SystemExit: 2", "RecipeError: mend it"]
    assert found["grading"] == ["SystemExit: 3", "RuntimeError: no verifier here"]
    gap = "RuntimeError: trainer and engine differ by {} nats at policy version 0"
    assert [how.partition(",")[0] for how in found["gap"]] == [
        gap.format("5.00e-02"),
        gap.format("2.00e-01"),
    ]
    assert [how.partition(":")[0] for how in found["gradient"]] == ["FloatingPointError"] * 2
