"""Sections of a recipe: the problems."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from red_mcore.config.fields import Bound, Fraction, Place, PositiveWeight, Problems, Prose, Seed


@dataclass
class Arithmetic:
    """Built-in verifiable task: chains of one-digit operations modulo 10
    (``red_mcore.data.arithmetic``)."""

    operations: Annotated[int, Bound(1, 22, unit="operations")] = 5
    """Operations per problem."""
    # A teacher that re-checks almost for ever never fits into its limit, and is drawn again
    # without end.
    recheck: Annotated[float, Bound(0, 0.8)] = 0.45
    """Chance that the teacher re-checks a step once more (geometric)."""
    slip: Fraction = 0.03
    """Chance that the teacher errs in a step and repairs it at once."""
    leap: Fraction = 0.08
    """Chance that the teacher does two operations in its head in one go."""
    world: Seed = 0
    """Seed of the misconceptions that the base corpus plants about the operations * and @."""


@dataclass
class Source:
    """One of the sources of a mixture."""

    path: str = ""
    """File, folder, hub name or function, as ``data.path``."""
    weight: PositiveWeight = 1.0
    """Share of the training prompts, against the other sources' weights, however many problems
    there are."""
    split: str = "train"
    """Split of a hub data set."""
    subset: str | None = None
    """Configuration of a hub data set that has several, e.g. ``main``."""
    problem_field: str | None = None
    """Column of the problem, as ``data.problem_field``."""
    gold_field: str | None = None
    """Column of the right answer, as ``data.gold_field``."""
    trace_field: str | None = None
    """Column of the teacher's trace, as ``data.trace_field``."""
    problems: Problems | None = None
    """Use at most this many training problems, the first."""


@dataclass
class Data:
    """Training problems: a file (JSON lines or list, CSV, TSV, parquet), a folder of such, a hub
    name, a function that gives rows, or (``path`` None) the built-in arithmetic.

    Columns, ``split``, ``subset``, ``problems`` and the held-out source are of the recipe's own
    data: an override that names another ``path``, or a ``mixture``, does without them.
    """

    path: Place | None = None
    """File, folder, hub name or function of the training problems; None is the built-in arithmetic.
    A function is named by its import path, ``package.module:function``; it takes nothing and gives
    one mapping of columns for each row, the same at every call."""
    mixture: list[Source] = field(default_factory=list)
    """Several sources in the place of ``path``, e.g. ``[{path: a.jsonl, weight: 3}, {path:
    b.parquet}]``. Each is dealt in epochs of its own; what is dealt in n prompts is within 1 of
    each source's share."""
    split: str = "train"
    """Split of a hub data set."""
    subset: str | None = None
    """Configuration of a hub data set that has several, e.g. ``main``."""
    problem_field: str | None = None
    """Column of the problem: a text, or a chat of one user turn; None recognises the formats in
    ``red_mcore.data.formats``. Here and in the next two a dot goes into an object and brackets into
    a list: ``reward_model.ground_truth``, ``messages[1].content``."""
    gold_field: str | None = None
    """Column of the right answer; None recognises the formats."""
    trace_field: str | None = None
    """Column of the teacher's trace; None recognises the formats. One trace that is named, such as
    ``generations[0]``, is taken as it stands."""
    trace_choice: Literal["first", "random", "shortest_verified", "longest"] = "first"
    """Which of a problem's traces a step uses: the ``first`` that is marked right, else the first
    of which nothing is known; a ``random`` one in each epoch (in lessons on traces alone, in each
    lesson); the ``shortest_verified`` of those that are marked right; the ``longest``. None that is
    known to be wrong or cut off is used, nor one that is longer than
    ``rollout.max_response_tokens``."""
    trace_sources: list[str] = field(default_factory=list)
    """Teachers of whom traces are used, as the data name them; empty for all."""
    problems: Problems | None = None
    """Use at most this many problems (arithmetic: make this many)."""
    held_out: Problems = 512
    """Different problems kept for evaluation, taken from the end of a file (arithmetic: drawn
    apart; a mixture: its share from the end of each source), or the first of ``held_out_path``.
    Training has none of them, wherever else they are."""
    held_out_path: Place | None = None
    """File, folder, hub name or function that the held-out problems come from; training has none of
    its problems, also where ``held_out`` uses only some. The ``*_field`` columns count where it has
    them, else formats are recognised."""
    held_out_split: str = "test"
    """Split of a hub data set of held-out problems."""
    held_out_subset: str | None = None
    """Configuration of a hub data set of held-out problems; None is ``subset`` where training
    problems and held-out ones are of one data set."""
    seed: Seed = 0
    """Seed of the built-in arithmetic; apart from the run's, so that runs of many seeds share their
    problems."""
    system_prompt: Prose[str | None] = None
    """Text of the system turn; None gives no such turn, so that the chat template's own default, if
    it has one, applies."""
    instruction: Prose[str] = ""
    """Text put after each problem in the user turn."""
    template_arguments: Prose[dict[str, Any]] = field(default_factory=dict)
    """Arguments of the chat template, such as ``enable_thinking`` of Qwen3's; they become its
    defaults in the run's model folder and in exports."""
    arithmetic: Arithmetic = field(default_factory=Arithmetic)
