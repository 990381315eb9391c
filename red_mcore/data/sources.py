"""Where problems come from: one source, several by weight, and a source of held-out problems of its
own.

Each is read as ``data.path`` is, by a ``Data`` that names it alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

from red_mcore.config.recipe import Data, RecipeError

HELD_OUT = "data.held_out_"
"""What the fields of the source of held-out problems begin with."""


def training(data: Data) -> list[tuple[Data, str]]:
    """The sources of training problems, in order, and what the fields of each begin with in the
    recipe.

    None where they are the built-in arithmetic.
    """
    if not data.mixture:
        return [] if data.path is None else [(data, "data.")]
    found = []
    for i, source in enumerate(data.mixture):
        fields = asdict(source)
        del fields["weight"]
        found.append((replace(data, mixture=[], **fields), f"data.mixture[{i}]."))
    return found


def held_out(data: Data) -> Data | None:
    """The source of held-out problems; None where they are taken from those of training."""
    place, subset = data.held_out_path, data.held_out_subset
    if place is None:
        return None
    if place == data.path and subset is None:  # another split of the same data
        subset = data.subset
    return replace(
        data, path=place, mixture=[], split=data.held_out_split, subset=subset, problems=None
    )


def paths(data: Data) -> list[str]:
    """The paths of all sources."""
    apart = held_out(data)
    found = [path(part) for part, _ in training(data)]
    if apart is not None:
        found.append(path(apart))
    return found


def path(source: Data) -> str:
    """The path of a source, which is not the built-in arithmetic."""
    assert source.path is not None
    return source.path


@contextmanager
def named(name: str) -> Iterator[None]:
    """What is said in the block of a source, by the fields of ``data``, is said by its own, which
    begin with ``name``.

    Columns are named in ``data`` also for held-out problems.
    """
    try:
        yield
    except RecipeError as error:
        own = "path|subset|split"
        if name != HELD_OUT:
            own += r"|\w+_field"
        raise RecipeError(re.sub(rf"(?<![\w./-])data\.(?=(?:{own})\b)", name, str(error))) from None


def check(data: Data) -> None:
    """RecipeError for settings that contradict each other."""
    if data.held_out_path is not None and data.path is None and not data.mixture:
        raise RecipeError(
            f"data.held_out_path={data.held_out_path}: the built-in arithmetic draws its held-out"
            " problems itself: set data.path, too, or use null"
        )
    if not data.mixture:
        return
    if data.path is not None:
        raise RecipeError(
            f"data.path={data.path} and data.mixture exclude each other: put all sources into the"
            " latter"
        )
    if data.problems is not None:
        raise RecipeError(
            f"data.problems={data.problems} does not say of which source: set problems in"
            " data.mixture, or use null"
        )
    for i, source in enumerate(data.mixture):
        name = f"data.mixture[{i}]."
        if not source.path:
            raise RecipeError(
                f"{name}path is missing: name a file, folder, hub name or package.module:function"
            )
        if not 0 < source.weight < float("inf"):
            raise RecipeError(
                f"{name}weight={source.weight} is not a positive number: use one above 0"
            )
        if source.problems is not None and source.problems < 1:
            raise RecipeError(f"{name}problems={source.problems}: want 1 or more, or null for all")
    for name in ("problem_field", "gold_field", "trace_field", "subset"):
        if getattr(data, name) is not None and data.held_out_path is None:
            raise RecipeError(
                f"data.{name}={getattr(data, name)} is of no source of data.mixture: set it there"
            )
