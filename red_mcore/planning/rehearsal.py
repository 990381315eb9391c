"""What a dry run sees of what a run would be given: problems, tokenizer, one prompt with its
tokens, the tracker.

A process of its own looks, in which transformers does without torch: tokenizers are there in a
third of the time. Nothing is fetched; what only a hub has is said to be unknown. Of many problems
some are looked at, the shortest and the longest among them, so that what none of those is, hardly
any is.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

from red_mcore.config.loading import load
from red_mcore.config.recipe import Data, Recipe, RecipeError
from red_mcore.data import choosing, conversations, files, formats, sources
from red_mcore.data.problems import ARITHMETIC_PROBLEMS, Loaded, read_problems
from red_mcore.planning import intake, trace_use
from red_mcore.planning.plan import find_architecture
from red_mcore.samples.records import Problem, Turns
from red_mcore.system import apart
from red_mcore.tracking import addresses

LOOKED_AT = 300
"""Problems whose tokens are counted; a second."""
LARGE = 50 * 2**20
"""Bytes of data above which only their beginning is read."""
BEGINNING = 2000
"""Rows of it."""
SHOWN_TEXT, SHOWN_TOKENS = 600, 60
"""The most characters and tokens of the prompt that is shown."""

S = TypeVar("S", str, list[str])


class Rehearsal:
    """What a run of the recipe would see, which another process looks at meanwhile; with its
    context that ends."""

    def __init__(self, file: str, overrides: Sequence[str]) -> None:
        self._asked = apart.Asked("red_mcore.planning.rehearsal", file, *overrides)

    def seen(self) -> list[str]:
        """Lines on it; RecipeError where the run could not use it."""
        try:
            return self._asked.answer()
        except apart.Unanswered as end:
            raise RecipeError(f"model and data cannot be looked at: {end}") from None

    def __enter__(self) -> Rehearsal:
        return self

    def __exit__(self, *error: object) -> None:
        self._asked.__exit__(*error)


def lines(recipe: Recipe) -> list[str]:
    """The same in this process."""
    from red_mcore.data.tokenizer import load_tokenizer

    told: list[str] = []
    addresses.reach(recipe.tracking)
    model, data = recipe.model, recipe.data
    loaded = _load(data, told.append)
    is_here = model.path is None or Path(model.path).is_dir()
    try:
        tokenizer = load_tokenizer(model, data.template_arguments)
    except RecipeError:
        if is_here:
            raise
        return [*told, f"tokenizer: known once {model.path} is fetched"]
    architecture = find_architecture(recipe)
    if architecture is not None and len(tokenizer) > architecture.vocab_size:
        raise RecipeError(
            f"model.config.vocab_size={architecture.vocab_size} does not hold the tokenizer's"
            f" {len(tokenizer)} tokens"
        )
    if loaded is None:
        return told
    told += _lengths(recipe, tokenizer, loaded)
    return told + _example(recipe, tokenizer, loaded.training)


def _load(data: Data, tell: Callable[[str], None]) -> Loaded | None:
    """The problems that can be looked at; None where the data are not here."""
    paths = [path for path in sources.paths(data) if not files.is_function(path)]
    if absent := [path for path in paths if not Path(path).exists()]:
        tell(f"data: known once {', '.join(absent)} is fetched")
        return None
    if (size := sum(_size(Path(path)) for path in paths)) > LARGE:
        if len(sources.paths(data)) > 1 or not files.is_file(paths[0]):
            told = f"{size >> 20} MiB in several files; read when a run starts"
            tell(f"data: {', '.join(paths)}: {told}")
            return None
        problems = _beginning(data)
        tell(
            f"data: {data.path} has {size >> 20} MiB; of its first {BEGINNING} rows"
            f" {len(problems)} can be used"
        )
        return Loaded(problems, problems)
    if is_drawn := not sources.training(data):  # as many as are looked at are enough
        count = data.problems or ARITHMETIC_PROBLEMS
        tell(
            f"data: {count} training problems of the built-in arithmetic, {data.held_out} held out"
        )
        data = replace(data, problems=min(count, LOOKED_AT), held_out=min(data.held_out, LOOKED_AT))
    loaded = read_problems(data, data.seed)
    if not is_drawn:
        tell(f"data: {len(loaded.training)} training problems, {len(loaded.held_out)} held out")
    for note in loaded.notes:
        tell(f"data: {note.line}")
    return loaded


def _size(path: Path) -> int:
    """Bytes of a file, or of all in a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _beginning(data: Data) -> list[Problem]:
    layout = formats.find(files.columns(data, BEGINNING), data, sources.path(data))
    found: list[Problem] = []
    for where, row in islice(files.rows(data, layout.used()), BEGINNING):
        history: Turns = ()
        if data.conversations:
            row, history = conversations.opened(row, layout.problem, where)
        content = formats.read(layout, row, where)
        gold = conversations.gold_of(content, data)
        if content.text is not None and gold is not None:
            problem = choosing.problem_of(content, gold, len(found), data)
            found.append(replace(problem, history=history))
    if not found:
        raise RecipeError(
            f"data.path {data.path}: none of the first {BEGINNING} rows has a problem and a gold"
        )
    return found


