"""SFT, then RL, as arXiv 2604.23747 corrects that baseline; its settings are for Qwen2.5-Math-7B.

Known: the SFT of ``recipes/paper/sft.py``, then 500 steps of 128 prompts x 8 rollouts, two updates
per step, lr 1e-6 constant, clip .2 / .28, no KL term, no entropy bonus, no deviation, temperature
1, 8192 tokens.

Unknown, and what stands here: the normaliser of the RL loss, that of LUFFY's code, on which it
builds; with N = 512 sequences in an update 8192 x 8 / 512 = 128 (``recipes/paper/luffy.py``), where
only the gradient clip can tell, since there is no other loss; prompts and traces of both stages are
the same, where LUFFY's own SFT+RL has others for RL.

A step of the first stage has two updates of 64 traces each, like a step of the second.

Reported (7B): AIME24 40.4, AIME25 29.8, AMC 73.2, MATH-500 92.0, Minerva 43.9, Olympiad 62.8, mean
57.0; with 50 RL steps at lr 5e-6 a mean of 55.6. LUFFY's paper has 48.2 for its SFT+RL. 1.5B: only
what RED's summaries give, MATH-500 about 60.2.
"""

from recipes.paper.luffy import constant
from recipes.paper.luffy import recipe as luffy
from recipes.paper.sft import OPTIMIZER, STEPS
from red_mcore.algorithms.sft_then_grpo import SFTThenGRPO
from red_mcore.recipe import Recipe


def recipe() -> Recipe:
    r = luffy()
    r.name = "paper_sft_then_grpo"
    r.batch.samples_per_prompt = 8
    r.algorithm = SFTThenGRPO(
        std_normalise=False,
        aggregation="constant",
        constant=constant(64 * 8),
        clip_high=0.28,
        sft_steps=STEPS // r.batch.updates_per_step,
        imitation=OPTIMIZER,
    )
    r.steps = r.algorithm.sft_steps + 500
    return r
