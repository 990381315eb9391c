"""The published recipes against their authors' arithmetic: how much each term weighs beside the
others.

Their programs split an update over eight ranks and each rank's share into micro-batches, compute a
loss in each of these, add up the gradients of a rank's and average over the ranks. Here that is
done as it stands in their code, in plain torch; next to it the recipe's own coefficients. A mean
that is taken in each micro-batch and added up has no equal among global means where lengths differ,
so that of such terms the whole weight is compared, of all others every token's.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from loss_inputs import loss_inputs
from one_step import Seen, group, one_step, seen
from torch import Tensor

from red_mcore.algorithms.base import RolloutLoss
from red_mcore.algorithms.mixins import stage_of
from red_mcore.config.loading import load
from red_mcore.config.recipe import Recipe, Reward
from red_mcore.samples.records import Group
from red_mcore.train.groups import without_masked

PAPER = Path(__file__).parents[2] / "recipes" / "paper"
RANKS = 8
ENTROPY = 0.6
"""Mean of every sample, where SRFT's weights depend on it."""
MICRO_BATCHES = 5
"""Of a rank in an update of LUFFY's relatives."""


def recipe(name: str) -> Recipe:
    return load(str(PAPER / f"{name}.py"))


def one_update(r: Recipe, *, equal: bool) -> list[Group]:
    """As many groups as an update of the recipe has, two thirds of them without a right rollout;
    lengths of 2 to 6."""
    draw = random.Random(0)
    algorithm = stage_of(r.algorithm, r.steps - 1)

    def sample(correct: float, **fields) -> Seen:
        length = 4 if equal else draw.randint(2, 6)
        p = [draw.uniform(0.05, 0.9) for _ in range(length)]
        old = [min(0.99, x * math.exp(draw.gauss(0, 0.8))) for x in p]
        return seen(
            p,
            correct,
            old=old,
            entropies=[ENTROPY] * length,
            truncated=draw.random() < 0.2,
            **fields,
        )

    groups = []
    for number in range(r.batch.prompts_per_step // r.batch.updates_per_step):
        traces = [sample(1.0, is_offline=True)] * algorithm.traces
        count = r.batch.samples_per_prompt if algorithm.rollouts else 0
        groups.append(
            group(
                *traces,
                *(sample(float(number % 3 == 0 and draw.random() < 0.5)) for _ in range(count)),
            )
        )
    return groups


def advantages(groups: list[Group], *, std: bool, with_trace: bool) -> dict[int, float]:
    """A of each sample's id, of what takes part."""
    found = {}
    for g in groups:
        counted = g.samples if with_trace else g.rollouts
        rewards = torch.tensor([s.reward for s in counted], dtype=torch.float64)
        a = (rewards - rewards.mean()) / (rewards.std() + 1e-6 if std else 1.0)
        found |= {id(s): float(x) for s, x in zip(counted, a, strict=True)}
    return found


@dataclass
class Clips:
    low: float | None = None
    high: float | None = None
    dual: float | None = None


def surrogate(s: Seen, a: float, clips: Clips) -> Tensor:
    """PPO's token losses as verl writes them: the larger of two losses,
    and the dual clip for A < 0."""
    ratio = (s.logp - torch.from_numpy(s.old_logp)).exp()
    losses = -a * ratio
    if clips.low is not None:
        losses = torch.maximum(losses, -a * ratio.clamp(1 - clips.low, 1 + clips.high))
    if clips.dual is not None and a < 0:
        losses = torch.minimum(losses, torch.full_like(losses, -a * clips.dual))
    return losses


def mean(tensors: list[Tensor]) -> Tensor:
    """Over all tokens; without any, no loss."""
    return torch.cat(tensors).mean() if tensors else torch.zeros((), dtype=torch.float64)


def summed(tensors: list[Tensor]) -> Tensor:
    return torch.cat(tensors).sum() if tensors else torch.zeros((), dtype=torch.float64)


def bonus(batch: list[Seen]) -> Tensor:
    return 0.001 * mean([s.entropies for s in batch])


def luffy(batch, a, clips, share):
    def losses(s):
        return (
            -a[id(s)] * (s.logp.exp() / (s.logp.exp() + 0.1))
            if s.is_offline
            else surrogate(s, a[id(s)], clips)
        )

    return summed([losses(s) for s in batch]) / 8192 - bonus(batch)


def on_policy(batch, a, clips, share):
    return summed([surrogate(s, a[id(s)], clips) for s in batch]) / 8192 - bonus(batch)


def without_bonus(batch, a, clips, share):
    return summed([surrogate(s, a[id(s)], clips) for s in batch]) / 8192


def with_imitation(weight):
    def loss(batch, a, clips, share):
        rollouts, traces = (
            [s for s in batch if s.is_offline is offline] for offline in (False, True)
        )
        pg = summed([surrogate(s, a[id(s)], clips) for s in rollouts]) / 8192
        return pg + weight * mean([-s.logp for s in traces]) - bonus(batch)

    return loss


def srft(batch, a, clips, share):
    w_sft, w_rl = 0.5 * math.exp(-ENTROPY), 0.1 * math.exp(ENTROPY)

    def losses(s):
        if s.is_offline:
            return -a[id(s)] * s.logp.exp()
        return -w_rl * s.logp if s.accuracy else s.logp

    return (
        mean([-w_sft * s.logp for s in batch if s.is_offline])
        + summed([losses(s) for s in batch]) / 8192
        - bonus(batch)
    )


def dapo(batch, a, clips, share):
    return mean([surrogate(s, a[id(s)], clips) for s in batch]) * len(batch) / share["all"]


def dr_grpo(batch, a, clips, share):
    return sum(surrogate(s, a[id(s)], clips).sum() / 3000 for s in batch) / share["all"]


def gspo(batch, a, clips, share):
    total = 0.0
    for s in batch:
        ratio = (s.logp - torch.from_numpy(s.old_logp)).mean().exp()
        loss = torch.maximum(
            -a[id(s)] * ratio, -a[id(s)] * ratio.clamp(1 - clips.low, 1 + clips.high)
        )
        if clips.dual is not None and a[id(s)] < 0:
            loss = torch.minimum(loss, torch.full_like(loss, -a[id(s)] * clips.dual))
        total = total + loss
    return total / share["all"]


def chord(mu, phi=False):
    def loss(batch, a, clips, share):
        rollouts, traces = (
            [s for s in batch if s.is_offline is offline] for offline in (False, True)
        )
        pg = (
            mean([surrogate(s, a[id(s)], clips) for s in rollouts])
            * len(rollouts)
            / share["rollouts"]
        )
        p = [(s.logp.detach().exp() if phi else s.logp.detach() * 0 + 0.5) for s in traces]
        m = [x * (1 - x) * (1 if phi else 4) for x in p]
        sft = (
            mean([-s.logp * x for s, x in zip(traces, m, strict=True)])
            * len(traces)
            / share["traces"]
        )
        return (1 - mu) * pg + mu * sft

    return loss


def dft(batch, a, clips, share):
    return mean([-s.logp * s.logp.detach().exp() for s in batch]) / 8  # micro-batches of four


def red(batch, a, clips, share):
    """Micro-batches of one sequence; every group has its accuracy, w is 1 in the first step."""
    total = 0.0
    for s in batch:
        p = s.logp.exp()
        ratio = p / (p + (1 - p) * share["accuracy"][id(s)]).detach()
        total = (
            total
            + (-a[id(s)] * ratio if s.is_offline else surrogate(s, a[id(s)], clips)).sum() / 3000
        )
    return total / share["all"]


@dataclass
class Method:
    loss: Callable
    """(a micro-batch, advantages, clips, sizes of the rank's share) -> loss."""
    clips: Clips
    std: bool = False
    with_trace: bool = False
    """Whether the trace takes part in the group's statistics."""
    imitates: bool = False
    """Whether traces have cross-entropy that is a mean in each micro-batch, added up."""
    equal: bool = False
    """Whether lengths have to be equal for every token to be compared."""
    micro_batches: int = MICRO_BATCHES
    trained: Callable[[Group], list[Seen]] = lambda g: g.samples


def hpt_trained(g: Group) -> list[Seen]:
    return (
        g.rollouts
        if any(s.accuracy for s in g.rollouts)
        else [s for s in g.samples if s.is_offline]
    )


def differing(g: Group) -> list[Seen]:
    return g.samples if len({s.accuracy for s in g.samples}) > 1 else []


NONE = Clips()
METHODS = {
    "luffy": Method(luffy, NONE, with_trace=True),
    "grpo": Method(on_policy, Clips(0.2, 0.2)),
    "relift": Method(on_policy, NONE),
    "sft_then_grpo": Method(without_bonus, Clips(0.2, 0.28)),
    "sft_grpo": Method(with_imitation(1.0), NONE, imitates=True),
    "hpt": Method(with_imitation(0.3), NONE, imitates=True, trained=hpt_trained),
    "srft": Method(srft, NONE, std=True, with_trace=True, imitates=True),
    "dapo": Method(dapo, Clips(0.2, 0.28, 10.0), std=True, equal=True, trained=differing),
    "dr_grpo": Method(dr_grpo, Clips(0.2, 0.2)),
    "gspo": Method(gspo, Clips(3e-4, 4e-4), std=True),
    "chord": Method(chord(0.9), Clips(0.2, 0.2, 3.0), std=True, equal=True),
    "chord_phi": Method(chord(0.1, phi=True), Clips(0.2, 0.2, 3.0), std=True, equal=True),
    "dft": Method(dft, NONE, equal=True, micro_batches=8),
    "red": Method(red, NONE, std=True, with_trace=True, trained=differing),
}
OTHER_CLIPS = Clips(0.15, 0.25, 2.0)
CASES = [(name, None) for name in METHODS] + [
    (name, OTHER_CLIPS) for name in METHODS if isinstance(recipe(name).algorithm, RolloutLoss)
]


def authors(method: Method, groups: list[Group], clips: Clips, masked: bool = False) -> Tensor:
    """An update's loss by the authors' program: traces and rollouts dealt evenly to ranks
    and to micro-batches."""
    samples = sorted((s for g in groups for s in method.trained(g)), key=lambda s: not s.is_offline)
    a = advantages(groups, std=method.std, with_trace=method.with_trace)
    accuracy = {
        id(s): sum(x.accuracy for x in g.samples) / len(g.samples)
        for g in groups
        for s in g.samples
    }
    total = 0.0
    for rank in range(RANKS):
        share = samples[rank::RANKS]
        sizes = {
            "all": len(share),
            "rollouts": sum(not s.is_offline for s in share),
            "traces": sum(s.is_offline for s in share),
            "accuracy": accuracy,
        }
        for part in range(method.micro_batches):
            batch = [s for s in share[part :: method.micro_batches] if not (masked and s.truncated)]
            total = total + method.loss(batch, a, clips, sizes) / RANKS
    return total


def compare(method: Method, groups: list[Group], theirs: Tensor, outcome) -> None:
    samples = [s for g in groups for s in g.samples]
    leaves = [s.logp for s in samples] + [s.entropies for s in samples]
    gradients = torch.autograd.grad(theirs, leaves, allow_unused=True)
    gradients = [
        torch.zeros_like(x) if g is None else g for x, g in zip(leaves, gradients, strict=True)
    ]
    imitated = [0.0, 0.0]
    compared = 0
    for s, ours, expected in zip(samples, outcome.gradients, gradients, strict=False):
        if method.imitates and s.is_offline:
            imitated[0] += sum(ours)
            imitated[1] += float(expected.sum())
        else:
            assert ours == pytest.approx(expected.tolist(), rel=1e-4, abs=1e-12)
            compared += any(ours)
    assert imitated[0] == pytest.approx(imitated[1], rel=1e-6)
    assert compared > 20
    weights = (
        sum(map(sum, outcome.by_entropy)),
        float(sum(g.sum() for g in gradients[len(samples) :])),
    )
    assert weights[0] == pytest.approx(weights[1], rel=1e-6, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "clips"), CASES, ids=lambda x: x if isinstance(x, str) else "clipped" if x else "own"
)
def test_a_recipe_weighs_its_terms_as_its_authors_do(name, clips):
    r, method = recipe(name), METHODS[name]
    algorithm = stage_of(r.algorithm, r.steps - 1)
    if clips:
        algorithm = replace(
            algorithm, clip_low=clips.low, clip_high=clips.high, clip_dual=clips.dual
        )
    groups = one_update(r, equal=method.equal)
    outcome = one_step(algorithm, groups)
    compare(method, groups, authors(method, groups, clips or method.clips), outcome)


