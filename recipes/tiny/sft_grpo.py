"""GRPO and imitation at once on the task, model and budget of ``red_tiny``: seven rollouts and a trace per prompt.

Advantages as in ``grpo_tiny``, over the rollouts alone. The learning rate is RED's, not tuned for this method.
"""

from recipes.red_tiny import recipe as red_tiny
from red_mcore.algorithms.sft_grpo import SFTGRPO
from red_mcore.recipe import Recipe


def recipe() -> Recipe:
    r = red_tiny()
    r.name = "sft_grpo_tiny"
    r.algorithm = SFTGRPO(std_normalise=True, constant=80.0)
    return r
