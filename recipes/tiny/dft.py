"""DFT on the task, model and prompts of ``red_tiny``: 24 traces a step, no rollouts.

The learning rate is RED's, not tuned for this method.
"""

from recipes.red_tiny import recipe as red_tiny
from red_mcore.algorithms.dft import DFT
from red_mcore.recipe import Recipe


def recipe() -> Recipe:
    r = red_tiny()
    r.name = "dft_tiny"
    r.algorithm = DFT()
    return r
