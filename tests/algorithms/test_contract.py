"""What ``algorithms.base`` promises to the loop and to whoever writes an algorithm."""

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from loss_inputs import loss_inputs
from one_step import group, one_step, rolled
from packed_step import CPU
from test_edges import ALGORITHMS, CASES, make

from red_mcore.algorithms.base import GroupAlgorithm, has_weights
from red_mcore.algorithms.mixins import (
    Branching,
    Lessons,
    OnePassWeights,
    PromptCount,
    Stages,
    UpdateCount,
)
from red_mcore.losses import token
from red_mcore.megatron.packing import arrange, pack
from red_mcore.samples.records import Sample, samples_of


def composed(algorithm: GroupAlgorithm, groups: list, state: dict) -> tuple:
    """All that ``compose`` leaves behind: kept samples, metrics, fields of every sample."""
    kept, metrics = algorithm.compose(groups, state, 3)
    fields = [(s.advantage, s.beta, s.weight, s.coefficient) for s in samples_of(groups)]
    return [[id(s) for s in g.samples] for g in kept], metrics, fields


@pytest.mark.parametrize("name", ALGORITHMS)
def test_composing_twice_gives_the_same(name):
    """On groups of every kind, and again after the rest of a step has used the samples."""
    algorithm = ALGORITHMS[name]
    kinds = {
        (*(of_trace or [None]), *of_rollouts): (of_trace, of_rollouts)
        for _, of_trace, of_rollouts, _ in CASES
    }
    groups = [make(*kind) for kind in kinds.values() if kind[0] is None or algorithm.traces]
    state = {"offline": 1.0, "online": 2.0}
    before = deepcopy(state)
    first = composed(algorithm, groups, state)
    assert composed(algorithm, groups, state) == first
    assert state == before
    one_step(algorithm, groups, {})
    for sample in samples_of(groups):
        sample.coefficient = {}
    again = composed(algorithm, groups, state)
    assert again[:2] == first[:2]
    assert [fields[:2] for fields in again[2]] == [
        fields[:2] for fields in first[2]
    ]  # weights are those of ``weigh``


@dataclass
class Plain(GroupAlgorithm):
    """All that an algorithm has to have."""

    def token_losses(self, inputs, state, step):
        return {"rl": token.policy_gradient(inputs.logp, inputs.old_logp, inputs.advantage)}


def test_a_plain_algorithm_is_one_method():
    outcome = one_step(Plain(constant=2.0), [group(*rolled(1, 0))])
    assert outcome.gradients[0] == pytest.approx([-0.70710678 / 4] * 2)
    assert not has_weights(Plain())


def test_entropies_are_measured_for_an_own_weigh_alone():
    with_weights = {name for name, algorithm in ALGORITHMS.items() if has_weights(algorithm)}
    in_one_pass = {name for name in with_weights if isinstance(ALGORITHMS[name], OnePassWeights)}
    assert with_weights == {"RED", "RED autograd", "RED-CoDA", "SRFT"}
    assert with_weights - in_one_pass == {"SRFT"}


def test_a_sum_over_a_sequence_is_over_its_response_alone():
    """Prompts, padding and neighbours take no part;
    the gradient comes back to every token of the response."""
    lengths, prompts = (4, 1, 7), (3, 5, 2)
    samples = []
    for number, (length, prompt) in enumerate(zip(lengths, prompts, strict=True)):
        ids = np.arange(prompt + length, dtype=np.int32)
        samples.append(Sample(ids[:prompt], ids[prompt:], advantage=float(number)))
    (batch,) = pack(arrange([samples], 100), 0, multiple=8, static=False, components=(), device=CPU)
    x = torch.arange(batch.targets.numel(), dtype=torch.float64).requires_grad_()
    huge = torch.where(batch.sequences.response, x, torch.inf)
    inputs = batch.inputs(x, torch.zeros_like(x))
    sums, means = inputs.sequence_sum(huge), inputs.sequence_mean(huge)
    (slope,) = torch.autograd.grad((means * batch.fields["advantage"]).sum(), x)
    for sample, entries, _ in batch.spans:
        expected = sum(float(x[e]) for e in entries)
        assert sums[entries].tolist() == [expected] * len(entries)
        assert means[entries].tolist() == pytest.approx([expected / len(entries)] * len(entries))
        assert slope[entries].tolist() == pytest.approx([sample.advantage] * len(entries))
    assert slope.sum().item() == pytest.approx(sum(s.advantage * len(s.response) for s in samples))


@pytest.mark.parametrize("name", ["old_logp", "ref_logp"])
def test_a_log_prob_that_nobody_scored_says_so(name):
    inputs = loss_inputs(torch.zeros(3))
    with pytest.raises(ValueError, match=f"{name}: "):
        getattr(inputs, name)


@pytest.mark.parametrize(
    ("mixin", "hook"),
    [
        (Stages, "stage"),
        (PromptCount, "prompts"),
        (Branching, "branch"),
        (UpdateCount, "updates"),
        (Lessons, "lessons"),
    ],
)
def test_an_algorithm_without_the_hook_of_its_mixin_cannot_be_made(mixin, hook):
    """It would fail in the middle of a step else."""

    @dataclass
    class Forgetful(mixin, GroupAlgorithm):
        pass

    with pytest.raises(TypeError, match=hook):
        Forgetful()
