"""Which traces a run uses of the data's: what is too long gives way to another, and what no step
draws from is let go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from red_mcore.config.recipe import Recipe
from red_mcore.data import choosing, sources
from red_mcore.data.duplicates import Note
from red_mcore.data.problems import Loaded
from red_mcore.planning.intake import learns_from_traces, trace_faults
from red_mcore.samples.records import Problem

if TYPE_CHECKING:
    from red_mcore.megatron.ranks import Ranks


@dataclass
class Unfit:
    """What tokenizing told of the traces of problems that have several."""

    places: dict[int, set[int]] = field(default_factory=dict)
    """Places among a problem's traces of those that another one stands in for, by its id."""
    good: set[int] = field(default_factory=set)
    """Ids of the problems whose chosen trace can be used."""

    @property
    def count(self) -> int:
        """How many traces that would have been chosen are not."""
        return sum(map(len, self.places.values()))


def settle(recipe: Recipe, loaded: Loaded, tokenizer, here: Ranks) -> tuple[Loaded, set[int]]:
    """(The problems with the traces that the run uses, ids of those whose trace is known to be of
    use); a collective.

    The lines of ``loaded`` say what is not used.
    """
    from red_mcore.megatron import ranks

    found = ranks.on_main(here, lambda: unfit(recipe, tokenizer, loaded.training))
    training = []
    for problem in loaded.training:
        without = found.places.get(problem.id, ())
        training.append(choosing.settled(problem, recipe.data, without))
    notes = [*loaded.notes, *_replaced(recipe, found), *unused(recipe, loaded.training)]
    return replace(loaded, training=training, notes=notes), found.good


def unfit(recipe: Recipe, tokenizer, problems: Sequence[Problem]) -> Unfit:
    """The traces that would be chosen but are empty or longer than ``rollout.max_response_tokens``,
    where the problem has another; none where the algorithm does not learn from traces.

    Of ``random`` every trace is looked at, else no more than it takes to find one.
    """
    found, data = Unfit(), recipe.data
    if not learns_from_traces(recipe):
        return found
    asked: list[tuple[Problem, int]] = []
    for problem in problems:
        able = choosing.places(problem.traces, data)
        if data.trace_choice != "random":
            able = able[:1]
        asked += [(problem, place) for place in able]
    while asked:
        following: list[tuple[Problem, int]] = []
        for problem, place in _faulty(recipe, tokenizer, asked, found):
            without = found.places.setdefault(problem.id, set())
            without.add(place)
            able = choosing.places(problem.traces, data, without)
            if not able:  # nothing can stand in for it: whoever counts says why
                del found.places[problem.id]
            elif data.trace_choice != "random":
                following.append((problem, able[0]))
        asked = following
    return found


def _faulty(
    recipe: Recipe, tokenizer, asked: Sequence[tuple[Problem, int]], found: Unfit
) -> list[tuple[Problem, int]]:
    """Those of ``asked`` that cannot be used; ``found.good`` gets the others."""
    tried = [replace(problem, trace=problem.traces[place].text) for problem, place in asked]
    limit = recipe.rollout.max_response_tokens
    faults = trace_faults(tokenizer, tried, limit, recipe.data)
    faulty = []
    for (problem, place), fault in zip(asked, faults, strict=True):
        if fault is None:
            found.good.add(problem.id)
        else:
            faulty.append((problem, place))
    return faulty


def _replaced(recipe: Recipe, found: Unfit) -> list[Note]:
    if not found.count:
        return []
    line = (
        f"{found.count} traces are empty or longer than rollout.max_response_tokens="
        f"{recipe.rollout.max_response_tokens}: others of their problems are used"
    )
    return [Note("traces_replaced", found.count, line)]


def unused(recipe: Recipe, problems: Sequence[Problem]) -> list[Note]:
    """That the algorithm does not learn from the traces of the data, where they have some."""
    if learns_from_traces(recipe) or not sources.training(recipe.data):
        return []
    count = sum(bool(problem.trace or problem.traces) for problem in problems)
    if not count:
        return []
    name = type(recipe.algorithm).__name__
    line = f"the traces of {count} training problems are not used: {name} learns from none"
    return [Note("unused_traces", count, line)]
