"""Rejection-sampling fine-tuning: in each round the model answers every problem, and learns from
its own answers that are right."""

from recipes.tiny.distillation import imitation
from red_mcore.recipe import Recipe

ROUNDS = 3


def chain(rounds: int) -> list[list[str]]:
    """The stages of so many rounds, each with the model of the one before it."""
    model = imitation.STUDENT
    found = [imitation.TEACHERS, imitation.BASE]
    for number in range(1, rounds + 1):
        out, name = f"{{out}}/sampled{number}", f"round{number}"
        keep = ["--keep", "k_correct", "--samples", "8", "--count", "4", f"--seed={number}"]
        found.append(imitation.sample(out, model, *keep, "problems=256"))
        learn = ["data.trace_choice=random", "steps=50"]
        found.append(imitation.train(name, model, f"{out}/traces.jsonl", *learn))
        model = f"{{out}}/{name}/export"
    return found


CHAIN = chain(ROUNDS)


def recipe() -> Recipe:
    return imitation.recipe("rejection_sampling")
