"""The first 500 of the traces of ``distill_920.py``."""

from recipes.tiny.distillation.distill_920 import recipe as sized
from red_mcore.recipe import Recipe


def recipe() -> Recipe:
    return sized(500)
