"""Which of the data's problems a run can use, and what is told of the others: a few lines, and
``intake.json``."""

from __future__ import annotations

import importlib.metadata
import json
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from red_mcore.checkpoints import fingerprints
from red_mcore.config.recipe import Data, Recipe, RecipeError
from red_mcore.data import conversations, duplicates, sources
from red_mcore.data.duplicates import Note
from red_mcore.data.problems import Loaded
from red_mcore.models.architecture import Architecture
from red_mcore.samples.records import Problem
from red_mcore.system import disk

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterable, Sequence

    from red_mcore.data.formats import Columns
    from red_mcore.megatron.ranks import Ranks
    from red_mcore.rewards.verifier import Verifier

MANY = 0.05
"""Share of golds that cannot be used above which they are hardly accidents."""
TEXTS = 256
"""Traces that are tokenized together."""


def take_in(
    recipe: Recipe,
    loaded: Loaded,
    benchmarks: dict[str, list[Problem]],
    tokenizer,
    verifier: Verifier | None,
    here: Ranks,
    say: Callable[[str], None],
    able: Collection[int] = (),
) -> tuple[list[Problem], list[Problem]]:
    """(training, held-out) problems that are ``usable``, the same on every rank; a collective."""
    from red_mcore.megatron import ranks

    problems = (*loaded.training, *loaded.held_out)
    lengths = [[len(p.trace or ""), *(len(trace.text) for trace in p.traces)] for p in problems]
    content = []
    for p, n in zip(problems, lengths, strict=True):
        content.append([p.id, p.history, p.text, p.gold, n])
    mine = fingerprints.digest(json.dumps(content))
    first = ranks.from_main(mine)
    with ranks.together():
        if mine != first:
            raise RecipeError(
                f"rank {here.rank} has read other problems than rank 0:"
                f" the sources ({_where(recipe)}) have to be the same on every node, and a"
                " function has to give the same rows at every call"
            )

    def kept_here() -> set[int]:
        assert verifier is not None, "rank 0 has one"
        return usable(recipe, loaded, benchmarks, tokenizer, verifier, say, able)

    kept = ranks.on_main(here, kept_here)
    return _only(kept, loaded.training), _only(kept, loaded.held_out)


def _only(ids: set[int], problems: Iterable[Problem]) -> list[Problem]:
    return [problem for problem in problems if problem.id in ids]


def usable(
    recipe: Recipe,
    loaded: Loaded,
    benchmarks: dict[str, list[Problem]],
    tokenizer,
    verifier: Verifier,
    say: Callable[[str], None],
    able: Collection[int] = (),
) -> set[int]:
    """Ids of the problems that the run can use; the others are counted, told and noted in
    ``intake.json``.

    Left out are, beside what ``read_problems`` tells of, training problems that a benchmark asks,
    prompts that are too long and golds that no answer can equal. Raises RecipeError where nothing
    is left. ``able`` as in ``check_traces``.
    """
    notes, where = list(loaded.notes), _where(recipe)
    training = duplicates.apart(loaded.training, chain.from_iterable(benchmarks.values()))
    if known := len(loaded.training) - len(training):
        line = f"left out {known} training problems that are problems of {', '.join(benchmarks)}"
        notes.append(Note("benchmark_in_training", known, line))
    if not training:
        raise RecipeError(f"data.path {where}: no training problem is left: {notes[-1].line}")
    training = fitting(recipe, tokenizer, training, "training", notes)
    held_out = fitting(recipe, tokenizer, loaded.held_out, "held-out", notes)
    bad: set[int] = set()
    if recipe.reward.verdict is None:  # else only the user knows what golds are
        judged = held_out
        if recipe.algorithm.rollouts:  # imitation asks for no gold
            judged = training + held_out
        if recipe.data.conversations:  # whose rows need none
            judged = [p for p in judged if p.gold]
        bad = bad_golds(recipe, verifier, judged, say)
    training = [p for p in training if p.id not in bad]
    held_out = [p for p in held_out if p.id not in bad]
    if not training or not held_out:
        of = "held-out" if training else "training"
        raise RecipeError(
            f"data.path {where}: no {of} problem has a gold that can be used; see the warning above"
        )
    notes += check_traces(recipe, tokenizer, training, able)
    learns_all = not recipe.algorithm.rollouts
    notes += conversations.notes(tokenizer, training, recipe.data, learns_all)
    notes += usable_held_out(recipe, tokenizer, held_out)
    for note in notes:
        say(f"data: {note.line}")
    counts = {"training": len(training), "held_out": len(held_out), "bad_golds": len(bad)}
    for note in notes:  # several sources may have the same to tell
        counts[note.name] = counts.get(note.name, 0) + note.count
    disk.write_atomic(recipe.folder / "intake.json", json.dumps(counts, indent=1) + "\n")
    return {p.id for p in (*training, *held_out)}


