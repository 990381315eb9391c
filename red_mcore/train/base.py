"""Base training: a fresh model learns the base corpus by imitation, before the algorithm starts."""

from __future__ import annotations

import math
import random

from red_mcore.algorithms.base import losses_of
from red_mcore.algorithms.sft import SFT
from red_mcore.convert import card
from red_mcore.convert.hf import export_folder, load_weights
from red_mcore.data.arithmetic import corpus
from red_mcore.data.seams import encode_prompt, encode_response
from red_mcore.samples.records import Group, Problem, Sample
from red_mcore.train.hooks.saving import save_where_due
from red_mcore.train.run import Run

_ROWS = 100
"""Most rows that base training logs: its steps are short."""
_LOGGED = {"base/loss": "loss/total", "base/grad_norm": "update/grad_norm", "base/lr": "update/lr"}


def train_base(run: Run) -> None:
    """All steps of ``recipe.base``, from where the state stands; ends with an export and the
    algorithm's optimizers.

    Stops early, after saving, when a signal asked for it.
    """
    recipe, state = run.recipe, run.state
    base, algorithm = recipe.base, SFT()
    assert base is not None  # else there is no such stage
    every = math.ceil(base.steps / _ROWS)
    with run.progress("base training", base.steps, state.step) as console:
        while state.step < base.steps:
            groups = _draw(run, state.step)
            algorithm.aggregate(groups, len(groups), {}, state.step)
            metrics = run.policy.update(groups, losses_of(algorithm, {}, state.step))
            state.step += 1
            if state.step % every == 0 or state.step == base.steps:
                run.log({name: metrics[of] for name, of in _LOGGED.items()})
            console.update(state.step, {"loss": metrics["loss/total"]})
            save_where_due(run, due=run.checkpoint_due() and state.step < base.steps)
            if run.stopping:
                return
    folder = recipe.folder / "base"
    export_folder(
        run.policy.model,
        run.arch,
        run.model_folder,
        folder,
        run.ranks.is_main,
        texts=lambda: card.texts(recipe.folder, state.stage, state.step),
    )
    if run.reference is not None:  # the policy before the algorithm's first step is this one
        load_weights(run.reference.model, run.arch, folder)
    run.start_main()
    state.base_seconds = state.seconds + run.elapsed
    run.save()


def _draw(run: Run, step: int) -> list[Group]:
    """One step's sequences of the base corpus, the same on every rank."""
    base = run.recipe.base
    assert base is not None  # else there is no such stage
    # By the step's number, so that a run that goes on draws what it would have drawn.
    rng = random.Random(f"{run.recipe.seed}/base/{step}")
    groups = []
    for i in range(base.sequences_per_step):
        text, response = corpus(run.recipe.data.arithmetic, rng)
        problem = Problem(id=i, text=text, gold="", trace=response)
        prompt = encode_prompt(run.tokenizer, problem, run.recipe.data)
        sample = Sample(
            prompt=prompt,
            response=encode_response(run.tokenizer, response, prompt),
            is_offline=True,
        )
        groups.append(Group(problem, [sample]))
    return groups
