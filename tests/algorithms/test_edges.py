"""What every algorithm makes of unusual groups, in a table; and that nothing there gives a NaN.

An empty trace and one that is longer than ``rollout.max_response_tokens`` never become samples:
such a group is one without trace, the lower table. GRPO and what is built on it without traces in
the group has no other groups at all.
"""

import pytest
import torch
from loss_inputs import loss_inputs
from one_step import Seen, group, one_step, seen, trace

from red_mcore.algorithms.base import has_weights
from red_mcore.algorithms.bread import BREAD
from red_mcore.algorithms.chord import CHORD, chord_phi
from red_mcore.algorithms.cispo import CISPO
from red_mcore.algorithms.dft import DFT
from red_mcore.algorithms.fading_red import FadingRED
from red_mcore.algorithms.grpo import GRPO, dapo, dr_grpo
from red_mcore.algorithms.gspo import GSPO
from red_mcore.algorithms.hpt import HPT
from red_mcore.algorithms.luffy import LUFFY
from red_mcore.algorithms.mixins import stage_of
from red_mcore.algorithms.opd import OPD
from red_mcore.algorithms.red import RED
from red_mcore.algorithms.red_coda import REDCoDA
from red_mcore.algorithms.reinforce_plus_plus import ReinforcePlusPlus
from red_mcore.algorithms.relift import ReLIFT
from red_mcore.algorithms.rloo import RLOO
from red_mcore.algorithms.sft import SFT
from red_mcore.algorithms.sft_grpo import SFTGRPO
from red_mcore.algorithms.sft_then_grpo import SFTThenGRPO
from red_mcore.algorithms.srft import SRFT
from red_mcore.config.recipe import Teacher
from red_mcore.samples.records import Group

STAGED = SFTThenGRPO(sft_steps=1)
ALGORITHMS = {
    "RED": RED(),
    "RED autograd": RED(shift="autograd"),
    "LUFFY": LUFFY(),
    "SRFT": SRFT(),
    "SFT+GRPO": SFTGRPO(),
    "CHORD": CHORD(),
    "CHORD-phi": chord_phi(),
    "RED-CoDA": REDCoDA(),
    "HPT": HPT(),
    "SFT": SFT(),
    "DFT": DFT(),
    "SFT, then": stage_of(STAGED, 0),
    "then GRPO": stage_of(STAGED, 1),
    "GRPO": GRPO(),
    "Dr.GRPO": dr_grpo(8192),
    "DAPO": dapo(),
    "ReLIFT": ReLIFT(),
    "BREAD": BREAD(),
    "fading RED": FadingRED(),
    "RLOO": RLOO(),
    "GSPO": GSPO(),
    "GSPO-token": GSPO(token_level=True),
    "CISPO": CISPO(),
    "REINFORCE++": ReinforcePlusPlus(),
    "REINFORCE++-baseline": ReinforcePlusPlus(group_baseline=True),
    "OPD": OPD(teacher=Teacher("folder")),
}