def _where(recipe: Recipe) -> str:
    return ", ".join(sources.paths(recipe.data)) or "null"


def learns_from_traces(recipe: Recipe) -> bool:
    """Whether traces join the groups, or are learnt from beside them."""
    return bool(recipe.algorithm.traces or recipe.algorithm.needs_traces)


def check_traces(
    recipe: Recipe, tokenizer, problems: Sequence[Problem], able: Container[int] = ()
) -> list[Note]:
    """How many problems have a trace that can be used, where the algorithm learns from traces; else
    [].

    RecipeError where none has. ``able``: ids of those whose trace was found to be of use before.
    """
    if not learns_from_traces(recipe):
        return []
    limit = recipe.rollout.max_response_tokens
    count, why = _with_usable_trace(recipe, tokenizer, problems, able)
    if not count:
        raise RecipeError(
            f"{type(recipe.algorithm).__name__} learns from traces, but none of the {len(problems)}"
            f" problems has one of at most rollout.max_response_tokens={limit} tokens ({why}):"
            " set data.trace_field, or raise the limit"
        )
    line = f"{count} of {len(problems)} training problems have a trace that can be used"
    if why:
        line += f"; of the others' traces {why}"
    return [Note("usable_traces", count, line)]


def usable_held_out(recipe: Recipe, tokenizer, held_out: Sequence[Problem]) -> list[Note]:
    """How many held-out traces the validation loss can be measured on; [] without validation.

    RecipeError where there is none.
    """
    if recipe.validation is None:
        return []
    count, why = _with_usable_trace(recipe, tokenizer, held_out)
    if not count:
        raise RecipeError(
            f"validation wants traces of held-out problems, but none of the {len(held_out)} has one"
            f" that can be used ({why}): take held-out problems from data with traces"
            " (data.held_out_path), or use validation=null"
        )
    line = f"{count} of {len(held_out)} held-out problems have a trace for the validation loss"
    if why:
        line += f"; of the others' traces {why}"
    return [Note("usable_held_out_traces", count, line)]


def _with_usable_trace(
    recipe: Recipe, tokenizer, problems: Sequence[Problem], able: Container[int] = ()
) -> tuple[int, str]:
    """(number of problems whose trace can be used, why those of the others cannot)."""
    unknown = [problem for problem in problems if problem.id not in able]
    limit = recipe.rollout.max_response_tokens
    faults = Counter(trace_faults(tokenizer, unknown, limit, recipe.data))
    count = faults.pop(None, 0) + len(problems) - len(unknown)
    return count, ", ".join(f"{number} {fault}" for fault, number in faults.items())


def trace_faults(
    tokenizer, problems: Sequence[Problem], limit: int, data: Data
) -> list[str | None]:
    """Why each problem's trace cannot be used, in words that follow a number; None for one that
    can.

    Most lengths are clear from tokenizing many at once; what is about the limit, ``encode_trace``
    decides.
    """
    from red_mcore.data.seams import encode_trace, turns

    some = 16  # tokens that encode_trace may add or take away at the ends
    longer = f"are longer than rollout.max_response_tokens={limit}"
    structure = turns(tokenizer).structure  # what is encoded otherwise than by itself

    def fault(problem: Problem, tokens: int) -> str | None:
        if not problem.trace:
            return "are missing"
        trims = len(problem.trace) - len(problem.trace.strip())
        is_clear = trims < some and not structure.search(problem.trace)
        if is_clear and tokens > limit + some:
            return longer
        if is_clear and some < tokens < limit - some:
            return None
        if encode_trace(tokenizer, problem, limit, data) is not None:
            return None
        # With a limit that nothing exceeds, only a trace without words is none.
        unlimited = max(limit, 2) + len(problem.trace)
        if encode_trace(tokenizer, problem, unlimited, data) is None:
            return "are empty"
        return longer

    faults: list[str | None] = []
    for begin in range(0, len(problems), TEXTS):
        batch = problems[begin : begin + TEXTS]
        texts = [p.trace or "" for p in batch]
        ids = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        faults += [fault(problem, len(tokens)) for problem, tokens in zip(batch, ids, strict=True)]
    return faults


