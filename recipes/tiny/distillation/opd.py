"""On-policy distillation until the student meets its teacher: RED makes the teacher of a base
model, and the same base learns from it, token by token, on answers of its own.

Twice the steps and the rollouts per prompt of ``recipes/tiny/opd.py``, and a rate that falls to
zero, since what a token is told is noisy: the teacher's log-prob less the student's, of the one
token sampled.
"""

from recipes.tiny.distillation.imitation import STUDENT
from recipes.tiny.opd import recipe as opd
from red_mcore.recipe import Recipe

START = ["runs={out}", f"model.path={STUDENT}", "base=null"]

CHAIN = [
    # The base that the other recipes here start from too.
    ["run", "recipes/tiny/distillation/imitation.py", "name=student", "runs={out}", "steps=0"],
    ["run", "recipes/red_tiny.py", "name=teacher", *START],
    ["run", "{recipe}", *START, "algorithm.teacher.path={out}/teacher/export"],
]
"""``red-mcore chain``, from a checkout."""


def recipe() -> Recipe:
    r = opd()
    r.name = "opd_to_its_teacher"
    r.steps = 200
    r.batch.samples_per_prompt = 8
    r.optimizer.lr = 4e-4
    r.optimizer.schedule = "linear"
    r.evaluation.every = 50
    return r
