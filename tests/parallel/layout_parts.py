"""Single parts of the package that need ranks: names, vocabulary, loss scale, loading."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import torch
import torch.distributed as dist
from layout_rank import Layout
from layout_samples import make_groups
from megatron.core import parallel_state
from megatron.core.pipeline_parallel.schedules import forward_step_calc_loss

from red_mcore.algorithms.sft import SFT
from red_mcore.config.recipe import Model, Recipe, RecipeError, Rollout
from red_mcore.convert import hf
from red_mcore.data.tokenizer import build_tokenizer
from red_mcore.megatron import ranks
from red_mcore.megatron.schedule import undo_schedule_scale
from red_mcore.megatron.vocab import logprob_and_entropy
from red_mcore.models.rules import rules
from red_mcore.rewards.verifier import Grade
from red_mcore.rollout.protocol import Completion
from red_mcore.rollout.sampler import Sampler
from red_mcore.samples.records import Problem
from red_mcore.train.setup import State
from red_mcore.train.step import checked_gap


def check_rules_cover_the_model(layout: Layout) -> None:
    for tied in (True, False):
        policy = layout.policy(tied, trained=False)
        ruled = {rule.megatron for rule in rules(policy.arch)} | (
            {"output_layer.weight"} if tied else set()
        )
        local = set(hf._local_parameters(policy.model))
        assert local <= ruled, local - ruled


def check_overflow_off_responses(layout: Layout) -> None:
    """A token loss that is infinite wherever nothing is trained must not reach loss or gradient."""
    policy, groups = layout.policy(False), make_groups()
    SFT().aggregate(groups, len(groups), {}, 0)
    for sample in (s for g in groups for s in g.samples):
        sample.weight = 1.0
    metrics = policy.update(groups, lambda inputs: {"sft": -inputs.logp / inputs.weight})
    assert all(np.isfinite(value) for value in metrics.values()), metrics
    assert metrics["update/grad_norm"] > 0


def check_vocabulary(layout: Layout) -> dict:
    """Log-prob, entropy and their gradients of six columns over two ranks;
    the sixth as padding, and heated, too."""
    if layout.name != "tp2":
        return {}
    logits = torch.tensor(
        [[2, 0.5, -1, 0, 1, -2], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [-3, 4, 0, 1, -1, 2]]
    )
    group, rank = parallel_state.get_tensor_model_parallel_group(), layout.ranks.tensor_rank
    found = {}
    heated = torch.tensor([0.5, 1.0, 2.0])
    for vocab_size, targets, temperature in (
        (6, [0, 4, 5], None),
        (5, [0, 4, 3], None),
        (5, [0, 4, 3], heated),
    ):
        hidden = (
            logits.clone().requires_grad_()
        )  # with the identity as weight, hidden states are logits
        rows = torch.eye(6)[3 * rank : 3 * rank + 3]
        outputs = logprob_and_entropy(
            hidden,
            rows,
            torch.tensor(targets),
            vocab_size=vocab_size,
            temperature=temperature,
            group=group,
        )
        gradients = []
        for output in outputs:
            (gradient,) = torch.autograd.grad(output.sum(), hidden, retain_graph=True)
            dist.all_reduce(gradient, group=group)
            gradients.append(gradient)
        found[vocab_size if temperature is None else "heated"] = [
            x.detach() for x in (*outputs, *gradients)
        ]
    return found


def check_loss_scale(layout: Layout) -> float | None:
    """G9: token-loss sums of 2 data- or context-parallel ranks x 2 micro-batches,
    through Megatron's own loss step."""
    if layout.name not in ("dp2", "cp2"):
        return None
    sums, constant, sequences = [[-3.0, 1.2], [0.6, -0.8]], 3000, 8
    total = torch.zeros((), dtype=torch.float64)
    for part in sums[layout.ranks.rank]:
        loss = torch.tensor(part / (constant * sequences), dtype=torch.float64)
        scaled, _ = forward_step_calc_loss(
            model=None,
            output_tensor=loss,
            loss_func=lambda x: (undo_schedule_scale(x, 2), {}),
            config=layout.policy(False, trained=False).config,
            vp_stage=None,
            collect_non_loss_data=False,
            num_microbatches=2,
            forward_data_store=[],
        )
        total += scaled
    return ranks.sum_over_data(total).item()


