"""Scores and updates of all algorithms under this rank's layout."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import torch
import torch.distributed as dist
from layout_rank import Layout, WatchedPolicy
from layout_samples import COUNTS, GRID, LONGEST, MAIN, budget, groups_of, make_groups, tied_of
from megatron.core import parallel_state
from torch.nn.modules.module import register_module_forward_hook

from red_mcore.algorithms.base import losses_of
from red_mcore.algorithms.chord import CHORD
from red_mcore.algorithms.dft import DFT
from red_mcore.algorithms.hpt import HPT
from red_mcore.algorithms.mixins import TrainingProblems
from red_mcore.algorithms.red_coda import REDCoDA
from red_mcore.algorithms.relift import ReLIFT
from red_mcore.algorithms.sft_grpo import SFTGRPO
from red_mcore.config.recipe import Offload
from red_mcore.convert import hf
from red_mcore.megatron import packing, shim
from red_mcore.megatron.attention import Packing
from red_mcore.megatron.model import output_weight
from red_mcore.samples.records import Group, Sample

BEFORE = {"offline": 5.0, "online": 4.0}
"""Entropies of an earlier step, so that this step's weight is neither 1 nor at a bound."""


def step(algorithm, policy: WatchedPolicy, groups: list[Group], state: dict) -> dict[str, float]:
    """One step as the loop does it with everything scored ahead."""
    metrics = policy.score(groups)
    return metrics | _learn(algorithm, policy, groups, state)[0]


def _learn(algorithm, policy, groups, state) -> tuple[dict[str, float], list[Group]]:
    kept, metrics = algorithm.compose(groups, {}, 0)
    algorithm.aggregate(kept, algorithm.sequences(groups), state, 0)
    metrics |= algorithm.weigh(kept, state, 0)
    return metrics | policy.update(kept, losses_of(algorithm, {}, 0)), kept


def step_in_one_pass(
    algorithm, policy: WatchedPolicy, groups: list[Group], state: dict
) -> dict[str, float]:
    """As the loop does it: the entropies come from the training pass itself."""
    kept, metrics = algorithm.compose(groups, {}, 0)
    algorithm.aggregate(kept, algorithm.sequences(groups), {}, 0)
    weighed = []
    metrics |= policy.backward(
        kept,
        losses_of(algorithm, state, 0),
        on_policy=True,
        weigh=lambda: weighed.append(algorithm.weigh(kept, state, 0)),
    )
    assert len(weighed) == 1
    return metrics | weighed[0] | policy.step()


def grid_step(
    kind: str, policy: WatchedPolicy, reference: WatchedPolicy, groups: list[Group]
) -> tuple[dict[str, float], list[Group]]:
    """Metrics, and the samples as they were trained on.

    Log-probs of another time are moved, but for RED, which is compared with one pass: ratios then
    leave the clipping range on both sides, and the KL term has a gradient.
    """
    metrics = policy.score(groups)
    reference.score_reference(groups)
    rng = np.random.default_rng(1)
    for sample in (s for g in groups for s in g.samples if kind != "red"):
        for name in ("old_logp", "ref_logp"):
            moved = getattr(sample, name) + rng.normal(0, 0.3, len(sample.response)).astype(
                np.float32
            )
            setattr(sample, name, moved)
    more, kept = _learn(GRID[kind], policy, groups, dict(BEFORE))
    return metrics | more, kept


def lesson_step(policy: WatchedPolicy, groups: list[Group]) -> dict[str, float]:
    """A step of ReLIFT and the lesson that it gives:
    the trace of the only problem without a right rollout."""
    algorithm = ReLIFT(constant=8.0, demonstrations=1)
    metrics = step(algorithm, policy, groups, {})
    training = TrainingProblems([g.problem for g in groups], usable=lambda problem: True, seed=0)
    (lesson,) = algorithm.lessons(groups, {}, 0, training)
    (source,) = (g for g in groups if g.problem is lesson.problems[0])
    trace = Sample(source.samples[0].prompt, source.samples[0].response, is_offline=True)
    traces = [Group(source.problem, [trace])]
    algorithm.aggregate(traces, len(traces), {}, 0)
    taught = policy.backward(traces, losses_of(algorithm, {}, 0), on_policy=True)
    taught |= policy.step("imitation", lesson.lr_scale)
    return metrics | {f"lesson/{name}": value for name, value in taught.items()}


def check_scores(layout: Layout) -> dict:
    """Metrics, log-probs and entropies of every sample as rank 0 knows them."""
    found = {}
    for tied in (True, False):
        groups = make_groups()
        metrics = layout.policy(tied, 260, trained=False).score(groups)
        samples = [s for g in groups for s in g.samples]
        found[tied] = {
            "metrics": metrics,
            "old_logp": [s.old_logp for s in samples],
            "entropy": [s.entropy for s in samples],
        }
    return found


