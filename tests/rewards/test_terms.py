import numpy as np
import pytest

from red_mcore.config.recipe import Format, Overlong, Repetition, Reward
from red_mcore.rewards.terms import format_score, overlong_penalty, repetition_share, reward_terms
from red_mcore.samples.records import Sample


@pytest.mark.parametrize(
    ("tokens", "limit", "buffer", "penalty"),
    [
        (6192, 8192, 2000, 0.0),
        (6193, 8192, 2000, -1 / 2000),
        (7192, 8192, 2000, -0.5),
        (8192, 8192, 2000, -1.0),
        (9000, 8192, 2000, -1.0),
        (0, 100, 100, 0.0),
    ],
)
def test_overlong_penalty(tokens, limit, buffer, penalty):
    assert overlong_penalty(tokens, limit, buffer) == penalty


@pytest.mark.parametrize(
    ("text", "opened", "score"),
    [
        ("<think>a</think><answer>b</answer>", False, 1),
        (" <think>a</think>\n\n<answer>b</answer>\n", False, 1),
        ("a</think><answer>b</answer>", True, 1),
        ("<think>a</think><answer>b</answer>", True, 0),  # the template has opened it already
        ("a</think><answer>b</answer>", False, 0),
        ("so <think>a</think><answer>b</answer>", False, 0),
        ("<think>a</think> so <answer>b</answer>", False, 0),
        ("<think>a</think><answer>b</answer> indeed", False, 0),
        ("<think>a<think>b</think><answer>c</answer>", False, 0),
        ("<think>a</think><answer>b</answer><answer>c</answer>", False, 0),
        ("<answer>b</answer><think>a</think>", False, 0),
        ("<think><answer>b</answer></think>", False, 0),
        ("<think>a</think><answer>b", False, 0),
        ("", False, 0),
        ("<think>" * 100_000, False, 0),
    ],
)
def test_format_is_one_block_per_tag(text, opened, score):
    assert format_score(text, ["think", "answer"], opened) == score


def test_repetition_is_the_share_of_windows_seen_before():
    assert repetition_share(np.arange(50), 3) == 0
    assert repetition_share(np.array([1, 2, 3, 1, 2, 3, 1]), 3) == pytest.approx(
        2 / 5
    )  # 123 231 312 123 231
    assert repetition_share(np.zeros(103, np.int32), 4) == pytest.approx(0.99)
    assert repetition_share(np.array([1, 2]), 2) == repetition_share(np.array([]), 2) == 0


@pytest.mark.parametrize(
    ("accuracy", "truncated", "settings", "expected"),
    [
        (1.0, False, Reward(), 1),
        (0.0, False, Reward(), 0),
        (1.0, False, Reward(wrong=-1.0), 1),
        (0.0, False, Reward(wrong=-1.0), -1),
        (0.0, False, Reward(accuracy=2.0, wrong=-0.5), -1),
        (1.0, True, Reward(wrong=-1.0), 1),
        (1.0, True, Reward(truncated="wrong"), 0),
        (1.0, True, Reward(truncated="wrong", wrong=-1.0), -1),
        (1.0, True, Reward(truncated="masked"), 1),
        (1.0, False, Reward(truncated="wrong"), 1),
    ],
)
def test_what_a_wrong_or_cut_off_answer_earns(accuracy, truncated, settings, expected):
    sample = Sample(
        np.zeros(5, np.int32), np.zeros(3, np.int32), accuracy=accuracy, truncated=truncated
    )
    assert reward_terms(sample, settings, limit=128) == {"accuracy": expected}
    assert sample.accuracy == accuracy  # what was measured stays


def test_a_length_penalty_weighs_half_where_wrong_is_minus_one():
    """As in DAPO's code: advantages over the group's deviation, of a right, a wrong and a long
    wrong answer."""
    found = []
    for wrong in (0.0, -1.0):
        settings = Reward(wrong=wrong, overlong=Overlong(buffer=50))
        sizes = ((1.0, 10), (0.0, 10), (0.0, 128))
        samples = [
            Sample(np.zeros(5, np.int32), np.zeros(n, np.int32), accuracy=a) for a, n in sizes
        ]
        rewards = [sum(reward_terms(s, settings, limit=128).values()) for s in samples]
        found.append((rewards[1] - rewards[2]) / (rewards[0] - rewards[1]))
    assert found == [1.0, 0.5]


def test_terms_are_weighted_and_penalties_are_for_rollouts_alone():
    settings = Reward(
        accuracy=2.0,
        format=Format(weight=0.5),
        overlong=Overlong(buffer=50, weight=3.0),
        repetition=Repetition(ngram=4, weight=0.1),
    )
    text = "<think>a</think><answer>b</answer>"
    rollout = Sample(np.zeros(5, np.int32), np.zeros(103, np.int32), text=text, accuracy=1.0)
    terms = reward_terms(rollout, settings, limit=128)
    assert terms == pytest.approx(
        {"accuracy": 2, "format": 0.5, "overlong": -3 * 25 / 50, "repetition": -0.099}
    )
    trace = Sample(
        np.zeros(5, np.int32), np.zeros(103, np.int32), is_offline=True, text=text, accuracy=1.0
    )
    assert reward_terms(trace, settings, limit=128) == {"accuracy": 2.0, "format": 0.5}
    assert reward_terms(rollout, Reward(), limit=128) == {"accuracy": 1.0}
