"""What happens beside the phases of a step, and in which order."""

from red_mcore.train.hooks.best_result import BestResult
from red_mcore.train.hooks.budgets import Budgets
from red_mcore.train.hooks.evaluating import Evaluating
from red_mcore.train.hooks.export import Export
from red_mcore.train.hooks.hook import Hook
from red_mcore.train.hooks.hub import Hub
from red_mcore.train.hooks.kept_rollouts import KeptRollouts
from red_mcore.train.hooks.last_words import LastWords
from red_mcore.train.hooks.memory import Memory
from red_mcore.train.hooks.metrics_row import MetricsRow
from red_mcore.train.hooks.progress import Progress
from red_mcore.train.hooks.saving import Saving
from red_mcore.train.hooks.validating import Validating
from red_mcore.train.hooks.warnings import Warnings


def all_hooks() -> list[Hook]:
    """The hooks of a run, in the order in which every moment calls them."""
    return [
        KeptRollouts(),
        Budgets(),
        Validating(),  # before what a last step brings, for it may make the step the last
        Evaluating(),
        Warnings(),
        Memory(),
        MetricsRow(),  # after all that adds to the row
        Saving(),  # after all that changes the state
        Progress(),
        BestResult(),  # after the last save, before all that tells the result
        Export(),
        LastWords(),
        Hub(),  # after all that must not be lost where the network is
    ]
