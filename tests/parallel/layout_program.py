"""One rank of a layout: scores, updates, exports, checkpoints, and leaves what it saw in OUT/LAYOUT.pt.

layout_program.py LAYOUT OUT, with the models' folders OUT/tied and OUT/untied. The tests compare layouts.
"""

# ruff: noqa: E402 - the environment has to be set before torch and Megatron are imported

from __future__ import annotations

import os
import sys
from pathlib import Path

from red_mcore.rollout.environment import set_environment

set_environment(offline=True)

import numpy as np
import torch
import torch.distributed as dist
from layout_samples import BUDGETS, TEMPERATURE, config, make_groups
from megatron.core import parallel_state
from megatron.core.pipeline_parallel.schedules import forward_step_calc_loss

from red_mcore import resume
from red_mcore.algorithms.chord import CHORD
from red_mcore.algorithms.dft import DFT
from red_mcore.algorithms.grpo import GRPO
from red_mcore.algorithms.hpt import HPT
from red_mcore.algorithms.luffy import LUFFY
from red_mcore.algorithms.red import RED
from red_mcore.algorithms.red_coda import REDCoDA
from red_mcore.algorithms.sft import SFT
from red_mcore.algorithms.sft_grpo import SFTGRPO
from red_mcore.algorithms.srft import SRFT
from red_mcore.architecture import read_architecture
from red_mcore.convert import hf
from red_mcore.convert.rules import rules
from red_mcore.megatron import checkpoint, ranks, shim
from red_mcore.megatron.attention import Packing
from red_mcore.megatron.policy import Policy, undo_schedule_scale
from red_mcore.megatron.vocab import logprob_and_entropy
from red_mcore.recipe import Batch, Model, Optimizer, Parallel, Recipe, RecipeError, Rollout
from red_mcore.records import Group

LAYOUTS = {
    "one": Parallel(ranks=1),
    "dp2": Parallel(ranks=2),
    "tp2": Parallel(ranks=2, tensor=2),
    "tp2_sequence": Parallel(ranks=2, tensor=2, sequence=True),
    "pp2": Parallel(ranks=2, pipeline=2),
    "tp2_dp2": Parallel(ranks=4, tensor=2),
    "tp2_pp2": Parallel(ranks=4, tensor=2, pipeline=2),
    "pp2_dp2": Parallel(ranks=4, pipeline=2),
}
# A large eps keeps Adam's step smooth: where a gradient is nearly zero, rounding must not decide its sign.
OPTIMIZER = Optimizer(lr=1e-2, eps=1e-3, warmup_steps=1, weight_decay=0.1)
BEFORE = {"offline": 5.0, "online": 4.0}
"""Entropies of an earlier step, so that this step's weight is neither 1 nor at a bound."""


class Layout:
    """This rank's share of all checks."""

    def __init__(self, name: str, out: Path):
        self.name, self.out, self.parallel = name, out, LAYOUTS[name]
        self.ranks = ranks.start(self.parallel, seed=0)

    def policy(self, tied: bool, budget: int = BUDGETS[1], dtype: str = "float32", trained: bool = True) -> Policy:
        """A policy with the first weights."""
        conf = config(tied)
        recipe = Recipe(
            name="layout",
            model=Model(config=conf, dtype=dtype),
            algorithm=RED(),
            parallel=self.parallel,
            batch=Batch(tokens_per_micro_batch=budget),
            rollout=Rollout(temperature=TEMPERATURE),
        )
        policy = Policy(recipe, read_architecture(conf), self.ranks)
        hf.load_weights(policy.model, policy.arch, self.source(tied))
        if trained:
            policy.start_optimizers({"main": (OPTIMIZER, 6)})
        return policy

    def source(self, tied: bool) -> Path:
        return self.out / ("tied" if tied else "untied")

    def weights(self, policy: Policy) -> dict[str, np.ndarray]:
        return {name: t.float().cpu().numpy() for name, t in hf.stream_weights(policy.model, policy.arch)}


def red_step(policy: Policy, groups, state: dict) -> dict[str, float]:
    algorithm = RED(constant=8.0)
    metrics = policy.score(groups)
    kept, more = algorithm.compose(groups)
    metrics |= more | algorithm.weigh(kept, state)
    algorithm.aggregate(kept, algorithm.sequences(groups))
    return metrics | policy.update(kept, algorithm.token_losses)


def red_step_in_one_pass(policy: Policy, groups, state: dict) -> dict[str, float]:
    """As the loop does it: only traces are scored ahead, the rollouts' entropies come from their own training pass."""
    algorithm = RED(constant=8.0)
    kept, metrics = algorithm.compose(groups)
    policy.score([Group(g.problem, [s for s in g.samples if s.is_offline]) for g in kept])
    algorithm.aggregate(kept, algorithm.sequences(groups))
    weighed = []
    metrics |= policy.backward(
        kept, algorithm.token_losses, on_policy=True, weigh=lambda: weighed.append(algorithm.weigh(kept, state))
    )
    assert len(weighed) == 1
    return metrics | weighed[0] | policy.step()


