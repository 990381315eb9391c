"""Users' functions, by import path ``package.module:function``: terms of the reward, and the
verdict.

A function is given by name what its parameters ask for: ``problem``, ``gold``, ``response``
(texts), ``tokens`` (their number in the response), and every column of the problem's row in the
data; with ``**columns`` all of them. One that has no parameter ``response``, and room for four,
gets these four in this order, and columns by the names of the others.

They are imported and called in children of a ``Pool`` alone: what runs here in a child ends in
``attempt``.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.util
import inspect
import math
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, NamedTuple, NoReturn

from red_mcore.config.recipe import RecipeError, Reward
from red_mcore.data.formats import Columns
from red_mcore.rewards.answers import verdict_of
from red_mcore.rewards.pool import TIMEOUT, Pool
from red_mcore.samples.records import Problem

VERDICT, TERM = "reward.verdict", "reward.functions"
"""The fields of a recipe that name functions."""
GIVEN = ("problem", "gold", "response", "tokens")
WORDS = ("correct", "wrong", "unparsable")
"""Verdicts that a function may return, beside true and false."""
TRIED = 3
"""Problems on which a function is tried before anything is started."""
_SHOWN = 4000
"""Characters of a traceback, its last ones."""


class Call(NamedTuple):
    """What a function may ask for."""

    problem: str
    gold: str
    response: str
    tokens: int
    columns: Mapping[str, Any] | None = None
    """Cells of the problem's row."""


class _Asked(NamedTuple):
    """What a function's parameters want."""

    by_position: bool
    """The four of GIVEN, in order."""
    names: tuple[str, ...]
    """What else is given by name."""
    needed: tuple[str, ...]
    """The ``names`` that have no default."""
    everything: bool
    """Whether the function takes ``**columns``."""


def named(reward: Reward) -> list[tuple[str, str]]:
    """(field of the recipe, import path) of every function of the user's."""
    found = [(TERM, path) for path in reward.functions]
    if reward.verdict is not None:
        found.insert(0, (VERDICT, reward.verdict))
    return found


def check_path(field: str, path: str) -> None:
    """RecipeError where ``path`` is no import path, or its package is missing; imports nothing."""
    module, _, name = path.partition(":")
    if not all(map(str.isidentifier, (*module.split("."), name))):
        raise RecipeError(f"{field}: '{path}' is no import path: write package.module:function")
    if module == "__main__" or importlib.util.find_spec(module.split(".")[0]) is None:
        raise RecipeError(
            f"{field}: no module '{module}' for '{path}': install it or set PYTHONPATH"
        )


def columns(reward: Reward) -> Columns:
    """Columns of a problem's row that the functions ask for. RecipeError as in ``try_out``."""
    if not reward.paths:
        return frozenset()
    with _pool(reward) as pool:
        return _columns(pool, reward)


def try_out(reward: Reward, read: Callable[[Columns], Mapping[str, Sequence[Problem]]]) -> None:
    """Import each function and call it, in a child, with plausible responses to some problems.

    ``read`` gives the problems, with these columns, by where they are from: the training data
    first, then what the verdict alone is asked of. TRIED of each are enough; without any, functions
    are only imported.

    RecipeError, one line, for a function that cannot be imported, asks for what there is not, or
    fails whatever it is called with; the first failure's traceback goes to stderr. One that fails
    on some is told, and passes.
    """
    if not reward.paths:
        return
    with _pool(reward) as pool:
        sources = read(_columns(pool, reward))
        for field, path in named(reward):
            for source, problems in sources.items():
                _try(pool, field, path, source, problems)
                if field == TERM:
                    break  # it is asked of the training data alone, which come first


def _try(pool: Pool, field: str, path: str, source: str, problems: Sequence[Problem]) -> None:
    what = "verdict" if field == VERDICT else "term"
    failures: list[str] = []
    for call in _calls(problems[:TRIED]):
        how, failure = _ask(pool, what, path, call)
        if how == "done":
            break
        failures.append(failure)
        if how == TIMEOUT:  # the others would cost as much
            _refuse(field, path, failure, f" with a problem of {source}")
    else:
        if failures:
            when = f" on each of the {len(failures)} calls tried with problems of {source}"
            _refuse(field, path, failures[0], when)
    if failures:
        print(
            f"red_mcore: warning: {field} '{path}' fails with some responses, for one so:\n"
            f"{failures[0]}",
            file=sys.stderr,
        )


def _pool(reward: Reward) -> Pool:
    return Pool(attempt, 1, reward.timeout_seconds, begin=functools.partial(load, reward.paths))


def _columns(pool: Pool, reward: Reward) -> Columns:
    wanted: set[str] = set()
    wants_all = False
    for field, path in named(reward):
        how, value = _ask(pool, "asks", path)
        if how != "done":
            _refuse(field, path, value)
        names, everything = value
        wanted.update(names)
        wants_all = wants_all or everything
    return None if wants_all else frozenset(wanted)


