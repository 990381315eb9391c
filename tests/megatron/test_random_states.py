import json
import random

import numpy as np
import pytest
import torch
from megatron.core.tensor_parallel import get_cuda_rng_tracker
from poison import Runs

from red_mcore.checkpoints import random_states
from red_mcore.config.recipe import RecipeError


def draw() -> list[float]:
    tracked = torch.Generator()
    tracked.set_state(get_cuda_rng_tracker().get_states()["region"])
    return [
        random.random(),
        random.gauss(0, 1),  # one more is made on the way, and kept
        np.random.normal(),
        float(torch.rand(1)),
        float(torch.rand(1, generator=tracked)),
    ]


@pytest.fixture
def seeded():
    before = random_states.current()
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    get_cuda_rng_tracker().set_states({"region": torch.Generator().manual_seed(4).get_state()})
    draw()
    yield
    get_cuda_rng_tracker().reset()
    random.setstate((before["python"][0], tuple(before["python"][1]), before["python"][2]))


def earlier() -> dict:
    """As an earlier version kept them."""
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": None,
        "tracker": get_cuda_rng_tracker().get_states(),
    }


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize("kind", ["json", "earlier"])
def test_states_come_back(tmp_path, kind):
    if kind == "json":
        (tmp_path / random_states.file_of(3)).write_text(json.dumps(random_states.current()))
    else:
        torch.save(earlier(), tmp_path / "rng-3.pt")
    expected = draw()
    get_cuda_rng_tracker().set_states({})
    assert draw_others() != expected[:4]
    random_states.restore(tmp_path, 3)
    assert draw() == expected


def draw_others() -> list[float]:
    return [random.random(), random.gauss(0, 1), np.random.normal(), float(torch.rand(1))]


@pytest.mark.usefixtures("seeded")
def test_what_is_no_state_is_named_and_not_run(tmp_path):
    with pytest.raises(RecipeError, match=r"rng-0\.pt cannot be read"):
        random_states.restore(tmp_path, 0)
    mark = tmp_path / "ran"
    for states in (Runs(mark), earlier() | {"numpy": np.array([Runs(mark)], dtype=object)}):
        torch.save(states, tmp_path / "rng-0.pt")
        with pytest.raises(
            RecipeError, match=r"rng-0\.pt holds more than tensors and plain values"
        ):
            random_states.restore(tmp_path, 0)
    good = random_states.current()
    for text in (
        "",
        "[]",
        "{}",
        json.dumps(good | {"torch": "?"}),
        json.dumps(good | {"python": [3, [1], None]}),
    ):
        (tmp_path / "rng-0.json").write_text(text)
        with pytest.raises(RecipeError, match=r"rng-0\.json holds no random states: .*"):
            random_states.restore(tmp_path, 0)
    assert not mark.exists()
