"""On-policy distillation: alone, and as a part of other algorithms' advantages."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from loss_inputs import loss_inputs
from one_step import Seen, group, one_step, rolled, seen, trace
from packed_step import compare

from red_mcore.algorithms.base import advantages, losses_of
from red_mcore.algorithms.grpo import GRPO, dapo
from red_mcore.algorithms.luffy import LUFFY
from red_mcore.algorithms.opd import OPD
from red_mcore.algorithms.relift import ReLIFT
from red_mcore.algorithms.sft import SFT
from red_mcore.algorithms.srft import SRFT
from red_mcore.algorithms.teaching import reverse_kl
from red_mcore.config.recipe import Batch, Model, Recipe, RecipeError, Teacher
from red_mcore.train.forecast import faults

TEACHER = Teacher("folder", 0.7)


def gap(sample: Seen) -> torch.Tensor:
    """[T]: log p_old - log q."""
    return torch.from_numpy(sample.old_logp - sample.teacher_logp)


def ratio(sample: Seen) -> torch.Tensor:
    return (sample.logp - torch.from_numpy(sample.old_logp)).exp()


def test_alone_it_is_the_mean_over_all_tokens_whatever_the_rewards():
    def loss(groups: list[list[Seen]]) -> torch.Tensor:
        parts = [ratio(s) * 0.7 * gap(s) for samples in groups for s in samples]
        return torch.cat(parts).mean()

    compare(OPD(teacher=TEACHER), loss)


def test_in_grpo_each_token_has_an_advantage_of_its_own():
    """The clip is by the whole advantage, and the group of equal rewards is trained on, too."""

    def loss(groups: list[list[Seen]]) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for samples in groups:
            of_rewards = advantages([s.reward for s in samples])
            for sample, advantage in zip(samples, of_rewards, strict=True):
                token = advantage - 0.7 * gap(sample)
                clipped = ratio(sample).clamp(0.8, 1.2)
                total = total - torch.minimum(ratio(sample) * token, clipped * token).mean()
        return total / sum(map(len, groups))

    compare(GRPO(teacher=TEACHER), loss)


def test_the_sampled_gradient_is_that_of_the_divergence_in_expectation():
    """Over all tokens of a vocabulary, each weighed by its probability; torch differentiates the
    divergence."""
    draw = torch.Generator().manual_seed(0)
    logits, teacher = torch.randn(2, 11, generator=draw, dtype=torch.float64)
    logits.requires_grad_()
    log_p, log_q = logits.log_softmax(0), teacher.log_softmax(0)
    (exact,) = torch.autograd.grad((log_p.exp() * (log_p - log_q)).sum(), logits, retain_graph=True)
    expected = torch.zeros_like(exact)
    for token, p in enumerate(log_p.exp().tolist()):
        sample = seen([p], 0.0)
        sample.teacher_logp = log_q[token : token + 1].numpy()
        ((slope,),) = one_step(OPD(teacher=Teacher("folder")), [group(sample)]).gradients
        (of_logits,) = torch.autograd.grad(log_p[token], logits, retain_graph=True)
        expected += p * slope * of_logits
    assert expected.tolist() == pytest.approx(exact.tolist(), abs=1e-10)


@pytest.mark.parametrize("algorithm", [LUFFY(constant=5.0), LUFFY(constant=5.0, teacher=TEACHER)])
def test_a_trace_has_no_teacher(algorithm):
    samples = [trace(), *rolled(1, 0, 0)]
    outcome = one_step(algorithm, [group(*samples)])
    plain = one_step(LUFFY(constant=5.0), [group(trace(), *rolled(1, 0, 0))])
    assert outcome.gradients[0] == plain.gradients[0]
    changed = outcome.gradients[1:] != plain.gradients[1:]
    assert changed == (algorithm.teacher is not None)


def test_a_lesson_which_nobody_scores_is_as_without_a_teacher():
    found = []
    for teacher in (None, TEACHER):
        algorithm, sample = ReLIFT(teacher=teacher), trace()
        algorithm.aggregate([group(sample)], 1, {}, 0)
        given = loss_inputs(sample.logp, old_logp=sample.logp.detach(), is_offline=1.0)
        losses = losses_of(algorithm, {}, 0)(given)
        (slope,) = torch.autograd.grad(losses["sft"].sum(), sample.logp)
        found.append(slope.tolist())
    assert found[0] == found[1]


def test_groups_of_equal_rewards_are_kept():
    groups = [group(*rolled(0, 0)), group(*rolled(1, 1)), group(*rolled(1, 0))]
    for algorithm in (GRPO(), dapo(), LUFFY(entropy_coefficient=0.0)):
        assert algorithm.compose(groups, {}, 0)[0] == groups[2:]
        assert replace(algorithm, teacher=TEACHER).compose(groups, {}, 0)[0] == groups
    kept, metrics = OPD(teacher=TEACHER).compose(groups, {}, 0)
    assert (kept, metrics["groups/dropped"]) == (groups, 0)


def test_the_divergence_that_is_reported_is_by_the_engine_s_log_probs():
    samples = rolled(1, 0)
    for sample, engine in zip(samples, ([-0.5, -0.25], [-1.0, -0.5]), strict=True):
        sample.sampler_logp = np.float32(engine)
        sample.teacher_logp = np.float32([-1.5, -0.25])
    found = reverse_kl([group(*samples), group(trace())])
    assert found == {"teacher/reverse_kl_nats": pytest.approx((1.0 + 0.0 + 0.5 - 0.25) / 4)}
    assert reverse_kl([group(trace())]) == {}


@pytest.mark.parametrize(
    ("algorithm", "message"),
    [
        (OPD(), r"algorithm\.teacher\.path=null: name the folder"),
        (OPD(teacher=None), r"algorithm\.teacher=null: OPD learns from a teacher alone"),
        (GRPO(teacher=Teacher()), r"algorithm\.teacher\.path=null: name the folder"),
        (SFT(teacher=TEACHER), r"algorithm\.teacher scores rollouts, and SFT samples none"),
        (SRFT(teacher=TEACHER), r"algorithm\.teacher changes advantages, .* SRFT have none"),
        (OPD(std_normalise=False, teacher=TEACHER), r"algorithm\.std_normalise=false changes"),
    ],
)
def test_refusals(algorithm, message):
    with pytest.raises(RecipeError, match=message):
        algorithm.check(Recipe(name="x", model=Model(), algorithm=algorithm))


def test_equal_samples_and_rewards_are_no_fault_where_a_teacher_scores():
    recipe = Recipe(name="x", model=Model(), algorithm=OPD(teacher=TEACHER))
    recipe.reward.accuracy, recipe.rollout.temperature = 0.0, 0.01
    assert list(faults(recipe)) == []
    recipe.algorithm = GRPO()
    assert [code for code, _ in faults(recipe)] == ["constant_reward", "greedy"]


def test_refills_replace_nothing():
    algorithm = OPD(teacher=TEACHER)
    recipe = Recipe(name="x", model=Model(), algorithm=algorithm, batch=Batch(refills=2))
    with pytest.raises(RecipeError, match=r"batch\.refills=2: OPD learns from every group"):
        algorithm.check(recipe)
