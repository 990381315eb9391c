"""Where one algorithm becomes another, in value and gradient; and what each makes of unusual groups."""

import pytest
from one_step import Seen, group, one_step, rolled, seen, trace

from red_mcore.algorithms.chord import CHORD
from red_mcore.algorithms.dft import DFT
from red_mcore.algorithms.grpo import GRPO, dr_grpo
from red_mcore.algorithms.hpt import HPT
from red_mcore.algorithms.luffy import LUFFY
from red_mcore.algorithms.red import RED
from red_mcore.algorithms.red_coda import REDCoDA
from red_mcore.algorithms.sft_grpo import SFTGRPO
from red_mcore.algorithms.srft import SRFT

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
    near(red.gradients[0], [-0.75 / 4 * 3 * g for g in dft.gradients[0]])  # N = 4; DFT's mean is over 3 tokens


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
        return [seen([0.5, 0.4], 1, old=[0.45, 0.42]), seen([0.6], 0, old=[0.65]), seen([0.3, 0.9], 0)]

    unsolved, solved = group(trace(), *rolled(0, 0, 0)), group(trace(), *rollouts())
    hpt = one_step(HPT(sft_weight=0, entropy_coefficient=0, constant=8), [solved, unsolved])
    dr = one_step(dr_grpo(8), [group(*rollouts()), group(*rolled(0, 0, 0))])
    assert hpt.losses == {"rl": pytest.approx(dr.losses["rl"]), "sft": 0}
    for found, expected in zip(hpt.gradients[1:4], dr.gradients[:3], strict=True):
        near(found, expected)


GROUPS = {
    "all wrong": lambda: group(trace(), *rolled(0, 0, 0)),
    "all right": lambda: group(trace(), *rolled(1, 1, 1)),
    "wrong trace": lambda: group(trace(0), *rolled(1, 0, 1)),
    "all wrong, trace too": lambda: group(trace(0), *rolled(0, 0, 0)),
    "no trace": lambda: group(*rolled(1, 0, 0)),
    "no trace, all wrong": lambda: group(*rolled(0, 0, 0)),
}
# What the first token of the trace gets and whether rollouts learn: + more probable, - less, 0 unchanged, . no trace.
OUTCOMES = [
    (RED(), "+y 00 -y 00 .y .0"),
    (LUFFY(entropy_coefficient=0), "+y 00 -y 00 .y .0"),
    (SRFT(), "+y +y +y +y .y .y"),
    (SFTGRPO(), "+0 +0 +y +0 .y .0"),
    (CHORD(), "+0 +0 +y +0 .y .0"),
    (REDCoDA(), "+0 +0 +y +0 .y .0"),
    (HPT(entropy_coefficient=0), "+0 00 0y +0 .y .0"),
    (DFT(), "+0 +0 +0 +0 .0 .0"),
    (GRPO(), ".. .. .. .. .y .0"),
]


@pytest.mark.parametrize(("algorithm", "expected"), OUTCOMES, ids=lambda x: type(x).__name__)
def test_unusual_groups(algorithm, expected):
    """Values and gradients are finite (``one_step`` sees to that), alone and in a batch with another group."""
    for make, (on_trace, on_rollouts) in zip(GROUPS.values(), expected.split(), strict=True):
        if on_rollouts == ".":
            continue
        for others in ([], [GROUPS["wrong trace"]()] if algorithm.traces else [GROUPS["no trace"]()]):
            checked = make()
            gradients = one_step(algorithm, [checked, *others]).gradients[: len(checked.samples)]
            if checked.samples[0].is_offline:
                slope = gradients.pop(0)[0]
                assert (slope < 0) - (slope > 0) == {"+": 1, "0": 0, "-": -1}[on_trace]
            assert any(g[0] for g in gradients) == (on_rollouts == "y")
