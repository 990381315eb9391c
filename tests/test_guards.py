"""Which number is not finite, and of which sample."""

import math

import numpy as np
import pytest

from red_mcore.samples import guards
from red_mcore.samples.records import Group, Problem, Sample


def groups() -> list[Group]:
    """Two problems, each with a trace and two rollouts of three tokens."""

    def sample(is_offline: bool) -> Sample:
        logp = None if is_offline else np.array([-1.0, -2.0, -3.0], np.float32)
        return Sample(
            np.zeros(2, np.int32), np.zeros(3, np.int32), is_offline=is_offline, sampler_logp=logp
        )

    return [
        Group(Problem(i, "?", "7"), [sample(True), sample(False), sample(False)]) for i in (17, 4)
    ]


FIELDS = (*guards.GIVEN, *guards.COMPOSED, "old_logp", "ref_logp", "entropy")


def test_what_is_finite_or_missing_is_well():
    assert guards.culprit(groups(), FIELDS) is None
    assert guards.culprit([], FIELDS) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["accuracy", "reward", "advantage", "beta", "weight", "entropy"])
def test_a_scalar_is_named_with_its_sample(field, value):
    found = groups()
    setattr(found[1].samples[2], field, value)
    setattr(found[1].samples[0], field, value)
    culprit = guards.culprit(found, FIELDS)
    assert culprit.sample is found[1].samples[0]
    what = "the trainer's entropy" if field == "entropy" else f"the {field}"
    assert str(culprit) == f"{what} of the trace of problem 4 is {value}"
    setattr(found[1].samples[0], field, 1.0)
    assert str(guards.culprit(found, FIELDS)) == f"{what} of rollout 2 of problem 4 is {value}"


@pytest.mark.parametrize(
    ("field", "whose"),
    [("sampler_logp", "engine"), ("old_logp", "trainer"), ("ref_logp", "reference")],
)
def test_a_token_is_named(field, whose):
    found = groups()
    setattr(found[0].samples[1], field, np.array([-1.0, np.nan, -np.inf], np.float32))
    assert (
        str(guards.culprit(found, FIELDS))
        == f"the {whose}'s log-prob of token 1 of rollout 1 of problem 17 is nan"
    )


def test_the_terms_of_a_reward_are_shown():
    found = groups()
    found[0].samples[1].reward, found[0].samples[1].terms = (
        math.inf,
        {"accuracy": 1.0, "bonus": math.inf},
    )
    assert str(guards.culprit(found, ["reward"])).endswith(
        "17 (terms: {'accuracy': 1.0, 'bonus': inf}) is inf"
    )


def test_a_coefficient_is_named_with_its_loss():
    found = groups()
    found[0].samples[0].coefficient = {"rl": 0.5, "offline": math.nan}
    assert (
        str(guards.culprit(found, FIELDS))
        == "the coefficient of loss/offline of the trace of problem 17 is nan"
    )