def grpo_step(policy: Policy, reference: Policy, groups) -> dict[str, float]:
    """Old log-probs are moved, so that ratios leave the clipping range on both sides."""
    algorithm = GRPO(kl_coefficient=0.1)
    policy.score(groups)
    reference.score_reference(groups)
    rng = np.random.default_rng(1)
    for sample in (s for g in groups for s in g.samples):
        sample.old_logp = sample.old_logp + rng.normal(0, 0.3, len(sample.response)).astype(np.float32)
    kept, _ = algorithm.compose(groups)
    algorithm.aggregate(kept, algorithm.sequences(groups))
    return policy.update(kept, algorithm.token_losses)


def step_of(algorithm, policy: Policy, groups) -> dict[str, float]:
    """One step of any algorithm, as the loop does it with everything scored ahead."""
    kept, metrics = algorithm.compose(groups)
    policy.score(kept)
    metrics |= algorithm.weigh(kept, {})
    algorithm.aggregate(kept, algorithm.sequences(groups))
    return metrics | policy.update(kept, algorithm.token_losses)


def sft_step(policy: Policy, groups) -> dict[str, float]:
    algorithm = SFT()
    algorithm.aggregate(groups, len(groups))
    return policy.update(groups, algorithm.token_losses)


def whole_logits(policy: Policy) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of one sequence and their [T, V] logits, which a single stage and all its tensor-parallel ranks make."""
    tokens = torch.arange(5, 25)
    policy.model.eval()
    with torch.no_grad(), shim.on_device():
        logits = policy.model(
            input_ids=tokens[None],
            position_ids=None,
            attention_mask=None,
            packed_seq_params=Packing.of([len(tokens)], torch.device("cpu")),
        )[0]
    parts = [torch.empty_like(logits) for _ in range(policy.ranks.tensor)]
    dist.all_gather(parts, logits.contiguous(), group=parallel_state.get_tensor_model_parallel_group())
    return tokens.numpy(), torch.cat(parts, dim=1)[:, : policy.arch.vocab_size].numpy()


def check_scores(layout: Layout) -> dict:
    """Metrics, log-probs and entropies of every sample as rank 0 knows them."""
    found = {}
    for tied in (True, False):
        groups = make_groups()
        metrics = layout.policy(tied, BUDGETS[2], trained=False).score(groups)
        samples = [s for g in groups for s in g.samples]
        found[tied] = {
            "metrics": metrics,
            "old_logp": [s.old_logp for s in samples],
            "entropy": [s.entropy for s in samples],
        }
    return found


def check_updates(layout: Layout) -> dict:
    """(metrics, weights) after one update of each kind, and a GRPO update after a RED one."""
    found = {}
    for tied in (True, False):
        found["start", tied] = layout.weights(layout.policy(tied, trained=False))
        for count, budget in BUDGETS.items():
            policy = layout.policy(tied, budget)
            metrics = red_step(policy, make_groups(), dict(BEFORE))
            found["red", tied, count] = metrics, layout.weights(policy)
        for count in (1, 4):
            policy = layout.policy(tied, BUDGETS[count])
            metrics = red_step_in_one_pass(policy, make_groups(), dict(BEFORE))
            found["red in one pass", tied, count] = metrics, layout.weights(policy)
        policy = layout.policy(tied, BUDGETS[4])
        red_step(policy, make_groups(), dict(BEFORE))
        export = layout.out / f"export-{layout.name}-{tied}"
        hf.export_folder(policy.model, policy.arch, layout.source(tied), export, layout.ranks.is_main)
        if layout.parallel.pipeline == 1:
            found["logits", tied] = whole_logits(policy)
        groups = make_groups()
        policy.score(groups)
        found["exported", tied] = [s.old_logp for g in groups for s in g.samples]
        metrics = grpo_step(policy, layout.policy(tied, trained=False), groups)
        found["grpo", tied, 4] = metrics, layout.weights(policy)
    for kind in (LUFFY, SRFT, SFTGRPO, HPT, CHORD, REDCoDA, DFT):
        policy = layout.policy(False, BUDGETS[4])
        found[kind.__name__, False, 4] = step_of(kind(constant=8.0), policy, make_groups()), layout.weights(policy)
    # One group leaves a second data-parallel rank without any sample.
    policy = layout.policy(False, BUDGETS[4])
    found["sft of one group", False, 1] = sft_step(policy, make_groups()[4:]), layout.weights(policy)
    return found


def check_rules_cover_the_model(layout: Layout) -> None:
    for tied in (True, False):
        policy = layout.policy(tied, trained=False)
        ruled = {rule.megatron for rule in rules(policy.arch)} | ({"output_layer.weight"} if tied else set())
        local = set(hf._local_parameters(policy.model))
        assert local <= ruled, local - ruled


def check_overflow_off_responses(layout: Layout) -> None:
    """A token loss that is infinite wherever nothing is trained must not reach loss or gradient."""
    policy, groups = layout.policy(False), make_groups()
    SFT().aggregate(groups, len(groups))
    for sample in (s for g in groups for s in g.samples):
        sample.weight = 1.0
    metrics = policy.update(groups, lambda fields: {"sft": -fields["logp"] / fields["weight"]})
    assert all(np.isfinite(value) for value in metrics.values()), metrics
    assert metrics["update/grad_norm"] > 0


def check_continuation(layout: Layout) -> dict:
    """Two steps, a checkpoint, two more; and the latter again after loading into a fresh policy."""
    found = {}
    for dtype in ("float32", "bfloat16"):
        root = layout.out / f"checkpoints-{layout.name}-{dtype}"
        policy, state = layout.policy(False, BUDGETS[2], dtype), {}
        if layout.ranks.is_main:  # what starts that were killed while saving leave behind
            (root / "main-8.partial" / "weights").mkdir(parents=True)
            (root / "main-9.partial").mkdir()
            (root / "main-9.partial" / "manifest.json").write_text("{}")
        dist.barrier()
        for step in range(4):
            if step == 2:
                for tag in ("main-0", "main-1", "main-2"):
                    checkpoint.save(root, tag, policy, {"algorithm": state}, keep=2)
                drawn = torch.rand(3)
                found["saved", dtype] = layout.weights(policy)
            last = red_step(policy, make_groups(), state)
        found["uninterrupted", dtype] = last, layout.weights(policy)
        found["resumed", dtype] = continued(layout, root, dtype, drawn)
    if layout.name in ("tp2", "pp2"):
        found["resumed from dp2"] = continued(layout, layout.out / "checkpoints-dp2-float32", "float32", None)
    return found


def continued(layout: Layout, root: Path, dtype: str, drawn: torch.Tensor | None) -> tuple[dict, dict]:
    manifest = resume.latest(root)
    policy, state = layout.policy(False, BUDGETS[2], dtype), dict(manifest["algorithm"])
    torch.manual_seed(99)
    checkpoint.load(root, manifest, policy)
    if drawn is not None:
        assert torch.equal(torch.rand(3), drawn), "random states differ"
    for _ in range(2):
        last = red_step(policy, make_groups(), state)
    return last, layout.weights(policy)


def check_vocabulary(layout: Layout) -> dict:
    """Log-prob, entropy and their gradients of six columns over two ranks; the sixth as padding, too."""
    if layout.name != "tp2":
        return {}
    logits = torch.tensor([[2, 0.5, -1, 0, 1, -2], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [-3, 4, 0, 1, -1, 2]])
    group, rank = parallel_state.get_tensor_model_parallel_group(), layout.ranks.tensor_rank
    found = {}
    for vocab_size, targets in ((6, [0, 4, 5]), (5, [0, 4, 3])):
        shard = logits[:, 3 * rank : 3 * rank + 3].clone().requires_grad_()
        outputs = logprob_and_entropy(shard, torch.tensor(targets), vocab_size=vocab_size, group=group)
        gradients = []
        for output in outputs:
            (gradient,) = torch.autograd.grad(output.sum(), shard, retain_graph=True)
            parts = [torch.empty_like(gradient) for _ in range(2)]
            dist.all_gather(parts, gradient, group=group)
            gradients.append(torch.cat(parts, dim=1))
        found[vocab_size] = [x.detach() for x in (*outputs, *gradients)]
    return found


def check_loss_scale(layout: Layout) -> float | None:
    """G9: token-loss sums of 2 data-parallel ranks x 2 micro-batches, through Megatron's own loss step."""
    if layout.name != "dp2":
        return None
    sums, constant, sequences = [[-3.0, 1.2], [0.6, -0.8]], 3000, 8
    total = torch.zeros((), dtype=torch.float64)
    for part in sums[layout.ranks.data_rank]:
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


def check_load_errors(layout: Layout) -> dict[str, str]:
    """What is said of folders that lack a tensor or all of them, have one too many, or one of another shape."""
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


def main(name: str, out: Path) -> None:
    layout = Layout(name, out)
    checks = {key: check for key, check in globals().items() if key.startswith("check_")}
    found = {key.removeprefix("check_"): check(layout) for key, check in checks.items()}
    if layout.ranks.is_main:
        torch.save(found, out / f"{name}.partial")
        os.replace(out / f"{name}.partial", out / f"{name}.pt")
    ranks.stop()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
