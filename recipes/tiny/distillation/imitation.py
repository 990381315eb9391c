"""Plain SFT on one teacher's traces, and what the small distillation recipes share: task, model,
steps, and the first stages of their chains.

The loss is one mean over all target tokens of the global batch, with a constant rate that was
chosen by a sweep (``recipes/tiny/sft.py``): means of means and too small a rate are what SFT is
mostly run with, and lose by (arXiv 2604.23747).

The student is the base model of ``recipes/red_tiny.py``. Problems and held-out ones are those of
the other recipes here, as files, for tools read and write files. The four teachers are rules
(``red_mcore.data.arithmetic_teachers``).
"""

from recipes.tiny.sft import recipe as sft
from red_mcore.recipe import Recipe

STUDENT = "{out}/student/base"
TEACHERS = ["traces", "arithmetic", "--out", "{out}/data"]
"""The stage that writes the problems with four teachers' traces, and those held out."""
BASE = ["run", "{recipe}", "name=student", "runs={out}", "steps=0"]
"""The stage that trains the student on the base corpus."""


def recipe(name: str = "imitation") -> Recipe:
    """SFT on 24 traces a step."""
    r = sft()
    r.name = name
    r.evaluation.every = 50
    return r


def stages(teacher: str) -> list[list[str]]:
    """The chain of plain SFT on the traces of one of the teachers."""
    of_it = f"data.trace_sources=[{teacher}]"
    return [TEACHERS, BASE, train("imitation", STUDENT, "{out}/data/problems.jsonl", of_it)]


def train(name: str, start: str, path: str, *more: str) -> list[str]:
    """The stage that trains the model in the folder ``start`` on the traces in the file ``path``,
    as the run {out}/``name``."""
    # A path comes before the fields that belong to it, and takes those of another away.
    data = [f"data.path={path}", "data.held_out_path={out}/data/held_out.jsonl"]
    model = [f"model.path={start}", "base=null"]
    own = [f"name={name}", "runs={out}", *model, *data, *more]
    return ["run", "{recipe}", *own]


def sample(out: str, teacher: str, *more: str) -> list[str]:
    """The stage that samples the model in the folder ``teacher`` into the folder ``out``."""
    own = ["--teacher", teacher, "--data", "{out}/data/problems.jsonl", "--out", out]
    return ["distill", *own, "--max-tokens", "80", *more]


CHAIN = stages("short")
