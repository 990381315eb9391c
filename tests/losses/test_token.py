"""Token losses and their gradients against published values and each other's limits; float64."""

import math

import pytest
import torch

from red_mcore.losses import token

P = torch.tensor([0.9, 0.5, 0.01], dtype=torch.float64)
OLD = torch.tensor([0.5, 0.4, 0.8, 0.6, 0.3], dtype=torch.float64).log()
LOGP = OLD + torch.tensor([0.30, -0.05, 0.22, math.log(0.7), math.log(1.5)], dtype=torch.float64)
ADVANTAGE = torch.tensor([1, 1, 1, -1, -1], dtype=torch.float64) * math.sqrt(0.5)


def with_gradient(loss, logp: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Token loss and d loss / d logp."""
    leaf = logp.clone().requires_grad_()
    value = loss(leaf)
    return value.detach(), torch.autograd.grad(value.sum(), leaf)[0]


def shifted(p, beta: float, shift: str) -> tuple[torch.Tensor, torch.Tensor]:
    logp = torch.as_tensor(p, dtype=torch.float64).log()
    return with_gradient(lambda x: token.policy_shift(x, torch.full_like(x, beta), shift), logp)


def near(found: torch.Tensor, expected) -> None:
    torch.testing.assert_close(
        found, torch.as_tensor(expected, dtype=found.dtype), rtol=0, atol=1e-6
    )


def test_clipped_policy_gradient():
    loss, gradient = with_gradient(
        lambda x: token.policy_gradient(x, OLD, ADVANTAGE, 0.2, 0.2), LOGP
    )
    near(loss, [-0.84852814, -0.67262078, -0.84852814, 0.56568542, 1.06066017])
    near(gradient, [0, -0.67262078, 0, 0, 1.06066017])


def test_unequal_clipping():
    loss = token.policy_gradient(LOGP, OLD, ADVANTAGE, 0.2, 0.28)
    near(loss, [-0.90509668, -0.67262078, -0.88110931, 0.56568542, 1.06066017])
    near(loss.mean(), -0.16649623)


def test_dual_clip():
    """Where A < 0 the loss is at most c |A|, and has no gradient beyond;
    elsewhere it takes no part."""
    ratio = torch.tensor([0.5, 1.1, 2.9, 3.1, 50.0], dtype=torch.float64)
    for sign, clips, loss, slope in (
        (-1.0, (None, None, 3.0), [0.5, 1.1, 2.9, 3, 3], [0.5, 1.1, 2.9, 0, 0]),
        (-1.0, (0.2, 0.2, 3.0), [0.8, 1.1, 2.9, 3, 3], [0, 1.1, 2.9, 0, 0]),
        (1.0, (None, None, 3.0), [-0.5, -1.1, -2.9, -3.1, -50], [-0.5, -1.1, -2.9, -3.1, -50]),
        (1.0, (0.2, 0.2, 3.0), [-0.5, -1.1, -1.2, -1.2, -1.2], [-0.5, -1.1, 0, 0, 0]),
    ):
        advantage, zero = torch.full_like(ratio, sign), torch.zeros_like(ratio)
        found, gradient = with_gradient(
            lambda x, a=advantage, z=zero, c=clips: token.policy_gradient(x, z, a, *c), ratio.log()
        )
        near(found, loss)
        near(gradient, slope)


def test_unclipped_policy_gradient_is_ratio_times_advantage():
    loss, gradient = with_gradient(
        lambda x: token.policy_gradient(x, OLD, torch.ones_like(x)), LOGP
    )
    near(-loss, [1.34985881, 0.95122942, 1.24607673, 0.7, 1.5])
    near(gradient, loss)


def test_kl_estimators():
    k3 = token.kl(LOGP, OLD - 0.1, "k3")
    near(k3, [0.07032005, 0.00122942, 0.04614904, 0.03594994, 0.10869005])
    near((k3[:3].mean() + k3[3:].mean()) / 2, 0.05577642)
    difference = LOGP - OLD + 0.1
    near(token.kl(LOGP, OLD - 0.1, "k1"), difference)
    near(token.kl(LOGP, OLD - 0.1, "k2"), difference**2 / 2)


SHIFTED = [  # beta, ratio, gradient of the ratio where the denominator has one
    (0.0, [1, 1, 1], [0, 0, 0]),
    (0.125, [0.98630137, 0.88888889, 0.07476636], [0.13510978, 0.19753086, 0.06987510]),
    (0.5, [0.94736842, 0.66666667, 0.01980198], [0.49861496, 0.44444444, 0.01960592]),
    (1.0, [0.9, 0.5, 0.01], [0.9, 0.5, 0.01]),
]


@pytest.mark.parametrize(("beta", "ratio", "slope"), SHIFTED)
def test_policy_shift(beta, ratio, slope):
    for shift, expected in (("detached", ratio), ("autograd", slope)):
        value, gradient = shifted(P, beta, shift)
        near(value, ratio)
        near(gradient, expected)
    value, gradient = shifted(P, beta, "off")
    near(value, P)
    near(gradient, P)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("beta", [0.0, 0.125, 1.0])
@pytest.mark.parametrize("shift", ["detached", "autograd", "off"])
def test_policy_shift_at_certain_and_impossible_tokens(shift, beta, dtype):
    """p = 1, and p = 0 by underflow: value and gradient are the formula's limits, not NaN."""
    logp = torch.tensor([0.0, -1000.0], dtype=dtype)
    value, gradient = with_gradient(
        lambda x: token.policy_shift(x, torch.full_like(x, beta), shift), logp
    )
    imitates = beta == 0 and shift != "off"
    near(value, [1, 1 if imitates else 0])
    at_certain = beta if shift == "autograd" else 1
    near(gradient, [at_certain, 1 if imitates and shift == "detached" else 0])


def test_limits_that_join_the_algorithms():
    advantage = 0.875
    for shift in ("detached", "autograd"):
        near(shifted(P, 1.0, shift)[1] * advantage, P * advantage)  # no shaping: weighs by p
    for beta, gamma, scale in (
        (1 / 11, 0.1, 1.1),
        (0.125, 0.14285714, 1.14285714),
    ):  # gamma = beta / (1 - beta)
        shaped = with_gradient(
            lambda x, gamma=gamma, scale=scale: scale * token.shaping(x, gamma), P.log()
        )
        for found, expected in zip(shifted(P, beta, "autograd"), shaped, strict=True):
            near(found, expected)
    _, cross_entropy = with_gradient(token.imitation, P.log())
    near(-shifted(P, 0.0, "detached")[1] * advantage, cross_entropy * advantage)


@pytest.mark.parametrize(
    ("emphasis", "loss", "gradient"),
    [
        ("equal", [0.10536052, 0.69314718, 4.60517019], [-1, -1, -1]),
        ("probable", [0.09482446, 0.34657359, 0.04605170], [-0.9, -0.5, -0.01]),
        ("uncertain", [0.00948245, 0.17328680, 0.04559119], [-0.09, -0.25, -0.0099]),
    ],
)
def test_imitation(emphasis, loss, gradient):
    found, slope = with_gradient(lambda x: token.imitation(x, emphasis), P.log())
    near(found, loss)
    near(slope, gradient)


def test_shaping():
    value, gradient = with_gradient(lambda x: token.shaping(x, 0.1), P.log())
    near(value, [0.9, 0.83333333, 0.09090909])
    near(gradient, [0.09, 0.13888889, 0.08264463])
    for found in with_gradient(lambda x: token.shaping(x, None), P.log()):
        near(found, P)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_losses_of_certain_and_impossible_tokens_are_finite(dtype):
    logp = torch.tensor([0.0, -1000.0], dtype=dtype)
    for loss in (
        lambda x: token.shaping(x, 0.1),
        lambda x: token.imitation(x, "probable"),
        lambda x: token.imitation(x, "uncertain"),
    ):
        assert all(x.isfinite().all() for x in with_gradient(loss, logp))
