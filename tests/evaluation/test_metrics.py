import itertools
import math

import numpy as np
import pytest

from red_mcore.evaluation.metrics import score, told
from red_mcore.samples.records import Group, Problem, Sample

NUMBERS = itertools.count()


def group(*accuracies: int, length: int = 4, truncated: bool = False) -> Group:
    prompt, response = np.zeros(2, np.int32), np.zeros(length, np.int32)
    rollouts = [
        Sample(
            prompt, response, verdict=("wrong", "correct")[a], reward=2 * a - 1, truncated=truncated
        )
        for a in accuracies
    ]
    trace = Sample(prompt, np.zeros(99, np.int32), is_offline=True, verdict="correct", reward=9.0)
    return Group(Problem(id=next(NUMBERS), text="", gold=""), [trace, *rollouts])


def test_scores_count_rollouts_alone():
    found = score(
        [group(1, 0, 0, 0), group(0, 0, 0, 0), group(1, 1, 1, 1, length=10, truncated=True)]
    )
    assert found == pytest.approx(
        {
            "evaluation/pass1": 1.25 / 3,
            "evaluation/pass1_stderr": 0.3004626,  # sample deviation of .25, 0, 1 over sqrt(3)
            "evaluation/pass4": 2 / 3,
            "evaluation/reward_mean": 2 * 5 / 12 - 1,
            "evaluation/length_tokens": 6.0,
            "evaluation/truncated": 1 / 3,
            "evaluation/unparsable": 0.0,
            "evaluation/timeout": 0.0,
            "evaluation/crash": 0.0,
        },
        abs=1e-6,
    )


def test_results_are_told_in_a_line_each():
    found = score(
        [group(1, 0, 0, 0), group(0, 0, 0, 0), group(1, 1, 1, 1, length=10, truncated=True)]
    )
    assert told(found) == ["held-out pass@1 0.417 ± 0.300  pass@4 0.667  6 tokens, 33.3% cut off"]
    found |= {
        "evaluation/AMC_mean": 0.5,
        "evaluation/AMC_pass8": 0.7,
        "evaluation/average_mean": 0.25,
    }
    found |= {"evaluation/AMC_stderr": 0.1}
    assert told(found, ["AMC", "AIME24"])[1:] == ["AMC 0.500 ± 0.100  average 0.250"]
    assert told(score([group(1, 0)]))[0].startswith("held-out pass@1 0.500  pass@2 1.000")


def test_one_problem_has_no_standard_error():
    assert math.isnan(score([group(1, 0)])["evaluation/pass1_stderr"])
