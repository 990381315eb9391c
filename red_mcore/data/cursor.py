"""Where training stands in the data: epochs of seeded shuffles, resumable to the same order."""

from __future__ import annotations

import random
from typing import Any

from red_mcore.recipe import RecipeError


class Cursor:
    """Deals the indices ``0..count-1`` in a new seeded order each epoch; no index comes twice within an epoch.

    An epoch's order follows from (seed, epoch) alone, so the state is three numbers however large the data is.
    """

    def __init__(self, count: int, seed: int) -> None:
        if count < 1:
            raise RecipeError(f"no training problems to draw from (count={count})")
        self.count = count
        self.seed = seed
        self.epoch = 0
        self.position = 0
        """Indices of this epoch already dealt."""
        self._order = self._shuffled(0)

    def next(self, k: int) -> list[int]:
        """The next ``k`` indices; a batch may run over the end of an epoch into the next one."""
        dealt: list[int] = []
        while len(dealt) < k:
            if self.position == self.count:
                self.epoch, self.position = self.epoch + 1, 0
                self._order = self._shuffled(self.epoch)
            taken = self._order[self.position : self.position + k - len(dealt)]
            self.position += len(taken)
            dealt += taken
        return dealt

    def state(self) -> dict[str, Any]:
        """JSON-able; ``restore`` continues from it exactly."""
        return {"count": self.count, "seed": self.seed, "epoch": self.epoch, "position": self.position}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where ``state`` was taken. Raises RecipeError if that was with other data or another seed."""
        for name in ("count", "seed"):
            if state[name] != getattr(self, name):
                raise RecipeError(
                    f"the checkpoint's data cursor has {name}={state[name]}, this recipe gives {getattr(self, name)}: "
                    f"resume with the data and seed of the checkpoint, or start a run of another name"
                )
        self.epoch, self.position = state["epoch"], state["position"]
        self._order = self._shuffled(self.epoch)

    def _shuffled(self, epoch: int) -> list[int]:
        order = list(range(self.count))
        random.Random(f"{self.seed}/{epoch}").shuffle(order)
        return order
