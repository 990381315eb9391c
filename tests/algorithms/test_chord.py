import pytest
from one_step import DEMO, group, one_step, rolled, seen, trace

from red_mcore.algorithms.chord import CHORD, chord_phi

EXAMPLE = {"warmup_steps": 200, "decay_steps": 400, "peak": 0.5, "valley": 0.02}


@pytest.mark.parametrize(
    ("step", "mu"), [(100, 0.25), (200, 0.5), (300, 0.42970563), (400, 0.26), (600, 0.02)]
)
def test_schedule(step, mu):
    outcome = one_step(CHORD(**EXAMPLE), [group(trace(), *rolled(1, 0))], step=step)
    assert outcome.metrics["chord/mu"] == pytest.approx(mu, abs=1e-6)
    assert [s.weight for s in outcome.kept[0].samples] == pytest.approx(
        [mu, 1 - mu, 1 - mu], abs=1e-6
    )


def test_defaults_start_at_the_peak_and_fall_with_every_step():
    assert CHORD().compose([], {}, 0)[1]["chord/mu"] == 0.9
    assert CHORD().compose([], {}, 1)[1]["chord/mu"] < 0.9
    assert CHORD().mu(10**6) == 0.05


def test_total():
    """mu = .26 and a GRPO loss of -.1: advantages of .1 and -.1,
    ratios of 2 and 1, summed (N = 1)."""
    rollouts = [seen([0.8], 1, old=[0.4]), seen([0.5], 0)]
    rollouts[0].reward = 0.2
    algorithm = CHORD(**EXAMPLE, phi=True, std_normalise=False, clip_low=None, clip_high=None)
    outcome = one_step(algorithm, [group(trace(), *rollouts)], step=400, sequences=1)
    assert outcome.losses["rl"] == pytest.approx((1 - 0.26) * -0.1, abs=1e-6)
    assert outcome.losses["sft"] == pytest.approx(0.26 * 0.07612014, abs=1e-6)
    assert outcome.total == pytest.approx(-0.05420876, abs=1e-6)


def test_phi():
    outcome = one_step(chord_phi(), [group(trace(), *rolled(0, 0))])
    assert outcome.metrics["chord/mu"] == 0.1
    assert outcome.losses == {"sft": pytest.approx(0.1 * 0.07612014, abs=1e-6)}
    assert outcome.gradients[0] == pytest.approx(
        [-0.1 * phi / 3 for phi in (0.09, 0.25, 0.0099)], abs=1e-6
    )
    assert [p * (1 - p) for p in DEMO] == pytest.approx([0.09, 0.25, 0.0099])
