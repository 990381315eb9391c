"""Loss and every gradient against transformers and torch's autograd."""

import numpy as np
import pytest
from family_models import FAMILIES
from layout_samples import GRID, Update
from torch_reference import reference

LIMIT = 1e-5


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", GRID)
def test_loss_and_gradients(layouts, kind, tied):
    grid = layouts["one"]["grid"]
    folder = layouts.folder / ("tied" if tied else "untied")
    losses, gradients = reference(GRID[kind], grid["samples", kind, tied], folder)
    compare(grid[kind, tied, 4], losses, gradients)


@pytest.mark.parametrize("name", FAMILIES)
def test_families(layouts, name):
    found = layouts["one"]["families"][name]
    compare(found["update"], *reference(GRID["red"], found["samples"], layouts.folder / name))


def compare(update: Update, losses: dict[str, float], gradients: dict[str, np.ndarray]) -> None:
    metrics, _, found = update
    assert metrics["loss/total"] == pytest.approx(sum(losses.values()), rel=LIMIT, abs=LIMIT)
    assert {name: metrics[f"loss/{name}"] for name in losses} == pytest.approx(
        losses, rel=LIMIT, abs=LIMIT
    )
    assert found.keys() == gradients.keys()
    for name, gradient in gradients.items():
        atol = LIMIT * np.abs(gradient).max()
        np.testing.assert_allclose(found[name], gradient, rtol=0, atol=atol, err_msg=name)
