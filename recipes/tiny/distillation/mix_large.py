"""Mix-Large: a fifth of the problems by the large teacher, the others by the small one."""

from recipes.tiny.distillation import imitation
from recipes.tiny.distillation.mix_long import chain
from red_mcore.recipe import Recipe

CHAIN = chain("mix_large", "large", "small")


def recipe() -> Recipe:
    return imitation.recipe("mix_large")
