"""The best weights by the validation loss, taken as the run's result where the recipe says so."""

from __future__ import annotations

from red_mcore.checkpoints import manifests, resume, saving
from red_mcore.config.recipe import RecipeError
from red_mcore.megatron.ranks import on_main
from red_mcore.train import validation
from red_mcore.train.hooks.evaluating import benchmark_alone, evaluate_alone
from red_mcore.train.hooks.hook import Hook
from red_mcore.train.publishing import publish
from red_mcore.train.run import Run


class BestResult(Hook):
    """Loads the best checkpoint once all steps are done, and evaluates it: the export and the
    summary then speak of it. The checkpoint of the last step stays what a run goes on from."""

    def after_training(self, run: Run) -> None:
        state, best = run.state, validation.result_step(run.recipe, run.state)
        if run.stopping or best == state.step:
            return
        folder = resume.checkpoints(run.recipe)
        tag = manifests.tag_of("main", best)

        def read() -> dict:
            try:
                manifest = manifests.read(folder / tag)
                manifests.check(folder / tag, manifest, checksums=True)
            except manifests.Broken as fault:
                raise RecipeError(
                    f"the best checkpoint cannot be the result: {fault}: put it back, or use"
                    " validation.export=last"
                ) from None
            return manifest

        manifest = on_main(run.ranks, read)
        saving.load(folder, manifest, run.policy)
        last = state.step, state.policy_version
        state.policy_version = manifest["state"]["policy_version"]
        publish(run)
        state.step = best  # whose tables and benchmarks these are
        run.say(f"the result is the best checkpoint, {tag}")
        state.after = evaluate_alone(run) | benchmark_alone(run)
        state.step, state.policy_version = last