def test_every_recipe_of_a_published_loss_is_compared():
    """BREAD has no published settings, RED-CoDA no known normaliser, and SFT, whatever traces it is
    given, a single mean."""
    imitating = {"sft", "sert", "mix_long", "mix_large", "distill_920", "rejection_sampling"}
    recipes = {path.stem for path in PAPER.glob("*.py")}
    assert recipes - set(METHODS) == {"bread", "red_coda", "red_autograd"} | imitating


def test_masked_responses_count_in_the_group_and_in_n_alone():
    """As oat has it: each sequence's loss times its mask, then the mean over all sequences."""
    r, method = recipe("dr_grpo"), METHODS["dr_grpo"]
    groups = one_update(r, equal=False)
    algorithm = r.algorithm
    kept, _ = algorithm.compose(groups, {}, 0)
    trained = without_masked(kept, Reward(truncated="masked"))
    assert 0 < sum(len(g.samples) for g in trained) < sum(len(g.samples) for g in kept)
    algorithm.aggregate(trained, algorithm.sequences(groups), {}, 0)
    ours = 0.0
    for s in (s for g in trained for s in g.samples):
        given = loss_inputs(
            s.logp,
            old_logp=torch.from_numpy(s.old_logp),
            entropy=s.entropies,
            advantage=s.advantage,
        )
        losses = algorithm.token_losses(given, {}, 0)
        ours = ours + (s.coefficient["rl"] * losses["rl"]).sum()
    assert ours.item() == pytest.approx(
        authors(method, groups, method.clips, masked=True).item(), rel=1e-6
    )


@pytest.mark.parametrize(("failing", "updates"), [(0, 2), (73, 2), (74, 1), (128, 1)])
def test_hpt_makes_one_update_once_it_mostly_imitates(failing, updates):
    """8 x 54 + 74 = 506 sequences fit into one of its updates of 512, 8 x 55 + 73 = 513 do not;
    N is that of half."""
    r = recipe("hpt")
    groups = [
        group(
            seen([0.5], 1.0, is_offline=True), *(seen([0.5], float(n >= failing)) for _ in range(8))
        )
        for n in range(128)
    ]
    assert r.algorithm.updates(groups, r.batch.updates_per_step) == updates
    assert r.algorithm.sequences(groups) / r.batch.updates_per_step == 512
