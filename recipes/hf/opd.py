"""On-policy distillation on pretrained models: a larger model of the same tokenizer scores every
token of the rollouts.

    python -m red_mcore.run recipes/hf/opd.py name=NAME model.path=FOLDER data.path=FILE \\
      algorithm.teacher.path=FOLDER

The teacher has the policy's tokenizer and fits the policy's layout; it is frozen, and takes the
memory of its weights. ``offload.teacher=true`` keeps those in the host's memory but while it
scores. Nothing is learnt from rewards, which the data's answers give all the same, so that accuracy
is measured. All else is as in ``recipes/hf/grpo.py``.
"""

from recipes.hf.grpo import recipe as grpo
from red_mcore.algorithms.opd import OPD
from red_mcore.recipe import Recipe, Teacher


def recipe() -> Recipe:
    r = grpo()
    r.name = "hf_opd"
    r.algorithm = OPD(teacher=Teacher("Qwen/Qwen2.5-1.5B-Instruct"))
    r.batch.samples_per_prompt = 4
    return r
