"""BREAD (arXiv 2506.17211) under LUFFY's protocol (arXiv 2504.14945): little of its own settings
could be read.

Known, from the abstract and from summaries: GRPO; a trace is cut into 10 episodes; the shortest
prefix whose share of right continuations lies in a band, found by binary search.

Unknown, and what stands here: the band, 1/8 to 7/8; rollouts per probe, a whole group of 8; KL
term, none; model size of the main runs, batch, learning rate, steps, lengths and reward, all
LUFFY's; prompts of NuminaMath-CoT, on which the authors train, are the source of the data here, but
the traces are R1's. Prefix and continuation share 8192 tokens.

Reported: fewer than 40 % of the traces, about 3 times fewer steps than GRPO, and problems solved
that SFT+RL never solves (no table could be read, so no accuracy to compare with).
"""

from recipes.paper.luffy import recipe as luffy
from red_mcore.algorithms.bread import BREAD
from red_mcore.recipe import Recipe


def recipe() -> Recipe:
    r = luffy()
    r.name = "paper_bread"
    r.algorithm = BREAD()
    r.batch.samples_per_prompt = 8
    return r
