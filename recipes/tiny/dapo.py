"""DAPO's loss on the task, model and budget of ``red_tiny``: eight rollouts per prompt, no traces, no refill.

The learning rate is RED's, not tuned for this method.
"""

from recipes.red_tiny import recipe as red_tiny
from red_mcore.algorithms.grpo import dapo
from red_mcore.recipe import Recipe


def recipe() -> Recipe:
    r = red_tiny()
    r.name = "dapo_tiny"
    r.algorithm = dapo()
    r.batch.samples_per_prompt = 8
    return r
