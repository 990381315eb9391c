"""RED-CoDA, a third party's reading of RED (arXiv 2508.16677; code Phonsiriwillbejommarn/CoDA),
under RED's protocol.

Known, of the code: alpha .1, entropy averages .99 that start at 1, w in 1 to 5, accuracy factor
5^(1 - 2 acc), their product in 1 to 25. The code trains Gemma-2-2B with LoRA as a search agent, so
model, data, batch, learning rate and lengths say nothing about mathematics: those of
``recipes/paper/red.py`` stand here. The normaliser of its GRPO part is unknown; GRPO's own stands
here. No refills: the code replaces no group.

Reported: no number on these benchmarks.
"""

from recipes.paper.red import recipe as red
from red_mcore.algorithms.red_coda import REDCoDA
from red_mcore.recipe import Recipe


def recipe() -> Recipe:
    r = red()
    r.name = "paper_red_coda"
    r.algorithm = REDCoDA()
    r.batch.refills = 0
    return r
