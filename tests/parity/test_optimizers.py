"""Two optimizers over the policy's weights against two of torch's own over the same weights."""

import math

import numpy as np
import torch
from layout_samples import IMITATION, MAIN

SETTINGS = {"main": MAIN, "imitation": IMITATION}
SCALES = {"main": 1.0, "imitation": 0.5}


def learning_rate(settings, updates: int, done: int) -> float:
    """Of the update that comes after ``done`` of its optimizer's ``updates``."""
    if done <= settings.warmup_steps:
        return settings.lr * (done + 1) / (settings.warmup_steps + 1)
    low = settings.lr * settings.min_lr_ratio
    if settings.schedule == "wsd":
        decay = round(settings.decay_fraction * updates)
        return settings.lr - (settings.lr - low) * max(0, done - (updates - decay)) / decay
    along = (done - settings.warmup_steps) / (updates - settings.warmup_steps)
    return low + (settings.lr - low) * 0.5 * (1 + math.cos(math.pi * along))


def adamw(settings, weights: dict[str, torch.nn.Parameter]) -> torch.optim.AdamW:
    """Biases and norms do not decay."""
    matrices = [w for w in weights.values() if w.ndim > 1]
    vectors = [w for w in weights.values() if w.ndim == 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps)


def test_optimizers_in_turn_are_independent_adamws(layouts):
    (_, start), *updates = layouts["one"]["two_optimizers"]
    weights = {
        name: torch.nn.Parameter(torch.from_numpy(w.copy())) for name, w in start.weights.items()
    }
    optimizers = {name: adamw(settings, weights) for name, (settings, _) in SETTINGS.items()}
    done = dict.fromkeys(SETTINGS, 0)
    for name, update in updates:
        settings, steps = SETTINGS[name]
        for key, weight in weights.items():
            weight.grad = torch.from_numpy(update.gradients[key].copy())
        norm = torch.nn.utils.clip_grad_norm_(weights.values(), settings.clip_grad)
        assert norm > settings.clip_grad
        lr = learning_rate(settings, steps, done[name]) * SCALES[name]
        for group in optimizers[name].param_groups:
            group["lr"] = lr
        optimizers[name].step()
        done[name] += 1
        np.testing.assert_allclose(update.metrics["update/lr"], lr, rtol=1e-12)
        np.testing.assert_allclose(update.metrics["update/grad_norm"], norm.item(), rtol=1e-6)
        for key, weight in weights.items():
            np.testing.assert_allclose(
                update.weights[key], weight.detach(), rtol=0, atol=1e-6, err_msg=key
            )
    assert done == {"main": 3, "imitation": 3}