def _calls(problems: Sequence[Problem]) -> list[Call]:
    """Responses to each problem: its trace, if any; a text with the gold boxed; the box alone."""
    found = []
    for problem in problems:
        boxed = f"\\boxed{{{problem.gold}}}"
        for text in (problem.trace, f"Let me think.\n\nThe answer is {boxed}.", boxed):
            if text:
                tokens = max(1, len(text) // 4)
                found.append(Call(problem.text, problem.gold, text, tokens, problem.columns))
    return found


def _ask(pool: Pool, what: str, path: str, *arguments: Any) -> tuple[str, Any]:
    """("done", result), or ("failed" or "timeout", why)."""
    ((how, value),) = pool.run([(what, path, *arguments)])
    return outcome(how, value)


def _refuse(field: str, path: str, failure: str, when: str = "") -> NoReturn:
    """RecipeError with the last line of a function's failure, after its traceback."""
    *trace, last = failure.splitlines()
    if trace:
        print(f"{field} '{path}':\n{failure}", file=sys.stderr)
    raise RecipeError(f"{field}: '{path}' fails{when}: {last}")


def outcome(how: str, value: Any) -> tuple[str, Any]:
    """("done", result) or ("failed" or "timeout", why), of what ``Pool.run`` returns."""
    if how == "done":
        result, failure = value
        return ("done", result) if failure is None else ("failed", failure)
    if how == TIMEOUT:
        return TIMEOUT, (
            "it was ended: it took more than reward.timeout_seconds of CPU time, or waited for much"
            " longer"
        )
    return "failed", f"its process died: {value}"


def load(paths: Sequence[str]) -> None:
    """Imports the functions before a child's first task, so that no call is charged for it."""
    for path in paths:
        with suppress(Exception, SystemExit):  # they come again with the call, which tells them
            _asked(path)


def attempt(what: str, path: str, *arguments: Any) -> tuple[Any, str | None]:
    """The outcome in a child: (result, None), or (None, the traceback of the user's part of the
    failure).

    ``asks``: (names of columns, whether all are wanted); ``term``: a finite number; ``verdict``: a
    word of WORDS. The latter two of a ``Call``.
    """
    try:
        return _KINDS[what](path, *arguments), None
    except (Exception, SystemExit) as error:
        return None, _told(error)


def _asks(path: str) -> tuple[list[str], bool]:
    asked = _asked(path)
    return [name for name in asked.names if name not in GIVEN], asked.everything


def _term(path: str, call: Sequence) -> float:
    value = _called(path, Call(*call))
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{_where(path)} returned {value!r:.60}, want a finite number")
    return number


def _verdict(path: str, call: Sequence) -> str:
    value = _called(path, Call(*call))
    if isinstance(value, str):
        if value in WORDS:
            return value
    elif value is not None and value in (0, 1):  # booleans, also of numpy
        return verdict_of(bool(value))
    raise ValueError(
        f"{_where(path)} returned {value!r:.60}, want true or false, or one of {', '.join(WORDS)}"
    )


_KINDS: dict[str, Callable[..., Any]] = {"asks": _asks, "term": _term, "verdict": _verdict}


def _called(path: str, call: Call) -> Any:
    function, asked = _imported(path), _asked(path)
    cells = call.columns or {}
    everything = {
        **cells,
        "problem": call.problem,
        "gold": call.gold,
        "response": call.response,
        "tokens": call.tokens,
    }
    missing = next((name for name in asked.needed if name not in everything), None)
    if missing is not None:
        raise TypeError(
            f"{_where(path)} asks for '{missing}', which is none of {', '.join(GIVEN)} and no"
            f" column of the data (columns here: {', '.join(sorted(cells)) or 'none'})"
        )
    if not asked.everything:
        everything = {name: everything[name] for name in asked.names if name in everything}
    if not asked.by_position:
        return function(**everything)
    for name in GIVEN:
        everything.pop(name, None)
    return function(*call[: len(GIVEN)], **everything)


@functools.cache
def _imported(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    found = importlib.import_module(module)
    function = getattr(found, name, None)
    if not callable(function):
        others = [other for other, value in vars(found).items() if callable(value)]
        near = difflib.get_close_matches(name, others, n=1, cutoff=0.0)
        nearest = f"; nearest is '{near[0]}'" if near else ""
        raise AttributeError(
            f"module {module} ({found.__file__}) has no function '{name}'{nearest}"
        )
    return function


@functools.cache
def _asked(path: str) -> _Asked:
    function = _imported(path)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # of C code, whose parameters cannot be told
        return _Asked(True, (), (), False)
    kinds = inspect.Parameter
    ordered: list[str] = []
    by_name: dict[str, inspect.Parameter] = {}
    takes_more = takes_columns = False
    for parameter in parameters:
        if parameter.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD):
            ordered.append(parameter.name)
        if parameter.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY):
            by_name[parameter.name] = parameter
        takes_more = takes_more or parameter.kind is kinds.VAR_POSITIONAL
        takes_columns = takes_columns or parameter.kind is kinds.VAR_KEYWORD
    has_room = len(ordered) >= len(GIVEN) or takes_more
    by_position = has_room and "response" not in by_name
    if by_position:
        for name in ordered[: len(GIVEN)]:
            by_name.pop(name, None)
    needed = [name for name, parameter in by_name.items() if parameter.default is kinds.empty]
    return _Asked(by_position, tuple(by_name), tuple(needed), takes_columns)


def _where(path: str) -> str:
    """The path, with file and line of the function where they can be told."""
    function = inspect.unwrap(_imported(path))
    try:
        file, line = inspect.getsourcefile(function), inspect.getsourcelines(function)[1]
    except (OSError, TypeError):
        return path
    return f"{path} ({file} line {line})"


def _told(error: BaseException) -> str:
    """The traceback from where it enters the user's code."""
    trace = error.__traceback__
    while trace is not None and _is_ours(trace):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace)).strip()[-_SHOWN:]


def _is_ours(trace: TracebackType) -> bool:
    file = trace.tb_frame.f_code.co_filename
    return file in (__file__, importlib.__file__) or file.startswith("<frozen importlib")
