import pytest
import torch
from loss_inputs import loss_inputs
from one_step import DEMO, group, one_step, rolled, seen, trace

from red_mcore.algorithms.luffy import LUFFY

SHAPED = [-0.07875, -0.12152778, -0.07231405]
PLAIN = [-0.7875, -0.4375, -0.00875]


@pytest.mark.parametrize(("gamma", "gradient"), [(0.1, SHAPED), (None, PLAIN)])
def test_only_the_trace_is_right(gamma, gradient):
    outcome = one_step(LUFFY(gamma=gamma), [group(trace(), *rolled(*[0] * 7))], sequences=1)
    assert [s.advantage for s in outcome.kept[0].samples] == [0.875] + [-0.125] * 7
    assert torch.tensor(outcome.gradients[0]) * 8192 == pytest.approx(
        torch.tensor(gradient), abs=1e-6
    )
    if gamma:
        assert outcome.losses["offline"] == pytest.approx(-0.00019485, abs=1e-8)


def test_token_losses():
    p = torch.tensor(DEMO, dtype=torch.float64)
    given = loss_inputs(p.log(), old_logp=p.log(), advantage=0.875, entropy=p)
    found = LUFFY().token_losses(given, {}, 0)["offline"]
    assert found.tolist() == pytest.approx([-0.7875, -0.72916667, -0.07954545], abs=1e-6)


def test_rollouts_are_not_clipped():
    samples = [seen([0.9], 1, old=[0.3]), seen([0.5], 0)]
    outcome = one_step(LUFFY(constant=1, entropy_coefficient=0), [group(*samples)])
    assert outcome.gradients == [[pytest.approx(-3 * 0.5 / 2)], [pytest.approx(0.5 / 2)]]


def test_entropy_bonus_is_the_mean_over_all_trained_tokens():
    groups = [
        group(trace(entropies=[0.3, 0.7, 2.0]), *rolled(1, 1)),
        group(*rolled(0, 0)),
    ]  # no advantages at all
    outcome = one_step(LUFFY(), groups)
    assert outcome.kept == groups
    assert outcome.losses["entropy"] == pytest.approx(-0.001 * (3 + 8 * 1.0) / 11)
    assert outcome.total == pytest.approx(outcome.losses["entropy"])
    kept, metrics = LUFFY(entropy_coefficient=0).compose(groups, {}, 0)
    assert (kept, metrics["groups/dropped"]) == ([], 2)