# What the trace and the two rollouts of a group are trained with, in this order:
#   a number   this advantage; with 0 they stay for the entropy bonus alone
#   ce         cross-entropy, verdict or not
#   up, down   made likelier or less likely, whatever the advantage
#   .          left out
# "dropped": the group is left out. What stands behind a stroke is the outcome in company.
WITH_TRACE = """
trace        | right              | right     | wrong              | wrong        | wrong
rollouts     | wrong wrong        | right right | right wrong      | wrong wrong  | right right

RED          | 1.155 -.577 -.577  | dropped   | -.577 1.155 -.577  | dropped      | -1.155 .577 .577
RED autograd | 1.155 -.577 -.577  | dropped   | -.577 1.155 -.577  | dropped      | -1.155 .577 .577
LUFFY        | .667 -.333 -.333   | 0 0 0     | -.333 .667 -.333   | 0 0 0        | -.667 .333 .333
SRFT         | ce down down       | ce up up  | ce up down         | ce down down | ce up up
SFT+GRPO     | ce . .             | ce . .    | ce .5 -.5          | ce . .       | ce . .
CHORD        | ce . .             | ce . .    | ce .707 -.707      | ce . .       | ce . .
CHORD-phi    | ce . .             | ce . .    | ce .707 -.707      | ce . .       | ce . .
RED-CoDA     | ce . .             | ce . .    | ce .707 -.707      | ce . .       | ce . .
HPT          | ce . .             | . 0 0     | . .5 -.5           | ce . .       | . 0 0
SFT          | ce . .             | ce . .    | ce . .             | ce . .       | ce . .
DFT          | ce . .             | ce . .    | ce . .             | ce . .       | ce . .
SFT, then    | ce . .             | ce . .    | ce . .             | ce . .       | ce . .
"""
WITHOUT_TRACE = """
rollouts     | right wrong | wrong wrong | right right

RED          | .707 -.707  | dropped     | dropped
RED autograd | .707 -.707  | dropped     | dropped
LUFFY        | .5 -.5      | 0 0         | 0 0
SRFT         | up down     | down down   | up up
SFT+GRPO     | .5 -.5      | dropped     | dropped
CHORD        | .707 -.707  | dropped     | dropped
CHORD-phi    | .707 -.707  | dropped     | dropped
RED-CoDA     | .707 -.707  | dropped     | dropped
HPT          | .5 -.5      | 0 0         | 0 0
SFT          | dropped     | dropped     | dropped
DFT          | dropped     | dropped     | dropped
SFT, then    | dropped     | dropped     | dropped
then GRPO    | .707 -.707  | dropped     | dropped
GRPO         | .707 -.707  | dropped     | dropped
Dr.GRPO      | .5 -.5      | dropped     | dropped
DAPO         | .707 -.707  | dropped     | dropped
ReLIFT       | .5 -.5      | 0 0         | 0 0
BREAD        | .707 -.707  | dropped     | dropped
fading RED   | .707 -.707  | dropped     | dropped
RLOO         | 1 -1        | dropped     | dropped
GSPO         | .707 -.707  | dropped     | dropped
GSPO-token   | .707 -.707  | dropped     | dropped
CISPO        | .707 -.707  | dropped     | dropped

REINFORCE++          | up down | dropped / down down | dropped / up up
REINFORCE++-baseline | up down | dropped             | dropped
OPD                  | up down | down down           | up up
"""


def rows(table: str) -> dict[str, list[list[str]]]:
    """Name of each row -> its cells' words."""
    lines = ([cell.split() for cell in line.split("|")] for line in table.splitlines() if line)
    return {" ".join(name): cells for name, *cells in lines}


CASES = []
"""(algorithm, verdict of the trace or None, verdicts of the rollouts, outcome of each sample)."""
for table in (WITH_TRACE, WITHOUT_TRACE):
    outcomes = rows(table)
    rollouts = outcomes.pop("rollouts")
    traces = outcomes.pop("trace", [None] * len(rollouts))
    for name, cells in outcomes.items():
        CASES += [(name, *case) for case in zip(traces, rollouts, cells, strict=True)]


def make(on_trace: list[str] | None, on_rollouts: list[str]) -> Group:
    samples = [trace(float(verdict == "right"), (0.3, 0.6)) for verdict in on_trace or []]
    return group(
        *samples, *(seen((0.3, 0.6), float(verdict == "right")) for verdict in on_rollouts)
    )


@pytest.mark.parametrize("company", [False, True], ids=["alone", "in company"])
@pytest.mark.parametrize(
    ("name", "on_trace", "on_rollouts", "expected"),
    CASES,
    ids=lambda x: " ".join(x) if isinstance(x, list) else str(x),
)
def test_outcome(name, on_trace, on_rollouts, expected, company):
    """Alone and beside a group that always teaches;
    loss and gradients are finite, ``one_step`` sees to that."""
    algorithm, checked = ALGORITHMS[name], make(on_trace, on_rollouts)
    other = make(["right"] if algorithm.traces else None, ["right", "wrong"])
    outcome = one_step(algorithm, [checked, other] if company else [checked])
    if "/" in expected:
        stroke = expected.index("/")
        expected = expected[stroke + 1 :] if company else expected[:stroke]
    if expected == ["dropped"]:
        expected = ["."] * len(checked.samples)
    trained = {id(s) for g in outcome.kept for s in g.samples}
    for sample, slopes, want in zip(checked.samples, outcome.gradients, expected, strict=False):
        assert (id(sample) in trained) == (want != ".")
        likelier = {"ce": 1, "up": 1, "down": -1, ".": 0}.get(want)
        if want == "ce":
            assert "sft" in sample.coefficient
        elif likelier is None:
            assert sample.advantage == pytest.approx(float(want), abs=1e-3)
            likelier = (float(want) > 0) - (float(want) < 0)
        assert [(slope < 0) - (slope > 0) for slope in slopes] == [likelier] * len(slopes)
    assert len(expected) == len(checked.samples)


