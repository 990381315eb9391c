"""Mix-Large (arXiv 2502.12143) for Qwen2.5-3B-Instruct.

Known: the released mix, 4539 problems of MATH's 7.5k training split, a fifth of them with a trace
of Qwen2.5-72B-Instruct and the others with one of Qwen2.5-3B-Instruct, drawn for each problem; all
else as ``recipes/paper/mix_long.py`` has it, which also says what is unknown.

Reported (3B, greedy, 16k tokens, a judge for what the rules miss): MATH 65.8, AMC 42.5, GSM8K 81.7,
OlympiadBench 29.0, AIME 10.0, mean 45.8.
"""

from recipes.paper.mix_long import chain, imitation
from red_mcore.recipe import Recipe

RELEASED = "UWNSL/Mix-Large_large_0.2_small_0.8"

CHAIN = chain(
    RELEASED, ("large", "Qwen/Qwen2.5-72B-Instruct"), ("small", "Qwen/Qwen2.5-3B-Instruct")
)


def recipe() -> Recipe:
    return imitation("paper_mix_large", RELEASED, 4539)
