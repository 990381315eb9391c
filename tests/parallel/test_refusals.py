"""A step whose numbers are not finite is refused on every rank alike, by name,
before a weight changes."""

import pytest

REFUSED = "the step is refused, and no weight has changed"
LAYOUTS = ("one", "dp2", "pp2", "cp2", "tp2")
BEGIN = {
    "NaN of the engine with a limit": "RuntimeError: step 1: the engine's log-prob of token ",
    "NaN of the engine without a limit": "RuntimeError: step 1: the engine's log-prob of token ",
    "infinity of the engine in a replay": "RuntimeError: step 1: the engine's log-prob of token ",
    "reward": "RuntimeError: step 1: the reward of rollout 3 of problem 0 is -inf; ",
    "advantage": "FloatingPointError: the advantage of rollout 4 of problem 4 is inf"
    " (data-parallel rank ",
    "weight": "FloatingPointError: the weight of the trace of problem 0 is nan (data-parallel"
    " rank ",
    "weight within the pass": "FloatingPointError: the weight of the trace of problem 0 is nan"
    " (data-parallel rank ",
    "loss": "FloatingPointError: loss/sft of token 0 of the trace of problem 1 is inf (log-prob -",
    "gradient": "FloatingPointError: the gradient of ",
    "gradient, not clipped": "FloatingPointError: the gradient of ",
    "gradient with a limit": "FloatingPointError: the gradient of ",
    "learning rate": "FloatingPointError: the gradient norm is ",
    "trainer, before the pass": "FloatingPointError: the trainer's log-prob of token 0 of the"
    " trace of problem 0",
    "trainer, within the pass": "FloatingPointError: the trainer's entropy of the trace of"
    " problem 0 is nan",
    "reference": "FloatingPointError: the reference's log-prob of token 0 of the trace of problem"
    " 0",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_step_that_is_not_finite_is_refused_before_the_weights_change(layouts, layout):
    found = layouts[layout]["guards"]
    assert found.keys() == BEGIN.keys()
    for name, (ends, moved, version) in found.items():
        assert ends == ends[:1] * len(ends), f"{name}: the ranks say different things"
        assert ends[0].startswith(BEGIN[name]), name
        assert ends[0].endswith(REFUSED), name
        assert (moved, version) == (0, 0), name


def test_what_is_said_names_sample_value_and_rank(layouts):
    found = layouts["dp2"]["guards"]
    assert " of rollout 2 of problem 1 is nan; " in found["NaN of the engine with a limit"][0][0]
    assert " is -inf; " in found["infinity of the engine in a replay"][0][0]
    assert " on rank " in found["loss"][0][0]
    assert "the learning rate inf" in found["learning rate"][0][0]
    for name in ("gradient", "gradient, not clipped", "gradient with a limit"):
        assert "is not finite on rank 0; the gradient norm is nan" in found[name][0][0], name
