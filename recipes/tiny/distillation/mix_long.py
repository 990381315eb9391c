"""Mix-Long: a fifth of the problems by the long teacher, the others by the short one."""

from recipes.tiny.distillation import imitation
from red_mcore.recipe import Recipe


def chain(name: str, minor: str, major: str) -> list[list[str]]:
    """The stages of a mix of two of the teachers."""
    mixed = f"{{out}}/{name}.jsonl"
    teachers = ["--minor", minor, "--major", major, "--weight", "0.2"]
    mix = ["traces", "mix", "--data", "{out}/data/problems.jsonl", *teachers, "--out", mixed]
    return [
        imitation.TEACHERS,
        imitation.BASE,
        mix,
        imitation.train(name, imitation.STUDENT, mixed),
    ]


CHAIN = chain("mix_long", "long", "short")


def recipe() -> Recipe:
    return imitation.recipe("mix_long")
