"""BREAD: branched rollouts from expert anchors (arXiv 2506.17211).

    some rollout of a group is right   GRPO
    none is                            cut the trace into episodes, roll out again after the first k
                                       of them, train on that group alone: the smallest k whose
                                       share of right rollouts is in a band

k is found by binary search, each probe a whole group; the chosen probe's rollouts are those that
are trained on. The episodes given are context like the prompt: no loss on them, and ratios and
advantages are those of the continuations. As the policy improves, k shrinks. The last episode,
with the answer, is never given; where no probe falls into the band all others are, and if that
group teaches nothing it is dropped. Without a usable trace a group stays as it is.

Band and rollouts per probe are choices made here: any mix of right and wrong, for it teaches, and
as many as a group has. There is no KL term unless ``kl_coefficient`` asks for one.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Annotated

from red_mcore.algorithms.base import Metrics, State
from red_mcore.algorithms.grpo import GRPO
from red_mcore.algorithms.mixins import Branching, SampleAfter
from red_mcore.config.fields import Bound, Fraction
from red_mcore.config.recipe import Recipe, RecipeError
from red_mcore.data.episodes import split
from red_mcore.samples.records import Group


@dataclass
class BREAD(Branching, GRPO):
    """GRPO with anchors; no traces among the samples."""

    episodes: Annotated[int, Bound(2, 10**4, unit="episodes")] = 10
    """Parts that a trace is cut into; a short one into as many as it has."""
    band_low: Fraction | None = None
    """Least share of right rollouts that an anchor may have; None is 1/G for groups of G
    rollouts."""
    band_high: Fraction | None = None
    """Largest share; None is (G - 1)/G."""

    def check(self, recipe: Recipe) -> None:
        super().check(recipe)
        count = recipe.batch.samples_per_prompt
        low, high = self.band(count)
        holds_a_share = any(low <= right / count <= high for right in range(1, count))
        if not (low > 0 and high < 1 and holds_a_share):
            raise RecipeError(
                f"algorithm.band_low={low:.3g}, band_high={high:.3g}: want a band between 0 and 1"
                f" that holds a share of batch.samples_per_prompt={count} rollouts, as"
                f" {1 / count:.3g} to {1 - 1 / count:.3g} does"
            )

    def band(self, count: int) -> tuple[float, float]:
        """Smallest and largest share of right rollouts, of ``count``, that an anchor may have."""
        low, high = self.band_low, self.band_high
        if low is None:
            low = 1 / count
        if high is None:
            high = (count - 1) / count
        return low, high

    def branch(
        self, groups: list[Group], state: State, step: int, sample_after: SampleAfter
    ) -> tuple[list[Group], Metrics]:
        """Every group without a right rollout sampled anew after its anchor; all search together,
        a probe per round."""
        searches = []
        for place, group in enumerate(groups):
            if group.problem.trace and not _right(group):
                episodes = split(group.problem.trace, self.episodes)
                band = self.band(len(group.rollouts))
                searches.append(_Branch(place, episodes, AnchorSearch(len(episodes), *band)))
        rounds = 0
        while going := [branch for branch in searches if branch.search.probe is not None]:
            rounds += 1
            problems = [groups[branch.place].problem for branch in going]
            found = sample_after(problems, [branch.characters for branch in going])
            for branch, group in zip(going, found, strict=True):
                branch.take(group)
        out, anchors = list(groups), []
        for branch in searches:
            anchor = branch.search.anchor
            if anchor is not None:
                out[branch.place] = branch.probed[anchor]
                anchors.append(anchor / branch.search.episodes)
        probes = sum(len(branch.probed) for branch in searches)
        metrics: Metrics = {
            "groups/branched": len(anchors),
            "groups/probed": probes,
            "bread/rounds": rounds,
        }
        if anchors:
            metrics["bread/anchor_mean"] = statistics.fmean(anchors)
        return out, metrics


@dataclass
class _Branch:
    """The search for one group's anchor."""

    place: int
    """The group's, in the step."""
    episodes: list[str]
    search: AnchorSearch
    probed: dict[int, Group] = field(default_factory=dict)
    """Episodes given -> the group that was sampled after them."""

    @property
    def characters(self) -> int:
        """The length of the episodes that the next probe gives."""
        return sum(len(episode) for episode in self.episodes[: self.search.probe])

    def take(self, group: Group) -> None:
        """The group that the probe gave: without rollouts where the trace cannot be used."""
        if group.rollouts:
            given = self.search.probe
            assert given is not None  # else nothing was asked
            self.probed[given] = group
            self.search.tell(_right(group))
        else:
            self.search.give_up()


class AnchorSearch:
    """Binary search for the fewest leading episodes after which the share of right rollouts is in
    a band."""

    def __init__(self, episodes: int, low: float, high: float) -> None:
        """``low`` and ``high`` belong to the band; all but the last of ``episodes`` may be
        given."""
        self.episodes = episodes
        self.anchor: int | None = None
        """Episodes to give: once ``probe`` is None the result, None where there is a single
        episode."""
        self._low, self._high = low, high
        self._least, self._most = 1, episodes - 1
        self.probe: int | None = episodes // 2 or None
        """Episodes after which to sample next; None at the end."""

    def give_up(self) -> None:
        """End without an anchor."""
        self.probe = self.anchor = None

    def tell(self, share: float) -> None:
        """The share of right rollouts after ``probe`` episodes."""
        given = self.probe
        assert given is not None  # the search goes on
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