def test_the_tables_have_every_algorithm():
    with_trace, without = rows(WITH_TRACE), rows(WITHOUT_TRACE)
    assert set(without) - {"rollouts"} == set(ALGORITHMS)
    assert set(with_trace) - {"rollouts", "trace"} == {
        name for name, a in ALGORITHMS.items() if a.traces
    }


def certain_and_impossible(sample: Seen) -> Seen:
    """``sample`` with tokens of probability 1 and, as ``exp`` has it, 0."""
    sample.logp = torch.tensor([0.0, -1000.0], dtype=torch.float64).requires_grad_()
    sample.old_logp = sample.logp.detach().numpy()
    return sample


VARIANTS = {
    f"RED {shift} {beta}": RED(shift=shift, beta=beta)
    for shift in ("detached", "autograd", "off")
    for beta in ("group", "rollouts", "batch", "reverse")
}


@pytest.mark.parametrize("name", ALGORITHMS | VARIANTS)
def test_certain_and_impossible_tokens_give_no_nan(name):
    """In every group of the tables; ``one_step`` asserts that loss and gradients are finite."""
    algorithm = (ALGORITHMS | VARIANTS)[name]
    for on_trace, on_rollouts in {(*(t or [None]), *r): (t, r) for _, t, r, _ in CASES}.values():
        if on_trace is None or algorithm.traces:
            one_step(
                algorithm,
                [group(*map(certain_and_impossible, make(on_trace, on_rollouts).samples))],
            )


@pytest.mark.parametrize(
    "entropies", [(0.0, 0.0), (0.0, 0.7), (0.7, 0.0), (0.7, 0.7), (11.9, 11.9)]
)
@pytest.mark.parametrize(
    "name", [name for name, a in ALGORITHMS.items() if has_weights(a)] + ["RED absolute"]
)
def test_no_entropy_and_no_change_of_it_give_no_nan(name, entropies):
    """A policy that is sure of everything, of the trace or of its rollouts alone, one that stands
    still, a uniform one; each for three steps, then an ordinary step."""
    algorithm, state = (ALGORITHMS | {"RED absolute": RED(entropy_change="absolute")})[name], {}
    for of_trace, of_rollouts in [entropies] * 3 + [(0.5, 0.6)]:
        rolled = [seen([0.3], correct, entropies=of_rollouts) for correct in (1.0, 0.0)]
        outcome = one_step(algorithm, [group(trace(entropies=of_trace), *rolled)], state)
        assert all(torch.tensor([s.weight for s in outcome.kept[0].samples]).isfinite())


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("algorithm", [ReLIFT(), FadingRED()], ids=lambda x: type(x).__name__)
def test_a_lesson_imitates_a_wrong_trace_and_gives_no_nan(algorithm, beta):
    samples = [trace(0.0), certain_and_impossible(trace(0.0, (0.3, 0.6)))]
    slopes = lesson(algorithm, samples, beta)
    assert all(slope < 0 for slope in slopes[0])
    assert all(slope <= 0 for slope in slopes[1])


def lesson(algorithm, samples: list[Seen], beta: float) -> list[list[float]]:
    """d loss / d logp of each trace, one update on them alone."""
    algorithm.aggregate([group(s) for s in samples], len(samples), {}, 0)
    total = 0.0
    for s in samples:
        given = loss_inputs(
            s.logp, old_logp=torch.zeros_like(s.logp), entropy=s.entropies, beta=beta
        )
        found = algorithm.token_losses(given, {}, 0)
        total = total + sum((c * found[name]).sum() for name, c in s.coefficient.items())
    assert total.isfinite()
    gradients = torch.autograd.grad(total, [s.logp for s in samples])
    assert all(g.isfinite().all() for g in gradients)
    return [g.tolist() for g in gradients]
