"""The course of the validation loss: the best, the patience, epochs, what is kept and refused."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from red_mcore.algorithms.grpo import GRPO
from red_mcore.algorithms.sft import SFT
from red_mcore.checkpoints import manifests, resume
from red_mcore.config.overrides import override
from red_mcore.config.recipe import (
    Checkpoint,
    Data,
    Model,
    Recipe,
    RecipeError,
    Rollout,
    Source,
    Until,
    Validation,
)
from red_mcore.planning import imitation
from red_mcore.samples.records import Group, Problem, Sample
from red_mcore.train import validation
from red_mcore.train.state import State

LOSSES = [3.0, 2.0, 1.9, 1.95, 1.89, 1.7]
"""Before training, and after each step."""


def recipe(**settings) -> Recipe:
    made = Recipe("x", Model(), SFT(), validation=Validation(**settings))
    made.batch.prompts_per_step = 8
    return made


def copied(state: State) -> State:
    """The state as a checkpoint keeps it."""
    return State(**json.loads(json.dumps(state.__dict__)))


def courses(made: Recipe, state: State | None = None, first: int = 0) -> list[State]:
    """The state after each measurement."""
    state, found = state or State(), []
    for step in range(first, len(LOSSES)):
        state.step = step
        validation.count(SimpleNamespace(recipe=made, state=state), LOSSES[step])
        found.append(copied(state))
        if validation.stops(made, state):
            break
    return found


def test_the_best_step_and_the_patience():
    states = courses(recipe())
    assert [state.validation["best_step"] for state in states] == [None, 1, 2, 2, 4, 5]
    assert [validation.is_best_now(recipe(), s) for s in states] == [False] + [
        *(True, True, False, True, True)
    ]
    assert validation.summary(recipe(), states[-1]) == {
        "validation_loss_before": 3.0,
        "validation_loss": 1.7,
        "validation_loss_best": 1.7,
        "best_step": 5,
        "measurements_without_gain": 0,
        "stopped_early": False,
        "result_step": 5,
    }
    # Gains of .15 or more: the one of step 1; later ones are 0.1, 0.05 and 0.11 below it.
    made = recipe(patience=3, min_delta=0.15, export="best")
    states = courses(made)
    assert [state.validation["waited"] for state in states] == [0, 0, 1, 2, 3]
    assert validation.summary(made, states[-1])["stopped_early"]
    assert validation.result_step(made, states[-1]) == 4  # the lowest, if by less than a gain
    assert validation.result_step(recipe(patience=3), states[-1]) == states[-1].step
    made.validation.patience = 4
    assert not validation.stops(made, states[-1])  # a run may go on with more


@pytest.mark.parametrize("at", range(4))
def test_a_resumed_run_decides_as_an_uninterrupted_one(at):
    made = recipe(patience=3, min_delta=0.15)
    whole = courses(made)
    resumed = courses(made, copied(whole[at]), at + 1)
    assert [s.validation for s in resumed] == [s.validation for s in whole[at + 1 :]]


def test_the_loss_is_one_mean_over_trained_tokens():
    def sample(logp, trained=None):
        logp = np.array(logp, np.float32)
        made = Sample(np.zeros(1, np.int32), np.zeros(len(logp), np.int32), old_logp=logp)
        return replace(made, trained=None if trained is None else np.array(trained))

    long, short = sample([-1.0, -2.0, -3.0, -2.0]), sample([-9.0, -4.0], [False, True])
    assert validation.cross_entropy([long, short]) == (12 / 5, 5)
    assert validation.cross_entropy([short, long]) == (12 / 5, 5)
    SFT().aggregate([Group(Problem(0, "", ""), [long, short])], 2, {}, 0)
    assert long.coefficient == short.coefficient == {"sft": 1 / 5}
    assert short.mean(np.array([7.0, 3.0])) == 3.0


def manifest(step: int, kept: int | None) -> dict:
    state = {"step": step, "after": {}, "validation": {"kept_step": kept}}
    return {"tag": f"main-{step:06d}", "state": state}


def test_the_best_checkpoint_is_kept_as_the_newest_knows_it():
    found = [manifest(1, 1), manifest(2, 2), manifest(3, 2), manifest(4, 2)]
    kept = manifests.kept(found, Checkpoint(keep=1))
    assert kept == {"main-000002", "main-000004"}
    assert manifests.best_of(found) == "main-000002"
    assert manifests.kept([manifest(4, None)], Checkpoint(keep=1)) == {"main-000004"}
    del found[-1]["state"]["validation"]  # of an earlier version
    assert manifests.kept(found, Checkpoint(keep=1)) == {"main-000004"}


def test_steps_of_epochs():
    made = recipe()
    assert imitation.steps_of(made, 20) == made.steps
    for epochs, steps in ((1, 3), (2.0, 5), (2.5, 7), (0.01, 1)):
        assert imitation.steps_of(replace(made, epochs=epochs), 20) == steps
    made.epochs = 3.0
    assert override(made, ["steps=5"]).epochs is None
    assert override(made, ["steps=5", "epochs=2"]).epochs == 2
    assert override(made, ["seed=5"]).epochs == 3


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"epochs": 2.0, "algorithm": GRPO()}, "epochs=2 .*GRPO samples rollouts: use epochs=null"),
        ({"epochs": 2.0, "until": Until()}, "epochs=2 and until exclude each other"),
        ({"epochs": 2.0, "data": Data(mixture=[Source("a")])}, "epochs of its own"),
        ({"validation": Validation(export="best", keep_best=False)}, "use keep_best=true"),
        ({"validation": Validation(min_delta=0.1)}, "set patience"),
        (
            {"data": Data(conversations=True), "rollout": Rollout(record="a")},
            "rollout.record keeps no whole conversations",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(change, fault):
    with pytest.raises(RecipeError, match=fault):
        imitation.check(replace(recipe(), **change))


def test_a_run_that_stopped_early_or_did_its_epochs_is_finished(tmp_path):
    made = replace(recipe(patience=2), runs=str(tmp_path), steps=50)
    made.folder.mkdir()

    def finished(now: Recipe, **summary) -> bool:
        (made.folder / "summary.json").write_text(json.dumps(summary))
        return resume.finished(now) is not None

    early = {"steps": 9, "stopped_early": True, "measurements_without_gain": 2}
    assert finished(made, **early)
    assert not finished(replace(made, validation=Validation(patience=3)), **early)
    assert not finished(replace(made, validation=None), **early)
    of_epochs = replace(made, epochs=2.0)
    assert finished(of_epochs, steps=9, epochs=2.0)
    assert not finished(of_epochs, steps=9, epochs=None)