def bad_golds(
    recipe: Recipe, verifier: Verifier, problems: list[Problem], say: Callable[[str], None]
) -> set[int]:
    """Ids of the problems whose gold no answer can equal; told, and kept in the run folder for the
    next start.

    They are left out: every sample of theirs would be wrong, whatever it says.
    """
    file = recipe.folder / "bad_golds.json"
    text = json.dumps(
        [importlib.metadata.version("math-verify"), [[p.id, p.gold, p.kind] for p in problems]]
    )
    golds = fingerprints.digest(text)
    rows = _judged_before(file, golds, say)
    if rows is None:
        rows = []
        for p, fault in zip(problems, verifier.gold_faults(problems), strict=True):
            if fault:
                row = {"id": p.id, "problem": p.text, "gold": p.gold, "fault": fault}
                rows.append(row if p.name is None else row | {"name": p.name})
        found = {"golds": golds, "digest": fingerprints.digest(json.dumps(rows)), "rows": rows}
        disk.write_atomic(file, json.dumps(found, indent=1) + "\n")
    if not rows:
        return set()
    commonest = Counter(row["fault"] for row in rows).most_common(3)
    faults = ", ".join(f"{count} {fault}" for fault, count in commonest)
    say(
        f"red_mcore: warning: left out {len(rows)} of {len(problems)} problems whose gold"
        f" cannot be used, listed in {file}: {faults}; the first: {rows[0]['gold'][:60]!r}"
    )
    if (share := len(rows) / len(problems)) > MANY:
        say(
            f"red_mcore: warning: that is {share:.0%} of all golds: does data.gold_field="
            f"{recipe.data.gold_field or 'null'} name the column of the answers?"
        )
    return {row["id"] for row in rows}


def _judged_before(
    file: Path, golds: str, say: Callable[[str], None]
) -> list[dict[str, Any]] | None:
    """The rows that an earlier start kept, where it judged the same golds; else None."""
    try:
        found = disk.read_object(file) or {}
        is_whole = found.get("digest") == fingerprints.digest(json.dumps(found.get("rows")))
        if not is_whole and "digest" in found:  # an older version wrote none
            raise disk.Damaged(f"{file} is damaged (its rows do not match their checksum)")
    except disk.Damaged as error:
        say(f"red_mcore: warning: {error}: the golds are judged anew")
        return None
    if not is_whole or found.get("golds") != golds:
        return None
    return found["rows"]


def load_benchmarks(
    recipe: Recipe, arch: Architecture, tokenizer, columns: Columns = frozenset()
) -> tuple[dict[str, list[Problem]], int]:
    """The problems with these columns, and the tokens that the longest prompt and its response
    need; ({}, 0) where none are asked for.

    RecipeError where the model has fewer positions.
    """
    from red_mcore.evaluation import asking, benchmarks

    settings = recipe.evaluation.benchmarks
    if settings is None:
        return {}, 0
    protocol = settings.protocol
    found = {}
    for name in settings.names:
        found[name] = benchmarks.load(name, settings.data, protocol.seed, settings.limit, columns)
    encoded = asking.prompts(tokenizer, found, protocol)
    asking.check_lengths(
        encoded, protocol, arch.max_positions, "the model's max_position_embeddings"
    )
    return found, max(map(len, encoded.values())) + protocol.max_tokens


def fitting(
    recipe: Recipe, tokenizer, problems: list[Problem], what: str, notes: list[Note]
) -> list[Problem]:
    """The problems whose prompt fits ``rollout.max_prompt_tokens``; ``notes`` gets how many
    ``what`` ones do not."""
    from red_mcore.data.seams import encode_prompt

    limit = recipe.rollout.max_prompt_tokens
    fitting = [p for p in problems if len(encode_prompt(tokenizer, p, recipe.data)) <= limit]
    if not fitting:
        raise RecipeError(
            f"rollout.max_prompt_tokens={limit}: none of the {len(problems)} {what} problems fits;"
            " raise it"
        )
    if left_out := len(problems) - len(fitting):
        line = (
            f"left out {left_out} of {len(problems)} {what} problems:"
            f" longer than rollout.max_prompt_tokens={limit}"
        )
        notes.append(Note(f"{what.replace('-', '_')}_too_long", left_out, line))
    return fitting
