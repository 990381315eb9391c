"""Where one algorithm becomes another, in value and gradient."""

import pytest
from one_step import Seen, group, one_step, rolled, seen, trace

from red_mcore.algorithms.chord import CHORD
from red_mcore.algorithms.dft import DFT
from red_mcore.algorithms.grpo import GRPO, dr_grpo
from red_mcore.algorithms.hpt import HPT
from red_mcore.algorithms.luffy import LUFFY
from red_mcore.algorithms.red import RED
from red_mcore.algorithms.sft_grpo import SFTGRPO

LUFFY_LIKE = {"std_normalise": False, "constant": 1.0}


def near(found: list[float], expected: list[float]) -> None:
    assert found == pytest.approx(expected, abs=1e-12)


def test_red_at_beta_one_is_luffy_without_shaping_is_dft_times_the_advantage():
    """Right rollouts and a wrong trace: accuracy of the rollouts 1, A = -3/4."""
    groups = [group(trace(0), *rolled(1, 1, 1))]
    red = one_step(RED(beta="rollouts", **LUFFY_LIKE), groups)
    luffy = one_step(LUFFY(gamma=None, entropy_coefficient=0, **LUFFY_LIKE), groups)
    dft = one_step(DFT(), groups)
    assert [g[0] for g in red.gradients[1:]] == pytest.approx([-0.25 / 4] * 3)
    assert red.losses == pytest.approx(luffy.losses)
    for found, expected in zip(red.gradients, luffy.gradients, strict=True):
        near(found, expected)
    near(
        red.gradients[0], [-0.75 / 4 * 3 * g for g in dft.gradients[0]]
    )  # N = 4; DFT's mean is over 3 tokens


def test_differentiated_red_at_beta_1_11_is_luffy_times_1_1():
    groups = [group(trace(), *rolled(*[0] * 10))]
    red = one_step(RED(shift="autograd", **LUFFY_LIKE), groups)
    luffy = one_step(LUFFY(gamma=0.1, entropy_coefficient=0, **LUFFY_LIKE), groups)
    assert groups[0].samples[0].beta == 1 / 11
    assert red.losses["offline"] == pytest.approx(1.1 * luffy.losses["offline"])
    assert red.losses["rl"] == luffy.losses["rl"]
    near(red.gradients[0], [1.1 * g for g in luffy.gradients[0]])


def test_red_at_beta_zero_is_imitation_times_the_advantage():
    groups = [group(trace(), *rolled(0, 0, 0))]
    red = one_step(RED(beta="rollouts", **LUFFY_LIKE), groups)
    sft = one_step(SFTGRPO(), groups)
    near(red.gradients[0], [0.75 / 4 * 3 * g for g in sft.gradients[0]])


def off_policy() -> list[Seen]:
    """Ratios inside and outside the clipping range."""
    return [seen([0.5, 0.4], 1, old=[0.45, 0.2]), seen([0.6], 0, old=[0.65]), seen([0.3, 0.9], 0)]


def test_chord_without_imitation_is_grpo():
    with_trace, rollouts = group(trace(), *off_policy()), group(*off_policy())
    chord = one_step(CHORD(peak=0, valley=0), [with_trace])
    grpo = one_step(GRPO(), [rollouts])
    assert chord.losses == {"sft": 0, "rl": pytest.approx(grpo.losses["rl"])}
    near(chord.gradients[0], [0, 0, 0])
    for found, expected in zip(chord.gradients[1:], grpo.gradients, strict=True):
        near(found, expected)


def test_hpt_without_imitation_is_dr_grpo_within_the_clip():
    def rollouts():
        return [
            seen([0.5, 0.4], 1, old=[0.45, 0.42]),
            seen([0.6], 0, old=[0.65]),
            seen([0.3, 0.9], 0),
        ]

    unsolved, solved = group(trace(), *rolled(0, 0, 0)), group(trace(), *rollouts())
    hpt = one_step(HPT(sft_weight=0, entropy_coefficient=0, constant=8), [solved, unsolved])
    dr = one_step(dr_grpo(8), [group(*rollouts()), group(*rolled(0, 0, 0))])
    assert hpt.losses == {"rl": pytest.approx(dr.losses["rl"]), "sft": 0}
    for found, expected in zip(hpt.gradients[1:4], dr.gradients[:3], strict=True):
        near(found, expected)
