"""RED whose policy shift is differentiated through its denominator, too (arXiv 2508.16677): the
code as written.

All else, known or not, as in ``recipes/paper/red.py``. The gradient is LUFFY's shaping with a gamma
that grows with the group's accuracy; at accuracy 0 it vanishes. Reported: nothing apart from RED's
own numbers, the paper tells no such arms apart.
"""

from recipes.paper.red import recipe as red
from red_mcore.algorithms.red import RED
from red_mcore.recipe import Recipe


def recipe() -> Recipe:
    r = red()
    r.name = "paper_red_autograd"
    r.algorithm = RED(shift="autograd")
    return r
