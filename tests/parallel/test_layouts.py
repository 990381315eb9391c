"""The same samples give the same scores, losses, gradients and weights under every layout and any micro-batches."""

import numpy as np
import pytest
from layout_samples import BUDGETS, config, make_groups

from red_mcore.algorithms.red import RED
from red_mcore.megatron.packing import bins, deal

SPLIT = ["dp2", "tp2", "tp2_sequence", "pp2", "tp2_dp2", "tp2_pp2", "pp2_dp2"]
TOLERANCE = 1e-5
UPDATES = [*(("red", tied, n) for tied in (True, False) for n in BUDGETS), ("grpo", True, 4), ("grpo", False, 4)]
UPDATES.append(("sft of one group", False, 1))
OTHERS = [(name, False, 4) for name in ("LUFFY", "SRFT", "SFTGRPO", "HPT", "CHORD", "REDCoDA", "DFT")]


def kept_groups():
    return RED().compose(make_groups())[0]


def same(found: tuple[dict, dict], expected: tuple[dict, dict]) -> None:
    """Metrics relative, weights absolute."""
    metrics, weights = expected
    assert found[0] == pytest.approx(metrics, rel=TOLERANCE, abs=TOLERANCE)
    assert found[1].keys() == weights.keys()
    for name, tensor in weights.items():
        np.testing.assert_allclose(found[1][name], tensor, rtol=0, atol=TOLERANCE, err_msg=name)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("layout", SPLIT)
def test_scores(layouts, layout, tied):
    found, expected = (layouts[name]["scores"][tied] for name in (layout, "one"))
    assert found["metrics"] == pytest.approx(expected["metrics"], abs=TOLERANCE)
    assert found["entropy"] == pytest.approx(expected["entropy"], abs=TOLERANCE)
    for a, b in zip(found["old_logp"], expected["old_logp"], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2 * TOLERANCE)


@pytest.mark.parametrize("update", UPDATES + OTHERS, ids=str)
@pytest.mark.parametrize("layout", SPLIT)
def test_updates(layouts, layout, update):
    same(layouts[layout]["updates"][update], layouts["one"]["updates"][update])


@pytest.mark.parametrize("count", [n for n in BUDGETS if n > 1])
@pytest.mark.parametrize("tied", [True, False])
def test_micro_batches(layouts, tied, count):
    updates = layouts["one"]["updates"]
    same(updates["red", tied, count], updates["red", tied, 1])


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("layout", ["one", *SPLIT])
def test_one_pass_equals_two(layouts, layout, tied, count):
    """Weights of traces that depend on rollouts not yet seen when the pass starts."""
    updates = layouts[layout]["updates"]
    metrics, weights = updates["red in one pass", tied, count]
    expected, expected_weights = updates["red", tied, count]
    shared = metrics.keys() & expected.keys() - {"rollout/logprob_gap_max_nats", "rollout/logprob_gap_mean_nats"}
    assert {"loss/rl", "loss/offline", "red/weight", "update/grad_norm", "entropy/rollout_nats"} <= shared
    same(
        ({k: metrics[k] for k in shared}, weights),
        ({k: expected[k] for k in shared}, expected_weights),
    )
    # The dropped group is not part of the update; only two-pass scoring compares its rollouts with the engine.
    assert 0 < metrics["rollout/logprob_gap_mean_nats"] < 2 * expected["rollout/logprob_gap_mean_nats"]


def test_the_comparison_means_something(layouts):
    """The update moves weights far beyond the tolerance, and all parts of the loss take part."""
    for update in UPDATES + OTHERS:
        metrics, weights = layouts["one"]["updates"][update]
        start = layouts["one"]["updates"]["start", update[1]]
        moved = [np.abs(weights[name] - start[name]).max() for name in start]
        assert max(moved) > 100 * TOLERANCE, update
        if update in OTHERS:
            continue
        assert min(moved) > 100 * TOLERANCE, update
        assert metrics["update/grad_norm"] > 1, "clipping takes part"
        assert metrics["update/skipped"] == 0
        if update[0] == "red":
            assert 1 < metrics["red/weight"] < 7
            assert min(abs(metrics["loss/rl"]), abs(metrics["loss/offline"])) > 100 * TOLERANCE


def test_what_the_samples_were_made_for():
    kept = kept_groups()
    samples = [s for g in kept for s in g.samples]
    assert len(kept) == len(make_groups()) - 1
    plans = {count: bins(samples, budget) for count, budget in BUDGETS.items()}
    assert {count: len(plan) for count, plan in plans.items()} == {n: n for n in BUDGETS}
    with_trace = [any(samples[i].is_offline for i in members) for members in plans[4]]
    assert True in with_trace
    assert False in with_trace  # no token of the offline component there
    assert min(len(s.response) for s in samples) == 1
    assert config(True)["vocab_size"] % 2 == 1


def test_dropping_a_group_moves_another_to_another_rank():
    """Else it would go unseen if a sample's old log-probs stayed on the rank that scored it."""

    def owner(groups) -> dict[int, int]:
        hands = deal(groups, 2, config(True)["hidden_size"])
        return {int(s.prompt[0]) * 1000 + len(s.prompt): rank for rank, hand in enumerate(hands) for s in hand}

    scoring, update = owner(make_groups()), owner(kept_groups())
    assert any(scoring[prompt] != rank for prompt, rank in update.items())


def test_loss_scale_is_undone_exactly(layouts):
    """Token-loss sums [[-3, 1.2], [.6, -.8]] of 2 ranks x 2 micro-batches over 3000 x 8: -2 / 24000."""
    assert layouts["dp2"]["loss_scale"] == pytest.approx(-8.3333333333e-05, rel=1e-9)
