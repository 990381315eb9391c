"""On-policy distillation from the demo's model: the same base, four rollouts per prompt, every
token scored.

The teacher is what ``recipes/red_tiny.py`` makes, which has to be there first:

    python -m red_mcore.run recipes/red_tiny.py
    python -m red_mcore.run recipes/tiny/opd.py

Another folder is ``algorithm.teacher.path=FOLDER``; a smaller student is
``model.config.num_hidden_layers=1``.
"""

from recipes.tiny.red import rates
from recipes.tiny.red import recipe as red
from red_mcore.algorithms.opd import OPD
from red_mcore.recipe import Recipe, Teacher

TRIALS = rates(1.5e-4, 3e-4, 6e-4)


def recipe() -> Recipe:
    r = red()
    r.name = "opd"
    r.algorithm = OPD(teacher=Teacher("runs/red_tiny/export"))
    r.batch.samples_per_prompt = 4
    r.optimizer.lr = 3e-4
    return r
