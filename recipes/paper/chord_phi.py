"""CHORD-phi (arXiv 2508.11408): mu .1 throughout, each token of the trace weighed by p (1 - p).

All else, known or not, as in ``recipes/paper/chord.py``. Reported (7B-Instruct): better than
CHORD-mu overall, and the response grows to 2444 tokens where RL alone ends at 1423. 1.5B: none.
"""

from dataclasses import replace

from recipes.paper.chord import recipe as chord
from red_mcore.algorithms.chord import chord_phi
from red_mcore.recipe import Recipe


def recipe() -> Recipe:
    r = chord()
    r.name = "paper_chord_phi"
    r.algorithm = replace(chord_phi(), aggregation="token")
    return r