class Engine:
    """Every rank's own; answers every prompt with one token."""

    is_leader = True
    stop_ids = frozenset()

    def __init__(self, layout: Layout) -> None:
        self.replica, self.replicas = layout.ranks.rank, layout.ranks.world

    def reset(self) -> None: ...

    def sample(self, prompts, n, seeds, **settings):
        token, logp = np.array([5], np.int32), np.zeros(1, np.float32)
        return [[Completion(token, logp, truncated=False, version=0)] * n for _ in prompts]


class Verifier:
    """Does not start on the last rank."""

    def __init__(self, layout: Layout) -> None:
        self._starts = layout.ranks.rank < layout.ranks.world - 1

    def grade(self, questions):
        if not self._starts:
            raise RuntimeError("no verifier here")
        return [Grade("wrong", None) for _ in questions]


def check_errors_of_one_rank(layout: Layout) -> dict[str, list[str]]:
    """How each rank leaves what the last one alone fails in."""
    if layout.name != "dp2":
        return {}
    recipe = Recipe(name="errors", model=Model(), algorithm=SFT())
    sampler = Sampler(recipe, build_tokenizer(), Engine(layout), Verifier(layout))
    is_last = layout.ranks.rank == layout.ranks.world - 1

    def together(error: Exception) -> None:
        with ranks.together():
            if is_last:
                raise error

    def gap() -> None:
        rollout = Rollout(logprob_gap_limit=0.1)
        run = SimpleNamespace(recipe=replace(recipe, rollout=rollout), state=State())
        checked_gap(run, {"rollout/logprob_gap_max_nats": 0.2 if is_last else 0.05})

    def gradient() -> None:
        policy, groups = layout.policy(True, small=True), make_groups()
        SFT().aggregate(groups, len(groups), {}, 0)
        policy.update(groups, lambda inputs: {"sft": inputs.logp * (np.nan if is_last else 1.0)})

    attempts = {
        "writing": lambda: together(OSError("disk full")),
        "input": lambda: together(RecipeError("mend it")),
        "grading": lambda: sampler.groups([Problem(i, "?", "7") for i in range(3)], 2, (1,)),
        "gap": gap,
        "gradient": gradient,
    }
    found = {}
    for name, attempt in attempts.items():
        left: list = [None] * layout.ranks.world
        how = "nothing"
        try:
            attempt()
        except (Exception, SystemExit) as error:
            how = f"{type(error).__name__}: {error}"
        dist.all_gather_object(left, how)
        found[name] = left
    return found


def check_load_errors(layout: Layout) -> dict[str, str]:
    """What is said of folders that lack a tensor or all of them, have one too many,
    or one of another shape."""
    if layout.name != "one":
        return {}
    from safetensors.torch import load_file, save_file

    tensors = load_file(layout.source(False) / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    broken = {
        "missing": {key: t for key, t in tensors.items() if key != name},
        "unexpected": tensors | {"model.layers.2.mlp.up_proj.weight": torch.zeros(3)},
        "shape": tensors | {name: torch.zeros(96, 63)},
        "empty": None,
    }
    policy = layout.policy(False, trained=False)
    found = {}
    for kind, content in broken.items():
        folder = layout.out / f"broken-{kind}"
        folder.mkdir()
        if content is not None:
            save_file(content, folder / "model.safetensors")
        try:
            hf.load_weights(policy.model, policy.arch, folder)
        except RecipeError as error:
            found[kind] = str(error)
    return found
