"""Sources of one's own with repeats, near duplicates, benchmark problems and broken rows among
them."""

import json
import random
from pathlib import Path

NOUNS = (
    "farmer", "baker", "teacher", "river", "lantern", "bicycle", "orchard", "violin", "harbour",
    "ticket", "marble", "basket", "engine", "carpet", "window", "letter", "bridge", "garden",
    "pencil", "market", "doctor", "hammer", "island", "jacket", "kitchen", "ladder", "mirror",
    "needle", "oyster", "parrot", "quarry", "rocket", "saddle", "tunnel", "umbrella", "village",
)  # fmt: skip


def problem(number: int) -> tuple[str, int]:
    """A problem in words of its own and its gold; two have some words in common, never many."""
    rng = random.Random(number)
    some = rng.sample(NOUNS, 16)
    a, b = 100 + number, rng.randrange(3, 90)
    middle = " beside the ".join(some[4:])
    text = (
        f"The {some[0]} has {a} of the {some[1]} and finds {b} more near the {some[2]}, which"
        f" stands beside the {middle}. How many of the {some[1]} does the {some[3]} count?"
    )
    return text, a + b


def row(number: int, **changes: object) -> dict:
    """A row in the columns of chats' predecessors, with a worked solution for a trace."""
    text, gold = problem(number)
    trace = f"Adding them gives \\boxed{{{gold}}}."
    return {"problem": text, "answer": str(gold), "trace": trace, **changes}


def write(file: Path, rows: list) -> None:
    """A row that is a text stands as it is."""
    lines = [one if isinstance(one, str) else json.dumps(one) for one in rows]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
