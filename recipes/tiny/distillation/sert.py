"""SERT: the untuned student's own answers, filtered by rules, teach it to reason before a teacher
does.

Words are steps here: the task has no prose, and so no connectives. Left out in ablations: the
filter (data.path={out}/self/traces.jsonl) and self-training (model.path={out}/student/base).
"""

from recipes.tiny.distillation import imitation
from red_mcore.recipe import Recipe

STEP = r"[a-w]\d(?:[-+*@]\d)+=\d"
RULES = ["--word", STEP, "--min-words", "3", "--max-words", "20", "--connectives", ""]
SELF = "{out}/self"

CHAIN = [
    imitation.TEACHERS,
    imitation.BASE,
    imitation.sample(
        SELF,
        imitation.STUDENT,
        *("--source", "student", "--samples", "8", "--temperature", "0.8", "--top-p", "0.95"),
        *("problems=256",),
    ),
    ["traces", "filter", "--data", f"{SELF}/traces.jsonl", "--student", imitation.STUDENT]
    + ["--out", f"{SELF}/kept.jsonl", *RULES],
    imitation.train(
        "self_trained",
        imitation.STUDENT,
        f"{SELF}/kept.jsonl",
        *("data.trace_choice=random", "steps=50"),
    ),
    imitation.train(
        "sert",
        "{out}/self_trained/export",
        "{out}/data/problems.jsonl",
        "data.trace_sources=[long]",
    ),
]


def recipe() -> Recipe:
    return imitation.recipe("sert")
