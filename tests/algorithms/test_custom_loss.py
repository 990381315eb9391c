import pytest
import torch
from packed_step import compare

from red_mcore.algorithms.custom_loss import CustomLoss
from red_mcore.config.recipe import Model, Recipe, RecipeError
from red_mcore.losses.inputs import LossInputs


def drift(inputs: LossInputs) -> torch.Tensor:
    """REINFORCE, held back by the square of a response's mean log-ratio."""
    change = inputs.sequence_mean(inputs.logp - inputs.old_logp)
    return 0.1 * change.square() - inputs.advantage * inputs.logp


def by_sequence(groups):
    losses = []
    for samples in groups:
        rewards = torch.tensor([s.reward for s in samples], dtype=torch.float64)
        if rewards.max() == rewards.min():
            losses += [samples[0].logp.sum() * 0] * len(samples)  # dropped, and counted
            continue
        for sample, reward in zip(samples, rewards, strict=True):
            advantage = (reward - rewards.mean()) / (rewards.std() + 1e-9)
            change = (sample.logp - torch.from_numpy(sample.old_logp)).mean()
            losses.append(0.1 * change**2 - (advantage * sample.logp).mean())
    return torch.stack(losses).mean()


def test_a_loss_by_import_path():
    compare(CustomLoss(loss=f"{__name__}:drift"), by_sequence)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", r"algorithm\.loss='' is no import path: write package\.module:function"),
        ("drift", r"algorithm\.loss='drift' is no import path"),
        (
            "no_such_module:drift",
            r"algorithm\.loss=no_such_module:drift cannot be imported .* set PYTHONPATH",
        ),
        (f"{__name__}:adrift", r"has no function 'adrift'"),
    ],
)
def test_a_wrong_path_is_one_line(path, message):
    algorithm = CustomLoss(loss=path)
    with pytest.raises(RecipeError, match=message) as raised:
        algorithm.check(Recipe(name="x", model=Model(), algorithm=algorithm))
    assert "\n" not in str(raised.value)
