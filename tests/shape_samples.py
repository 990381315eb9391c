"""Groups of unusual shapes, and every algorithm that makes a step of them;
the same in each process."""

from __future__ import annotations

from copy import deepcopy
from typing import NamedTuple

import numpy as np
from layout_samples import IMITATION

from red_mcore.algorithms.base import GroupAlgorithm
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
from red_mcore.samples.records import Group, Problem, Sample

LONGEST = 64
"""Tokens of the longest sample, a trace."""
TOKENS = 2 * LONGEST
"""Per micro-batch: of five traces some come late, on one rank and on the fuller one of two."""
STAGED = SFTThenGRPO(sft_steps=1, imitation=IMITATION[0])
ALGORITHMS = {
    "RED": RED(constant=8.0),
    "RED autograd": RED(constant=8.0, shift="autograd", beta="batch", entropy_average="token"),
    "RED shaping": RED(
        constant=8.0, shift="shaping", baseline="rollouts", entropy_change="absolute"
    ),
    "RED off": RED(constant=8.0, shift="off", beta="reverse", entropy_ema=0.5, aggregation="token"),
    "RED-CoDA": REDCoDA(entropy_ema=0.5),
    "SFT": SFT(),
    "DFT": DFT(),
    "GRPO": GRPO(),
    "GRPO with a reference": GRPO(kl_coefficient=0.1, entropy_coefficient=0.1),
    "Dr.GRPO": dr_grpo(8),
    "DAPO": dapo(),
    "SFT, then": stage_of(STAGED, 0),
    "then GRPO": stage_of(STAGED, 1),
    "SFT+GRPO": SFTGRPO(constant=8.0),
    "LUFFY": LUFFY(constant=8.0, entropy_coefficient=0.1),
    "SRFT": SRFT(constant=8.0),
    "ReLIFT": ReLIFT(
        constant=8.0, demonstrations=1, entropy_coefficient=0.1, imitation=IMITATION[0]
    ),
    "BREAD": BREAD(),
    "HPT": HPT(constant=8.0, entropy_coefficient=0.1),
    "CHORD": CHORD(),
    "CHORD-phi": chord_phi(),
    "RLOO": RLOO(),
    "GSPO": GSPO(clip_low=0.05, clip_high=0.05),
    "CISPO": CISPO(),
    "REINFORCE++": ReinforcePlusPlus(),
    "OPD": OPD(teacher=Teacher("reference")),
    "taught RED": RED(constant=8.0, teacher=Teacher("reference", 0.5)),
    "fading RED": FadingRED(first_lessons=2, lesson_traces=2, imitation=IMITATION[0]),
}
STATES = {
    RED: {"offline": 7.0, "online": 6.0},
    REDCoDA: {"before": {"offline": 5.0, "online": 4.0}, "now": {"offline": 4.0, "online": 3.5}},
}
"""What an earlier step left, so that a trace's weight is neither 1 nor at a bound."""


class Shape(NamedTuple):
    """What each group has: ``T`` or ``t`` a right or wrong trace,
    ``R`` or ``r`` a right or wrong rollout."""

    groups: list[str]
    updates: int = 1
    """Of the step."""


_SHAPES = {
    "mixed": ["TRrr", "tRrR", "Rrrr", "rrrr", "RRrr"],
    "no trace": ["RRrr", "Rrrr", "RRRr"],
    "one trace": ["RRrr", "TRrr", "Rrrr", "RRRr"],
    "one group": ["TRrr"],
    "nothing to learn": ["rrrr", "rrrr"],
    "hopeless but for traces": ["Trrr"] * 5,
}
SHAPES = {
    **{name: Shape(groups) for name, groups in _SHAPES.items()},
    **{f"{name}, two updates": Shape(_SHAPES[name], 2) for name in ("mixed", "one group")},
}
"""On several data-parallel ranks some have no trace, no sample, or traces alone."""


def make(groups: list[str]) -> list[Group]:
    """Groups whose first trace is the longest sample;
    texts of the traces, for lessons, have other tokens."""
    rng = np.random.default_rng(6)
    found = []
    for g, kinds in enumerate(groups):
        prompt = rng.integers(5, 260, 4 + g).astype(np.int32)
        samples = []
        for kind in kinds:
            offline = kind in "Tt"
            length = LONGEST - len(prompt) - 9 * g if offline else int(rng.integers(1, 20))
            samples.append(
                Sample(
                    prompt=prompt,
                    response=rng.integers(5, 260, length).astype(np.int32),
                    is_offline=offline,
                    sampler_logp=None if offline else rng.normal(-5, 1, length).astype(np.float32),
                    accuracy=float(kind.isupper()),
                    reward=float(kind.isupper()),
                )
            )
        trace = f"{g} is 7 \\boxed{{{g}}}" if kinds[0] in "Tt" else None
        found.append(Group(Problem(id=g, text=f"{g}?", gold=str(g), trace=trace), samples))
    return found


def state_of(algorithm: GroupAlgorithm) -> dict:
    return deepcopy(STATES.get(type(algorithm), {}))
