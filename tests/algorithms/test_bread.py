from itertools import accumulate

import numpy as np
import pytest

from red_mcore.algorithms.bread import BREAD, AnchorSearch
from red_mcore.config.recipe import Batch, Model, Recipe, RecipeError
from red_mcore.data.episodes import split
from red_mcore.samples.records import Group, Problem, Sample

RATES = {1: 0, 2: 0, 3: 0, 4: 0.125, 5: 0.25, 6: 0.5, 7: 0.75, 8: 1, 9: 1}
"""Share of right rollouts of eight after so many of ten episodes."""
TRACE = "".join(f"Step {i}.\n" for i in range(1, 10)) + "\\boxed{10}"
PROMPT, RESPONSE = np.zeros(3, np.int32), np.zeros(2, np.int32)


def problem(number: int, trace: str | None = TRACE) -> Problem:
    return Problem(number, "", "", trace)


def rolled(asked: Problem, right: int, count: int = 8) -> Group:
    return Group(
        asked,
        [Sample(PROMPT, RESPONSE, accuracy=i < right, reward=i < right) for i in range(count)],
    )


def episodes_of(asked: Problem, characters: int) -> int:
    """How many leading episodes of ten have so many characters."""
    ends = list(accumulate(len(episode) for episode in split(asked.trace, 10)))
    return ends.index(characters) + 1


class Policy:
    """Continues each problem with the shares of right rollouts given for it;
    notes what was asked in each round."""

    def __init__(self, **rates: dict[int, float]):
        self.rates = {int(name[1:]): shares for name, shares in rates.items()}
        self.rounds: list[list[tuple[int, int]]] = []
        self.groups: dict[tuple[int, int], Group] = {}

    def __call__(self, problems, characters):
        leading = [episodes_of(p, count) for p, count in zip(problems, characters, strict=True)]
        self.rounds.append([(p.id, k) for p, k in zip(problems, leading, strict=True)])
        for p, k in zip(problems, leading, strict=True):
            found = self.rates[p.id]
            self.groups[p.id, k] = rolled(p, round(8 * found[k])) if found else Group(p, [])
        return [self.groups[asked] for asked in self.rounds[-1]]


def search(
    rates: dict[int, float], episodes: int, low: float, high: float
) -> tuple[list[int], int | None]:
    found, probes = AnchorSearch(episodes, low, high), []
    while found.probe is not None:
        probes.append(found.probe)
        found.tell(rates[found.probe])
    return probes, found.anchor


@pytest.mark.parametrize(("band", "anchor"), [((0.125, 0.875), 4), ((0.25, 0.75), 5)])
def test_the_shortest_prefix_in_the_band_is_found(band, anchor):
    assert search(RATES, 10, *band) == ([5, 2, 3, 4], anchor)


@pytest.mark.parametrize(
    ("rates", "episodes", "expected"),
    [
        (dict.fromkeys(range(1, 10), 0), 10, ([5, 7, 8, 9], 9)),
        (dict.fromkeys(range(1, 10), 1), 10, ([5, 2, 1, 9], 9)),
        ({k: float(k > 6) for k in range(1, 10)}, 10, ([5, 7, 6, 9], 9)),
        ({5: 0, 7: 1, 6: 0, 9: 0.5}, 10, ([5, 7, 6, 9], 9)),
        ({5: 0, 7: 0, 8: 0.5}, 10, ([5, 7, 8], 8)),
        ({1: 1, 2: 1}, 3, ([1, 2], 2)),
        ({1: 1}, 2, ([1], 1)),
        ({}, 1, ([], None)),
    ],
)
def test_with_nothing_in_the_band_all_episodes_but_the_last_are_given(rates, episodes, expected):
    assert search(rates, episodes, 0.125, 0.875) == expected


def test_unsolved_groups_search_together_and_train_on_their_anchors():
    policy = Policy(p1=RATES, p3=dict.fromkeys(range(1, 10), 0), p4=None, p6={2: 1, 1: 0.5})
    groups = [
        rolled(problem(0), 1),
        rolled(problem(1), 0),
        rolled(problem(2, None), 0),
        rolled(problem(3), 0),
        rolled(problem(4), 0),  # the sampler finds its trace too long
        rolled(problem(5, "\\boxed{1}"), 0),
        rolled(problem(6, "One.\nTwo.\nThree.\nFour.\n\\boxed{5}"), 0),
    ]
    before = list(groups)
    algorithm = BREAD()
    branched, metrics = algorithm.branch(groups, {}, 0, policy)
    assert groups == before
    first = [(1, 5), (3, 5), (4, 5), (6, 2)]
    assert policy.rounds == [first, [(1, 2), (3, 7), (6, 1)], [(1, 3), (3, 8)], [(1, 4), (3, 9)]]
    anchors = {1: (1, 4), 3: (3, 9), 6: (6, 1)}
    for index, group in enumerate(branched):
        assert group is (policy.groups[anchors[index]] if index in anchors else groups[index])
    assert metrics == {
        "groups/branched": 3,
        "groups/probed": 10,
        "bread/rounds": 4,
        "bread/anchor_mean": pytest.approx((0.4 + 0.9 + 0.2) / 3),
    }
    kept, _ = algorithm.compose(branched, {}, 0)
    assert [g.problem.id for g in kept] == [0, 1, 6]


def test_nothing_is_sampled_where_every_group_has_a_right_rollout():
    groups = [rolled(problem(0), 1), rolled(problem(1), 8)]
    policy = Policy()
    assert BREAD().branch(groups, {}, 0, policy) == (
        groups,
        {"groups/branched": 0, "groups/probed": 0, "bread/rounds": 0},
    )
    assert policy.rounds == []


def test_the_band_of_the_recipe_is_obeyed():
    policy = Policy(p1=RATES)
    (group,), metrics = BREAD(band_low=0.25, band_high=0.75).branch(
        [rolled(problem(1), 0)], {}, 0, policy
    )
    assert group is policy.groups[1, 5]
    assert metrics["bread/anchor_mean"] == 0.5


@pytest.mark.parametrize("count", [2, 3, 7, 8, 49])
def test_by_default_any_mix_of_right_and_wrong_is_in_the_band(count):
    low, high = BREAD().band(count)
    assert [right for right in range(count + 1) if low <= right / count <= high] == list(
        range(1, count)
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"band_low": 0.0}, "band_low=0, band_high=0.875: want a band between 0 and 1"),
        ({"band_high": 1.0}, "band_low=0.125, band_high=1: "),
        (
            {"band_low": 0.3, "band_high": 0.35},
            "batch.samples_per_prompt=8 rollouts, as 0.125 to 0.875 does",
        ),
        ({"band_low": 0.7, "band_high": 0.3}, "band_low=0.7, band_high=0.3: "),
    ],
)
def test_settings_under_which_no_anchor_could_teach_are_refused(settings, message):
    recipe = Recipe("x", Model(), BREAD(**settings), batch=Batch(samples_per_prompt=8))
    with pytest.raises(RecipeError) as error:
        recipe.algorithm.check(recipe)
    assert message in str(error.value)
    BREAD(band_low=0.2, band_high=0.8).check(recipe)
