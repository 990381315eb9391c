"""HPT with its authors' settings for Qwen2.5-Math-1.5B (arXiv 2509.04419, code TsinghuaC3I/Unify-Post-Training).

Known: 128 prompts x 8 rollouts, the trace for prompts that none of them solves, two updates per step, lr 5e-6
constant, 500 steps, gradient clip 80, imitation weight .3 (1 for 7B), gate 0 (2 for Llama-3.1-8B), no clip, no
deviation, token sums divided by 8192, entropy bonus .001, 8192 tokens, temperature 1; the code is LUFFY's, with its
data and AdamW.

Unknown: nothing that has a field here. On purpose otherwise: what ``recipes/paper/luffy.py`` says.

Reported (1.5B, by a reader of the paper; temperature .6, top-p .95): mean of AIME24, AIME25, AMC, MATH-500, Minerva
and Olympiad 41.9, LUFFY run alike 34.7. 7B: 52.7 against SFT 44.5, GRPO 43.1, SFT then GRPO 46.5, LUFFY 49.8.
"""

from recipes.paper.luffy import recipe as luffy
from red_mcore.algorithms.hpt import HPT
from red_mcore.recipe import Recipe


def recipe() -> Recipe:
    r = luffy()
    r.name = "paper_hpt"
    r.algorithm = HPT()
    r.batch.samples_per_prompt = 8
    r.optimizer.lr = 5e-6
    r.optimizer.clip_grad = 80.0
    return r
