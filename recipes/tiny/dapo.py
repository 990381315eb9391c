"""DAPO: eight rollouts per prompt, no traces; prompts that teach nothing are replaced in up to
three further rounds."""

from recipes.tiny.red import rates
from recipes.tiny.red import recipe as red
from red_mcore.algorithms.grpo import dapo
from red_mcore.recipe import Recipe

TRIALS = rates(1.5e-4, 3e-4, 6e-4)


def recipe() -> Recipe:
    r = red()
    r.name = "dapo"
    r.algorithm = dapo()
    r.batch.samples_per_prompt = 8
    r.batch.refills = 3
    r.optimizer.lr = 3e-4
    return r
