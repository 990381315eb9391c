"""A step of distillation against transformers and torch's autograd: both models, the loss and its
gradient."""

from copy import copy

import numpy as np
from layout_samples import COUNTS, DISTILLED
from test_gradients import LIMIT, compare
from test_transformers import logprobs_of
from torch_reference import reference


def test_the_gradient_of_the_reverse_divergence(layouts):
    """Nothing but the policy's log-probs of the moment of sampling, which the step was given, comes
    from the step."""
    found = layouts["one"]["teacher"]
    samples = [copy(sample) for sample in found["samples", 2]]
    for sample, logp in zip(samples, logprobs_of(samples, layouts.folder / "teacher"), strict=True):
        np.testing.assert_allclose(sample.teacher_logp, logp, rtol=0, atol=2 * LIMIT)
        sample.teacher_logp = logp
    losses, gradients = reference(DISTILLED["alone"], samples, layouts.folder / "untied")
    for count in COUNTS:
        compare(found["alone", 2, count], losses, gradients)
