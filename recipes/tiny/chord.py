"""CHORD-mu on the task, model and budget of ``red_tiny``: mu falls from .9 to .05 in 100 steps.

The learning rate is RED's, not tuned for this method.
"""

from recipes.red_tiny import recipe as red_tiny
from red_mcore.algorithms.chord import CHORD
from red_mcore.recipe import Recipe


def recipe() -> Recipe:
    r = red_tiny()
    r.name = "chord_tiny"
    r.algorithm = CHORD(aggregation="constant", constant=80.0, decay_steps=100)
    return r
