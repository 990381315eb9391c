"""Distillation from a teacher of another shape gives the same gradients and weights under every
layout."""

import numpy as np
import pytest
from layout_samples import COUNTS, DEEP, DISTILLED
from test_layouts import SPLIT, TOLERANCE, same


@pytest.mark.parametrize("kind", DISTILLED)
@pytest.mark.parametrize("layout", [*SPLIT, "pp4_virtual2"])
def test_layouts(layouts, layout, kind):
    depth = DEEP if "virtual" in layout else 2
    found, expected = (layouts[name]["teacher"] for name in (layout, "one"))
    for ours, theirs in zip(found["samples", depth], expected["samples", depth], strict=True):
        np.testing.assert_allclose(
            ours.teacher_logp, theirs.teacher_logp, rtol=0, atol=2 * TOLERANCE
        )
    same(found[kind, depth, 4], expected[kind, depth, 4])


@pytest.mark.parametrize("count", COUNTS[1:])
def test_micro_batches(layouts, count):
    found = layouts["one"]["teacher"]
    same(found["alone", 2, count], found["alone", 2, 1])


def test_a_teacher_takes_part(layouts):
    """The two models think differently of the tokens, and RED with a teacher learns something else
    than without."""
    one = layouts["one"]
    gaps = [s.old_logp - s.teacher_logp for s in one["teacher"]["samples", 2]]
    assert np.abs(np.concatenate(gaps)).mean() > 0.5
    found, plain = one["teacher"]["added", 2, 4], one["updates"]["red in one pass", False, 4]
    name = "model.layers.0.mlp.up_proj.weight"
    assert np.abs(found.gradients[name] - plain.gradients[name]).max() > 1e-3
