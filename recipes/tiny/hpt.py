"""HPT on the task, model and budget of ``red_tiny``: seven rollouts and a trace per prompt.

The learning rate is RED's, not tuned for this method.
"""

from recipes.red_tiny import recipe as red_tiny
from red_mcore.algorithms.hpt import HPT
from red_mcore.recipe import Recipe


def recipe() -> Recipe:
    r = red_tiny()
    r.name = "hpt_tiny"
    r.algorithm = HPT(constant=80.0)
    return r
