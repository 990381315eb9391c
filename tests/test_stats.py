import math
import statistics

import numpy as np
import pytest

from red_mcore.stats import majority, mean_and_error, paired_bootstrap, pass_at_k


@pytest.mark.parametrize(("k", "expected"), [(1, 0.125), (8, 0.70450501), (32, 1.0)])
def test_pass_at_k(k, expected):
    assert pass_at_k(32, 4, k) == pytest.approx(expected, abs=1e-8)


def test_pass_at_more_than_was_sampled_is_refused():
    with pytest.raises(ValueError, match="pass@33 needs at least 33 samples, there are 32"):
        pass_at_k(32, 4, 33)


def test_pass_at_k_is_unbiased():
    """Mean over many draws of n samples against the truth, 1 - (1 - p)^k."""
    generator = np.random.default_rng(0)
    for p, k in ((0.1, 4), (0.5, 2), (0.03, 16)):
        counts = generator.binomial(16, p, 20_000)
        estimates = [pass_at_k(16, int(c), k) for c in counts]
        error = statistics.stdev(estimates) / len(estimates) ** 0.5
        assert statistics.fmean(estimates) == pytest.approx(1 - (1 - p) ** k, abs=4 * error)


def test_the_error_is_the_spread_of_repeated_evaluations():
    """Benchmarks drawn anew, problems and samples: the reported error against the deviation of the
    reported means."""
    generator = np.random.default_rng(1)
    means, errors = [], []
    for _ in range(4000):
        difficulty = generator.beta(0.5, 1.0, 30)
        values = generator.binomial(8, difficulty) / 8
        mean, error = mean_and_error(values.tolist())
        means.append(mean)
        errors.append(error**2)
    assert statistics.fmean(errors) ** 0.5 == pytest.approx(statistics.stdev(means), rel=0.05)
    mean, error = mean_and_error([0.25])
    assert mean == 0.25
    assert math.isnan(error)


def test_the_bootstrap_is_the_spread_of_paired_differences():
    """Two models on the same problems: its error and interval against the truth."""
    generator = np.random.default_rng(2)
    differences, errors, covered = [], [], 0
    for seed in range(400):
        hard = generator.beta(1.0, 1.0, 60)
        better = np.clip(hard + 0.1, 0, 1)
        values = generator.binomial(4, better) / 4 - generator.binomial(4, hard) / 4
        mean, error, low, high = paired_bootstrap(values, resamples=1000, seed=seed)
        assert mean == pytest.approx(values.mean())
        differences.append(mean)
        errors.append(error)
        truth = 0.1 - 0.1**2 / 2  # what clipping at 1 leaves of a tenth
        covered += low <= truth <= high
    assert statistics.fmean(errors) == pytest.approx(statistics.stdev(differences), rel=0.1)
    assert 0.9 <= covered / 400 <= 0.98
    # Unpaired errors would be much larger: how hard the problems are cancels out.
    apart = (2 * (1 / 12 + 1 / 6 / 4) / 60) ** 0.5
    assert statistics.fmean(errors) < 0.8 * apart


def test_the_bootstrap_repeats_itself_whatever_it_holds_at_a_time():
    values = np.random.default_rng(3).normal(size=900)
    assert paired_bootstrap(values) == paired_bootstrap(values)
    assert paired_bootstrap([0.5] * 7) == (0.5, 0.0, 0.5, 0.5)


@pytest.mark.parametrize(
    ("answers", "correct", "share"),
    [
        (["7", "7", "8"], [True, True, False], 1.0),
        (["7", "8", "8"], [True, False, False], 0.0),
        (["7", "8"], [True, False], 0.5),
        (["7", "8", "9", None, None, None], [True, False, False] + [False] * 3, 1 / 3),
        ([None, None], [False, False], 0.0),
        (["7", "7"], [True, False], 0.5),  # one verdict ran out of time
    ],
)
def test_majority(answers, correct, share):
    assert majority(answers, correct) == pytest.approx(share)