def _lengths(recipe: Recipe, tokenizer, loaded: Loaded) -> list[str]:
    """Tokens of prompts and traces, against the recipe's limits."""
    from red_mcore.data.seams import encode_prompt

    told = []
    limit = recipe.rollout.max_prompt_tokens
    for what, problems in (("training", loaded.training), ("held-out", loaded.held_out)):
        some = _spread(problems, lambda problem: problem.text)
        if not some:
            continue
        counts = sorted(len(encode_prompt(tokenizer, problem, recipe.data)) for problem in some)
        if counts[0] > limit:
            raise RecipeError(
                f"rollout.max_prompt_tokens={limit}: none of the {len(some)} {what} problems"
                f" looked at fits, their prompts have {counts[0]} to {counts[-1]} tokens; raise it"
            )
        beyond = len(counts) - bisect_right(counts, limit)
        are = "is" if beyond == 1 else "are"
        line = (
            f"{what} prompts: {counts[0]} to {counts[-1]} tokens; {beyond or 'none'} of"
            f" {len(some)} looked at {are} longer than rollout.max_prompt_tokens={limit}"
        )
        if beyond:
            line += ", to be left out"
        told.append(line)
    if intake.learns_from_traces(recipe):
        with_trace = [problem for problem in loaded.training if problem.trace]
        some = _spread(with_trace, lambda problem: problem.trace or "") or loaded.training
        places = trace_use.unfit(recipe, tokenizer, some).places
        some = [choosing.chosen(one, recipe.data, places.get(one.id, ())) for one in some]
        learns_all = not recipe.algorithm.rollouts
        about = conversations.notes(tokenizer, some, recipe.data, learns_all)
        told += [note.line for note in about]
        (note,) = intake.check_traces(recipe, tokenizer, some)
        line = note.line.replace("training problems", "looked at")
        told.append(
            f"traces: {len(with_trace)} of {len(loaded.training)} training problems have one;"
            f" {line}"
        )
    told += [note.line for note in trace_use.unused(recipe, loaded.training)]
    told += [note.line for note in intake.usable_held_out(recipe, tokenizer, loaded.held_out)]
    return told


def _spread(problems: Sequence[Problem], text: Callable[[Problem], str]) -> list[Problem]:
    """LOOKED_AT of the problems, the shortest and the longest among them."""
    ordered = sorted(problems, key=lambda problem: len(text(problem)))
    if len(ordered) <= LOOKED_AT:
        return ordered
    return [ordered[i * (len(ordered) - 1) // (LOOKED_AT - 1)] for i in range(LOOKED_AT)]


def _example(recipe: Recipe, tokenizer, problems: Sequence[Problem]) -> list[str]:
    """One prompt as text and as tokens, and what ``seams.example`` tells."""
    from red_mcore.data.seams import encode_prompt, example, stop_ids_of

    ids = encode_prompt(tokenizer, problems[0], recipe.data).tolist()
    pieces = [repr(tokenizer.decode([token], clean_up_tokenization_spaces=False)) for token in ids]
    text = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    stops = stop_ids_of(tokenizer, Path(recipe.model.path or ""))
    has_traces = intake.learns_from_traces(recipe)
    about = example(tokenizer, problems[:BEGINNING], recipe.data, stops, has_traces)
    return [
        f"one prompt, {len(ids)} tokens: {_cut(repr(text), SHOWN_TEXT, ' ... ')}",
        f"  its tokens: {' '.join(_cut(pieces, SHOWN_TOKENS, ['...']))}",
        *(f"  {line}" for line in about),
    ]


def _cut(whole: S, most: int, mark: S) -> S:
    """``whole``, or its beginning and its end."""
    if len(whole) <= most:
        return whole
    return whole[: most // 2] + mark + whole[-(most // 2) :]


def _lines_of(file: str, *overrides: str) -> list[str]:
    recipe = load(file, overrides)
    apart.without_torch()
    return lines(recipe)


if __name__ == "__main__":
    sys.exit(apart.answer(_lines_of))