def check_grid(layout: Layout) -> dict:
    """An update of each algorithm of the grid; the micro-batches vary where it says something
    new."""
    found = {}
    for tied in (True, False):
        # Of other layouts in the host's memory between its uses.
        reference = layout.policy(
            tied, trained=False, offload=Offload(reference=layout.name != "one")
        )
        found["start", tied] = reference.weights()
        for kind in GRID:
            if layout.name != "one" and tied not in tied_of(kind):
                continue
            for count in COUNTS if layout.name == "one" or kind == "red" else (2,):
                policy = layout.policy(tied, budget(kind, count))
                metrics, kept = grid_step(kind, policy, reference, groups_of(kind))
                found[kind, tied, count] = layout.left(metrics, policy)
            if layout.name == "one":
                found["samples", kind, tied] = [s for g in kept for s in g.samples]
                policy = layout.policy(tied)
                with patch.object(packing, "bins", lambda samples, tokens: [[s] for s in samples]):
                    metrics, _ = grid_step(kind, policy, reference, groups_of(kind))
                found[kind, tied, "unpacked"] = layout.left(metrics, policy)
    for kind in ("grpo", "sft"):  # a second data-parallel rank has no sample
        policy = layout.policy(False)
        metrics, _ = grid_step(kind, policy, reference, groups_of(kind)[4:])
        found[f"{kind} of one group", False, 1] = layout.left(metrics, policy)
    return found


def check_updates(layout: Layout) -> dict:
    """Updates that come in other ways than the grid's, and what an export holds after one."""
    found = {}
    for tied in (True, False):
        for count in (1, 4, "apart"):
            policy = layout.policy(tied, LONGEST if count == "apart" else budget("red", count))
            metrics = step_in_one_pass(GRID["red"], policy, make_groups(), dict(BEFORE))
            found["red in one pass", tied, count] = layout.left(metrics, policy)
            found["packing", count] = {
                name: metrics[f"packing/{name}"] for name in ("fill_fraction", "imbalance")
            }
        export = layout.out / f"export-{layout.name}-{tied}"
        hf.export_folder(
            policy.model, policy.arch, layout.source(tied), export, layout.ranks.is_main
        )
        if layout.parallel.pipeline == layout.parallel.context == 1:
            found["logits", tied] = whole_logits(policy)
        groups = make_groups()
        policy.score(groups)
        found["exported", tied] = [s.old_logp for g in groups for s in g.samples]
    for kind in (REDCoDA, *((SFTGRPO, HPT, CHORD, DFT) if layout.ranks.world <= 2 else ())):
        policy = layout.policy(False, 260)
        metrics = step(kind(constant=8.0), policy, make_groups(), {})
        found[kind.__name__, False, 2] = layout.left(metrics, policy)
    policy = layout.policy(False, 260)
    found["ReLIFT", False, 2] = layout.left(lesson_step(policy, make_groups()), policy)
    return found


def check_settings(layout: Layout) -> dict:
    """Updates with other data types, places and limits; the splits that matter to them are those of
    two ranks, and one of them beside another."""
    found = {}
    if layout.ranks.world > 2 and layout.name != "tp2_pp2":
        return found
    for dtype in ("bfloat16", "float32") if layout.name == "one" else ("bfloat16",):
        policy = layout.policy(False, dtype=dtype, usual=True)
        found[dtype] = layout.left(step(GRID["luffy"], policy, make_groups(), {}), policy)
    policy = layout.policy(False, dtype="bfloat16", offload=Offload(optimizer=True), usual=True)
    found["moved"] = moved(policy)
    found["offloaded"] = layout.left(step(GRID["luffy"], policy, make_groups(), {}), policy)
    for limit in (1e-3, 1e3):  # below and above any norm here
        policy = layout.policy(False)
        policy.start_optimizers({"main": (replace(MAIN[0], skip_grad=limit), MAIN[1])})
        metrics = step(GRID["luffy"], policy, make_groups(), {})
        found["skip_grad", limit] = (
            layout.left(metrics, policy),
            policy.slots["main"].schedule.num_steps,
        )
    return found


def moved(policy: WatchedPolicy) -> tuple[int, int]:
    """Moments of all slots and float32 weights, and how many
    of them lie elsewhere while they are on the device."""
    moments = [x for slot in policy.slots.values() for x in slot.moments()]
    weights = [
        x
        for part in policy.optimizer.chained_optimizers
        for g in part.optimizer.param_groups
        for x in g["params"]
    ]
    state = moments + weights
    home = [x.data_ptr() for x in state]
    with policy.optimizer_on_device():
        away = [x.data_ptr() for x in state]
    return len(state), sum(a != b for a, b in zip(home, away, strict=True))


def check_recompute(layout: Layout) -> dict:
    """An update that computes activations again, and how often each of our modules ran in it."""
    found = {}
    for recompute in ("none", "selective", "full") if layout.ranks.world <= 2 else ():
        policy = layout.policy(True, budget("red", 4), recompute=recompute)
        ran = Counter()
        hook = register_module_forward_hook(
            lambda module, *_, ran=ran: ran.update([type(module).__name__])
        )
        metrics = step_in_one_pass(GRID["red"], policy, make_groups(), dict(BEFORE))
        hook.remove()
        found[recompute] = layout.left(metrics, policy), ran["PackedAttention"], ran["RMSNorm"]
    return found


def whole_logits(policy: WatchedPolicy) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of one sequence and their [T, V] logits,
    which a single stage and all its tensor-parallel ranks make."""
    tokens = torch.arange(5, 25)
    policy.model.eval()
    with torch.no_grad(), shim.on_device():
        hidden = policy.model[0](
            input_ids=tokens[None],
            position_ids=None,
            attention_mask=None,
            packed_seq_params=Packing.of([len(tokens)], torch.device("cpu")),
        )[0]
        logits = hidden @ output_weight(policy.model[0]).T
    parts = [torch.empty_like(logits) for _ in range(policy.ranks.tensor)]
    dist.all_gather(
        parts, logits.contiguous(), group=parallel_state.get_tensor_model_parallel_group()
    )
    return tokens.numpy(), torch.cat(parts, dim=1)[:, : policy.arch.vocab_size].numpy()
