"""RED on a pretrained model: seven rollouts and the worked solution of each problem in one group.

The data need worked solutions, best a larger teacher's; GSM8K's are people's. The constant is the
longest response, as in ``recipes/hf/grpo.py``; the weights of solutions are RED's own.
"""

from recipes.hf.grpo import recipe as grpo
from red_mcore.algorithms.red import RED
from red_mcore.recipe import Recipe


def recipe() -> Recipe:
    r = grpo()
    r.name = "hf_red"
    r.algorithm = RED(constant=None)
    r.batch.samples_per_prompt = 7
    return r
