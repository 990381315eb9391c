"""Dr.GRPO on the task, model and budget of ``red_tiny``: eight rollouts per prompt, no traces.

The learning rate is RED's, not tuned for this method.
"""

from recipes.red_tiny import recipe as red_tiny
from red_mcore.algorithms.grpo import dr_grpo
from red_mcore.recipe import Recipe


def recipe() -> Recipe:
    r = red_tiny()
    r.name = "dr_grpo_tiny"
    r.algorithm = dr_grpo(r.rollout.max_response_tokens)
    r.batch.samples_per_prompt = 8
    return r
