"""The trained model as a Hugging Face folder."""

from __future__ import annotations

from red_mcore.convert import card
from red_mcore.convert.hf import export_folder
from red_mcore.train.hooks.hook import Hook
from red_mcore.train.run import Run
from red_mcore.train.validation import result_step


class Export(Hook):
    """Writes ``export/``, with its card, once all steps are done."""

    def after_training(self, run: Run) -> None:
        if run.stopping:
            return
        folder, state = run.recipe.folder, run.state
        step = result_step(run.recipe, state)
        export_folder(
            run.policy.model,
            run.arch,
            run.model_folder,
            folder / "export",
            run.ranks.is_main,
            texts=lambda: card.texts(folder, state.stage, step, state.after),
        )
