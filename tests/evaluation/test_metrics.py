import math

import numpy as np
import pytest

from red_mcore.evaluation.metrics import score
from red_mcore.records import Group, Problem, Sample


def group(*accuracies: float, length: int = 4, truncated: bool = False) -> Group:
    prompt, response = np.zeros(2, np.int32), np.zeros(length, np.int32)
    rollouts = [Sample(prompt, response, accuracy=a, truncated=truncated) for a in accuracies]
    trace = Sample(prompt, np.zeros(99, np.int32), is_offline=True, accuracy=1.0)
    return Group(Problem(id=0, text="", gold=""), [trace, *rollouts])


def test_scores_count_rollouts_alone():
    found = score([group(1, 0, 0, 0), group(0, 0, 0, 0), group(1, 1, 1, 1, length=10, truncated=True)])
    assert found == pytest.approx(
        {
            "evaluation/pass1": 1.25 / 3,
            "evaluation/pass1_stderr": 0.3004626,  # sample deviation of .25, 0, 1 over sqrt(3)
            "evaluation/pass4": 2 / 3,
            "evaluation/length_tokens": 6.0,
            "evaluation/truncated": 1 / 3,
            "evaluation/unparsable": 0.0,
            "evaluation/timeout": 0.0,
            "evaluation/crash": 0.0,
        },
        abs=1e-6,
    )


def test_one_problem_has_no_standard_error():
    assert math.isnan(score([group(1, 0)])["evaluation/pass1_stderr"])
