"""The export pushed to a hub, where the recipe names one."""

from __future__ import annotations

from red_mcore.convert import hub
from red_mcore.train.hooks.hook import Hook
from red_mcore.train.run import Run


class Hub(Hook):
    """Pushes in a process of its own; a hub that fails costs a line, not the run."""

    def after_training(self, run: Run) -> None:
        recipe = run.recipe
        if recipe.hub is not None and run.ranks.is_main and not run.stopping:
            run.say(hub.push_apart(recipe.folder / "export", recipe.hub))
