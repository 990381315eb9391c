import numpy as np
import pytest

from red_mcore.recipe import Overlong, Reward
from red_mcore.records import Sample
from red_mcore.rewards.terms import last_boxed, overlong_penalty, reward


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so \\boxed{7}", "7"),
        ("\\boxed{1} then \\boxed{\\frac{1}{2}} done", "\\frac{1}{2}"),
        ("\\boxed{1} then \\boxed{2", "1"),
        ("{ \\boxed{3}", "3"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\boxed{a \\boxed{b} c}", "b"),
        ("\\boxed{}", ""),
        ("the answer is 7", None),
        ("\\boxed{" * 8192, None),
    ],
)
def test_last_balanced_box(text, answer):
    assert last_boxed(text) == answer


@pytest.mark.parametrize(
    ("tokens", "limit", "buffer", "penalty"),
    [
        (6192, 8192, 2000, 0.0),
        (6193, 8192, 2000, -0.0005),
        (7192, 8192, 2000, -0.5),
        (8192, 8192, 2000, -1.0),
        (16384, 20480, 4096, 0.0),
        (18432, 20480, 4096, -0.5),
        (20480, 20480, 4096, -1.0),
        (20481, 20480, 4096, -1.0),
    ],
)
def test_overlong_goldens(tokens, limit, buffer, penalty):
    assert overlong_penalty(tokens, limit, buffer) == pytest.approx(penalty)


def test_reward_is_accuracy_plus_penalty_and_spares_traces():
    def sample(**fields):
        return Sample(prompt=np.zeros(3, np.int32), response=np.zeros(90, np.int32), accuracy=1.0, **fields)

    settings = Reward(overlong=Overlong(buffer=20))
    assert reward(sample(), settings, limit=100) == pytest.approx(0.5)
    assert reward(sample(is_offline=True), settings, limit=100) == 1.0
    assert reward(sample(), Reward(), limit=100) == 1.0
