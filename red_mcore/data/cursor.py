"""Where training stands in the data: epochs of seeded shuffles, resumable to the same order."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from red_mcore.config.recipe import Data, RecipeError
from red_mcore.samples.records import Problem


def over(problems: Sequence[Problem], data: Data, seed: int) -> Cursor | Mixture:
    """What deals the training problems of ``data``."""
    if not data.mixture:
        return Cursor(len(problems), seed)
    counts = np.bincount([p.source for p in problems], minlength=len(data.mixture)).tolist()
    return Mixture(counts, [source.weight for source in data.mixture], seed)


def largest_due(weights: Sequence[float], dealt: Sequence[int]) -> int:
    """The source that lacks the most to its share, the next deal included; the first of several."""
    share = (sum(dealt) + 1) / sum(weights)
    return max(range(len(weights)), key=lambda i: share * weights[i] - dealt[i])


class Cursor:
    """Deals the indices ``0..count-1`` in a new seeded order each epoch; no index comes twice
    within an epoch.

    An epoch's order follows from (seed, epoch) alone, so the state is three numbers however large
    the data is.
    """

    def __init__(self, count: int, seed: int | str) -> None:
        if count < 1:
            raise RecipeError(f"no training problems to draw from (count={count})")
        self.count = count
        self.seed = seed
        self.epoch = 0
        self.position = 0
        """Indices of this epoch already dealt."""
        self._order = self._shuffled(0)

    @property
    def dealt(self) -> int:
        """Indices of all epochs already dealt."""
        return self.epoch * self.count + self.position

    def next(self, k: int) -> list[int]:
        """The next ``k`` indices; a batch may run over the end of an epoch into the next one."""
        return [index for index, _ in self.deal(k)]

    def deal(self, k: int) -> list[tuple[int, int]]:
        """``next``, each index with the epoch that it is dealt in."""
        dealt: list[tuple[int, int]] = []
        while len(dealt) < k:
            if self.position == self.count:
                self.epoch, self.position = self.epoch + 1, 0
                self._order = self._shuffled(self.epoch)
            taken = self._order[self.position : self.position + k - len(dealt)]
            self.position += len(taken)
            dealt += [(index, self.epoch) for index in taken]
        return dealt

    def state(self) -> dict[str, Any]:
        """JSON-able; ``restore`` continues from it exactly."""
        return {name: getattr(self, name) for name in ("count", "seed", "epoch", "position")}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where ``state`` was taken; RecipeError if with other data or another seed."""
        for name in ("count", "seed"):
            if state[name] != getattr(self, name):
                raise RecipeError(
                    f"the checkpoint's data cursor has {name}={state[name]}, this recipe gives"
                    f" {getattr(self, name)}: resume with the data and seed of the checkpoint, or"
                    " start a run of another name"
                )
        self.epoch, self.position = state["epoch"], state["position"]
        self._order = self._shuffled(self.epoch)

    def _shuffled(self, epoch: int) -> list[int]:
        # A text as the seed gives the same order in every process.
        order = list(range(self.count))
        random.Random(f"{self.seed}/{epoch}").shuffle(order)
        return order


class Mixture:
    """Deals indices of several sources, one behind the other, by weight; each source is dealt in
    epochs of its own.

    Which source is next follows from the weights and what is dealt: no chance is in it, and at any
    moment the numbers are as close to the shares as whole numbers come. The state is that of the
    sources' cursors.
    """

    def __init__(self, counts: Sequence[int], weights: Sequence[float], seed: int) -> None:
        self._cursors: list[Cursor] = []
        for i, count in enumerate(counts):
            if not count:
                raise RecipeError(
                    f"data.mixture[{i}]: no training problem of it can be used; see the lines above"
                )
            self._cursors.append(Cursor(count, f"{seed}/source-{i}"))
        # Where each source begins among the problems of all, which follow one another.
        self._begins = [0, *accumulate(counts)]
        self._weights = weights

    def next(self, k: int) -> list[int]:
        """The next ``k`` indices."""
        return [index for index, _ in self.deal(k)]

    def deal(self, k: int) -> list[tuple[int, int]]:
        """``next``, each index with the epoch of its source."""
        found = []
        for _ in range(k):
            source = largest_due(self._weights, [cursor.dealt for cursor in self._cursors])
            ((index, epoch),) = self._cursors[source].deal(1)
            found.append((self._begins[source] + index, epoch))
        return found

    def state(self) -> dict[str, Any]:
        """JSON-able; ``restore`` continues from it exactly."""
        return {"sources": [cursor.state() for cursor in self._cursors]}

    def restore(self, state: dict[str, Any]) -> None:
        """The same as of a ``Cursor``."""
        for cursor, its_state in zip(self._cursors, state["sources"], strict=True):
            cursor.restore(its_state)
