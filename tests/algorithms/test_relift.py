import json

import pytest
from loss_inputs import loss_inputs
from one_step import group, one_step, rolled, trace

from red_mcore.algorithms.mixins import TrainingProblems
from red_mcore.algorithms.relift import ReLIFT
from red_mcore.samples.records import Group, Problem

PROBLEMS = [Problem(id=i, text=f"q{i}", gold="", trace="t") for i in range(10)]


def sampled(problem: int, *correct: float) -> Group:
    return Group(PROBLEMS[problem], rolled(*correct))


def lessons(
    algorithm: ReLIFT, groups: list[Group], state: dict, without_trace: tuple[int, ...] = ()
) -> list[list[int]]:
    training = TrainingProblems(PROBLEMS, lambda problem: problem.id not in without_trace, seed=0)
    return [
        [p.id for p in lesson.problems] for lesson in algorithm.lessons(groups, state, 0, training)
    ]


def test_unsolved_problems_enter_in_front_and_leave_together():
    state = {"buffer": [9]}
    groups = [sampled(1, *[0] * 8), sampled(2, 1, *[0] * 7), sampled(3, *[0] * 8)]
    assert lessons(ReLIFT(demonstrations=4), groups, dict(state)) == []
    assert lessons(ReLIFT(demonstrations=2), groups, state) == [[1, 3]]
    assert state == {"buffer": [9]}


def test_the_buffer_lasts_through_a_checkpoint():
    algorithm, state = ReLIFT(demonstrations=3), {}
    assert lessons(algorithm, [sampled(1, 0, 0), sampled(2, 0, 0)], state) == []
    assert state == {"buffer": [1, 2]}
    state = json.loads(json.dumps(state))
    assert lessons(algorithm, [sampled(1, 0, 0)], state) == [
        [1, 1, 2]
    ]  # nothing in it expires or is unique


def test_a_problem_without_usable_trace_never_enters():
    state = {}
    assert lessons(ReLIFT(demonstrations=1), [sampled(4, 0, 0)], state, without_trace=(4,)) == []
    assert state == {"buffer": []}


def test_imitation_has_the_entropy_bonus():
    demonstration = group(trace(entropies=[0.3, 0.7, 2.0]))
    algorithm = ReLIFT()
    outcome = one_step_of_a_lesson(algorithm, demonstration)
    assert outcome == pytest.approx(1.80022596, abs=1e-6)


def one_step_of_a_lesson(algorithm: ReLIFT, lesson: Group) -> float:
    import torch

    algorithm.aggregate([lesson], 1, {}, 0)
    (s,) = lesson.samples
    given = loss_inputs(s.logp, old_logp=torch.zeros_like(s.logp), entropy=s.entropies)
    found = algorithm.token_losses(given, {}, 0)
    return sum((c * found[name]).sum().item() for name, c in s.coefficient.items())


def test_rollouts_learn_as_in_dr_grpo_without_clip():
    groups = [group(*rolled(1, 0)), group(*rolled(0, 0))]
    outcome = one_step(ReLIFT(constant=10), groups)
    assert outcome.gradients == [[pytest.approx(s * 0.5 / 40)] * 2 for s in (-1, 1, 0, 0)]
    assert outcome.losses["entropy"] == pytest.approx(-0.001)  # the unsolved group stays for it
    assert len(outcome.kept) == 2


def test_two_optimizers():
    from red_mcore.config.recipe import Model, Optimizer, Recipe

    algorithm = ReLIFT(imitation=Optimizer(lr=5e-6))
    recipe = Recipe(name="x", model=Model(), algorithm=algorithm, steps=40)
    assert algorithm.optimizers(recipe) == {
        "main": (recipe.optimizer, 40),
        "imitation": (Optimizer(lr=5e-6), 40),
    }
