"""BREAD: branched rollouts from expert anchors (arXiv 2506.17211).

    some rollout of a group is right   GRPO
    none is                            cut the trace into episodes, roll out again after the first k of them, train on
                                       that group alone: the smallest k whose share of right rollouts is in a band

k is found by binary search, each probe a whole group; the chosen probe's rollouts are those that are trained on. The
episodes given are context like the prompt: no loss on them, and ratios and advantages are those of the continuations.
As the policy improves, k shrinks. The last episode, with the answer, is never given; where no probe falls into the band
all others are, and if that group teaches nothing it is dropped. Without a usable trace a group stays as it is.

Band and rollouts per probe are choices made here: any mix of right and wrong, for it teaches, and as many as a group
has. There is no KL term unless ``kl_coefficient`` asks for one.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Annotated, ClassVar

from red_mcore.algorithms.base import Continue
from red_mcore.algorithms.grpo import GRPO
from red_mcore.config.fields import Bound, Fraction
from red_mcore.config.recipe import Recipe, RecipeError
from red_mcore.data.episodes import split
from red_mcore.samples.records import Group


@dataclass
class BREAD(GRPO):
    """GRPO with anchors; no traces among the samples."""

    episodes: Annotated[int, Bound(2, 10**4, unit="episodes")] = 10
    """Parts that a trace is cut into; a short one into as many as it has."""
    band_low: Fraction | None = None
    """Least share of right rollouts that an anchor may have; None is 1/G for groups of G rollouts."""
    band_high: Fraction | None = None
    """Largest share; None is (G - 1)/G."""

    needs_traces: ClassVar[bool] = True

    def check(self, recipe: Recipe) -> None:
        super().check(recipe)
        count = recipe.batch.samples_per_prompt
        low, high = self.band(count)
        if not (low > 0 and high < 1 and any(low <= right / count <= high for right in range(1, count))):
            raise RecipeError(
                f"algorithm.band_low={low:.3g}, band_high={high:.3g}: want a band between 0 and 1 that holds a share"
                f" of batch.samples_per_prompt={count} rollouts, as {1 / count:.3g} to {1 - 1 / count:.3g} does"
            )

    def band(self, count: int) -> tuple[float, float]:
        """Smallest and largest share of right rollouts, of ``count``, that an anchor may have."""
        low = 1 / count if self.band_low is None else self.band_low
        return low, (count - 1) / count if self.band_high is None else self.band_high

    def branch(self, groups: list[Group], sample_after: Continue) -> tuple[list[Group], dict[str, float]]:
        """Every group without a right rollout sampled anew after its anchor; all search together, a probe per round.

        ``sample_after`` gives a group without samples to a problem whose trace cannot be used.
        """
        out = list(groups)
        searches = {
            index: AnchorSearch(len(split(group.problem.trace, self.episodes)), *self.band(len(group.rollouts)))
            for index, group in enumerate(groups)
            if group.problem.trace and not _right(group)
        }
        probed: dict[int, dict[int, Group]] = {index: {} for index in searches}
        rounds = 0
        while asked := [(i, s.probe) for i, s in searches.items() if s.probe is not None]:
            rounds += 1
            found = sample_after([groups[i].problem for i, _ in asked], [leading for _, leading in asked])
            for (index, leading), group in zip(asked, found, strict=True):
                if group.rollouts:
                    probed[index][leading] = group
                    searches[index].tell(_right(group))
                else:
                    del searches[index]
        anchors = {index: search for index, search in searches.items() if search.anchor is not None}
        for index, search in anchors.items():
            out[index] = probed[index][search.anchor]
        probes = sum(map(len, probed.values()))
        metrics = {"groups/branched": len(anchors), "groups/probed": probes, "bread/rounds": rounds}
        if anchors:
            metrics["bread/anchor_mean"] = statistics.fmean(s.anchor / s.episodes for s in anchors.values())
        return out, metrics


class AnchorSearch:
    """Binary search for the fewest leading episodes after which the share of right rollouts is in a band."""

    def __init__(self, episodes: int, low: float, high: float) -> None:
        """``low`` and ``high`` belong to the band; all but the last of ``episodes`` may be given."""
        self.episodes = episodes
        self.anchor: int | None = None
        """Episodes to give: once ``probe`` is None the result, None where there is a single episode."""
        self._low, self._high = low, high
        self._least, self._most = 1, episodes - 1
        self.probe: int | None = episodes // 2 or None
        """Episodes after which to sample next; None at the end."""

    def tell(self, share: float) -> None:
        """The share of right rollouts after ``probe`` episodes."""
        given = self.probe
        if share < self._low:
            self._least = given + 1
        else:
            self._most = min(self._most, given - 1)
            if share <= self._high:
                self.anchor = given
        if self._least <= self._most:
            self.probe = (self._least + self._most) // 2
        elif self.anchor is None and given < self.episodes - 1:
            self.probe = self.episodes - 1
        else:
            self.probe = None
            self.anchor = self.anchor or given


def _right(group: Group) -> float:
    """Share of right rollouts."""
    return statistics.fmean(s.accuracy for s in group.rollouts)
