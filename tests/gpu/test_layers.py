"""Layers on a GPU: against transformers in float32, the others against float32, and the estimates
of memory."""

from pathlib import Path

import numpy as np
import pytest
import torch
from launching import launch
from layout_samples import GRID, apart
from torch_reference import reference

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available(),
        reason="needs an NVIDIA GPU: torch.cuda.is_available() is false",
    ),
]


@pytest.fixture(scope="session")
def found(tmp_path_factory) -> dict:
    """The findings of gpu_program.py; ``folder`` has the model."""
    out = tmp_path_factory.mktemp("gpu")
    launch(Path(__file__).parent / "gpu_program.py", 1, out, on_gpu=True)
    return {**torch.load(out / "gpu.pt", weights_only=False), "folder": out}


def section(found: dict, name: str) -> dict:
    assert not isinstance(found[name], str), found[name]
    return found[name]


def test_float32_equals_transformers(found):
    samples, update = section(found, "updates")["float32"]
    losses, gradients = reference(GRID["red"], samples, found["folder"] / "small")
    assert {name: update.metrics[f"loss/{name}"] for name in losses} == pytest.approx(
        losses, rel=1e-4
    )
    assert apart(update.gradients, gradients) < 1e-4


def test_bfloat16_and_fp8_are_near_float32(found):
    """Log-probs in nats, gradients relative; Transformer Engine rounds no worse than torch does."""
    gaps, slopes = {}, {}
    updates = section(found, "updates")
    exact, expected = updates["float32"]
    limits = {
        "local": (0.02, 0.05),
        "te": (0.02, 0.05),
        "tensorwise": (0.2, 0.35),
        "blockwise": (0.2, 0.35),
    }
    for kind in updates.keys() - {"float32"}:
        samples, update = updates[kind]
        gap = np.concatenate(
            [np.abs(a.old_logp - b.old_logp) for a, b in zip(samples, exact, strict=True)]
        ).mean()
        slope = apart(update.gradients, expected.gradients)
        gaps[kind], slopes[kind] = gap, slope
        print(f"{kind:12s} log-probs {gap:.4f} nats, gradients {slope:.4f}")
        assert gap < limits[kind][0], kind
        assert slope < limits[kind][1], kind
    if "te" in gaps:
        assert gaps["te"] < 1.2 * gaps["local"]
        assert slopes["te"] < 1.2 * slopes["local"]


def test_checkpoints_load_under_other_layers(found):
    for (saved_as, loaded_as), (saved, loaded, went_on, resumed) in section(
        found, "checkpoints"
    ).items():
        for name, weight in saved.items():
            np.testing.assert_array_equal(
                loaded[name], weight, err_msg=f"{saved_as} -> {loaded_as}: {name}"
            )
        change = {name: went_on[name] - saved[name] for name in saved}
        difference = {name: resumed[name] - saved[name] for name in saved}
        limit = 1e-5 if saved_as == loaded_as else 0.1
        print(f"{saved_as} -> {loaded_as}: changes {apart(difference, change):.5f} apart")
        assert apart(difference, change) < limit, (saved_as, loaded_as)


def test_offload_changes_nothing_and_frees(found):
    cases = section(found, "offload")
    for kind in {kind for kind, _ in cases}:
        (kept, with_state), (moved, without) = cases[kind, False], cases[kind, True]
        assert apart(moved, kept) < 1e-5, kind
        per_weight = 8 if kind == "float32" else 12
        assert with_state - without > 0.95 * per_weight * sum(
            weight.size for weight in kept.values()
        ), kind


def test_estimates_of_memory(found):
    for arm, (estimate, measured) in section(found, "memory").items():
        expected = {
            "state": estimate.weights + estimate.gradients + estimate.optimizer,
            "work": estimate.activations + max(estimate.recomputed, estimate.logits),
            "step": estimate.step,
        }
        print(
            arm,
            {
                name: (round(expected[name] / 2**20), round(size / 2**20))
                for name, size in measured.items()
            },
        )
    for arm, (estimate, measured) in section(found, "memory").items():
        state = estimate.weights + estimate.gradients + estimate.optimizer
        peak = state + max(
            estimate.activations + max(estimate.recomputed, estimate.logits), estimate.step
        )
        assert peak == pytest.approx(
            measured["state"] + max(measured["work"], measured["step"]), rel=0.15
        ), arm
