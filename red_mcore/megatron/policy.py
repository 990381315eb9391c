"""A policy on Megatron ranks: scoring, the update, and its optimizers and schedules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.distributed import (
    DistributedDataParallel,
    DistributedDataParallelConfig,
    finalize_model_grads,
)
from megatron.core.pipeline_parallel import get_forward_backward_func
from megatron.core.tensor_parallel import param_is_not_tensor_parallel_duplicate
from megatron.core.transformer.module import param_is_not_shared
from torch import Tensor
from torch.nn.utils import get_total_norm

from red_mcore.config.recipe import Optimizer, Recipe
from red_mcore.losses.inputs import LossInputs
from red_mcore.megatron import shim
from red_mcore.megatron.engine_gap import differences, engine_gap
from red_mcore.megatron.model import build_model, output_weight
from red_mcore.megatron.offload import on_device, read_on_device, to_host
from red_mcore.megatron.one_pass import OnePass
from red_mcore.megatron.optimizers import make_optimizers
from red_mcore.megatron.packing import MicroBatch, Plan, arrange, deal, imbalance, pack
from red_mcore.megatron.ranks import Ranks, any_rank, from_all, from_last_stage, sum_over_data
from red_mcore.megatron.slots import Slot
from red_mcore.megatron.vocab import logprob_and_entropy
from red_mcore.models.architecture import Architecture
from red_mcore.models.layers import FP8_MULTIPLE
from red_mcore.samples import guards
from red_mcore.samples.records import Group, Sample

TokenLosses = Callable[[LossInputs], Mapping[str, Tensor]]
"""Tensors [T] of a micro-batch -> component -> token loss [T]."""


class Policy:
    """A GPTModel split over the ranks; trainable once ``start_optimizers`` was called, a frozen reference otherwise."""

    def __init__(self, recipe: Recipe, arch: Architecture, ranks: Ranks):
        self.arch, self.ranks = arch, ranks
        self.temperature = recipe.rollout.temperature
        self._budget = recipe.batch.tokens_per_micro_batch
        self._parallel = recipe.parallel
        self._offload = recipe.offload
        self._fp8 = recipe.model.fp8
        self.dtype = getattr(torch, recipe.model.dtype)
        self.model = build_model(arch, recipe.parallel, recipe.model)
        """This rank's chunks, one for each virtual pipeline stage."""
        self.config: Any = self.model[0].config
        self._ddp: list[DistributedDataParallel] = []
        self.optimizer: Any = None
        """Megatron's, once started; it works with the slot that is active."""
        self.slots: dict[str, Slot] = {}
        """By name, in the order asked for."""

    def start_optimizers(self, wanted: dict[str, tuple[Optimizer, int]]) -> None:
        """New optimizers (fresh moments) on the weights as they are: name -> (settings, updates of the schedule)."""
        with shim.on_device():
            if not self._ddp:
                settings = DistributedDataParallelConfig(
                    grad_reduce_in_fp32=True,
                    use_distributed_optimizer=True,
                    overlap_grad_reduce=False,
                    average_in_collective=False,
                )
                self._ddp = [
                    DistributedDataParallel(self.config, settings, chunk) for chunk in self.model
                ]
                self.config.finalize_model_grads_func = finalize_model_grads
            self.optimizer, self.slots = make_optimizers(self._ddp, wanted, self.dtype)
        self._active = next(iter(self.slots.values()))
        self._active.enter()
        if self._offload.optimizer:
            to_host(self._optimizer_state())

    def optimizer_on_device(self) -> AbstractContextManager:
        """Context in which the optimizers' state is on the device, wherever it stays otherwise."""
        return on_device(self._optimizer_state) if self._offload.optimizer else nullcontext()

    def _optimizer_state(self) -> list[Tensor]:
        """Moments of every slot, and the float32 copy of bfloat16 weights (float32 weights are the model's own)."""
        moments = [x for slot in self.slots.values() for x in slot.moments()]
        parts = self.optimizer.chained_optimizers
        return moments + [
            x for part in parts for group in part.shard_fp32_from_float16_groups for x in group
        ]

    def activate(self, name: str) -> Slot:
        """Let ``optimizer`` work with slot ``name``; returns it."""
        self._active.leave()
        self._active = self.slots[name]
        self._active.enter()
        return self._active

    def score(self, groups: Sequence[Group]) -> dict[str, float]:
        """Fill ``old_logp`` and ``entropy`` of every sample, on every rank: dealing for an update may move a group.

        Returns the difference to the engine's log-probs over the rollouts (``engine_gap``), where there are any.
        FloatingPointError for one that is not finite.
        """
        gaps = []
        for sample, logp, entropy in self._scored(groups):
            sample.old_logp, sample.entropy = logp, float(entropy.mean())
            if sample.sampler_logp is not None:
                gap = differences(logp, sample.sampler_logp)
                gaps.append((float(gap.max()), float(gap.sum()), gap.size))
        self._check(groups, ("old_logp", "entropy"))
        return engine_gap(gaps)

    def score_reference(self, groups: Sequence[Group]) -> None:
        """Fill ``ref_logp`` of every sample, on every rank; called on the reference. Raises as ``score`` does."""
        self._score_frozen(groups, "ref_logp", self._offload.reference)

    def score_teacher(self, groups: Sequence[Group]) -> None:
        """The same of ``teacher_logp``; called on the teacher."""
        self._score_frozen(groups, "teacher_logp", self._offload.teacher)

    def _score_frozen(self, groups: Sequence[Group], field: str, is_offloaded: bool) -> None:
        weights: AbstractContextManager = nullcontext()
        if is_offloaded:
            weights = read_on_device(list(self.model.parameters()))
        with weights:
            for sample, logp, _ in self._scored(groups):
                setattr(sample, field, logp)
        self._check(groups, (field,))

    def _check(self, groups: Sequence[Group], names: Sequence[str]) -> None:
        """FloatingPointError, on every rank, for the first of these fields of samples that is not finite."""
        if found := guards.culprit(groups, names):
            rank = next(
                r
                for r, hand in enumerate(self._deal(groups))
                if any(s is found.sample for s in hand)
            )
            raise FloatingPointError(f"{found} (data-parallel rank {rank}); {guards.REFUSED}")

    def _refuse_unless(self, well: bool, what: str, find: Callable[[], str | None]) -> None:
        """FloatingPointError on every rank where one is not ``well``: the first culprit that a rank can ``find``."""
        if any_rank(not well):
            found = (
                f"{culprit} on rank {rank}; "
                for rank, culprit in enumerate(from_all(find()))
                if culprit
            )
            raise FloatingPointError(f"{next(found, '')}{what}: {guards.REFUSED}")

    def _scored(self, groups: Sequence[Group]) -> Iterator[tuple[Sample, np.ndarray, np.ndarray]]:
        """(sample, log-probs [T], entropies [T]) of every sample in order, on every rank."""
        batches = self._pack(self._plan(groups), ())
        results: list[Tensor] = []

        def keep(batch: MicroBatch, hidden: Tensor):
            results.append(torch.stack(self._logprobs(batch, hidden)))
            return hidden.new_zeros(()), {}

        with torch.no_grad():
            self._run(batches, keep, forward_only=True)
        samples = [s for g in groups for s in g.samples]
        ends = np.cumsum([len(s.response) for s in samples])
        places = {
            id(s): slice(end - len(s.response), end) for s, end in zip(samples, ends, strict=True)
        }
        scored = torch.zeros(2, int(ends[-1]))
        if self.ranks.is_last_stage:
            for batch, result in zip(batches, results, strict=True):
                for sample, entries, tokens in batch.spans:
                    scored[:, places[id(sample)].start + tokens] = result[:, entries].cpu()
        logp, entropy = from_last_stage(sum_over_data(scored)).numpy()
        for sample in samples:
            place = places[id(sample)]
            yield sample, logp[place], entropy[place]

    def update(
        self,
        groups: Sequence[Group],
        token_losses: TokenLosses,
        *,
        optimizer: str = "main",
        lr_scale: float = 1.0,
    ) -> dict[str, float]:
        """``backward`` and ``step``."""
        return self.backward(groups, token_losses) | self.step(optimizer, lr_scale)

    def backward(
        self,
        groups: Sequence[Group],
        token_losses: TokenLosses,
        *,
        on_policy: bool = False,
        weigh: Callable[[], None] | None = None,
    ) -> dict[str, float]:
        """Gradient of the loss: the sum over components and tokens of coefficient x token loss.

        Coefficients hold global denominators, so the result does not depend on micro-batches or layout. Returns
        ``loss/total``, ``loss/<component>`` and how samples are spread: ``packing/fill_fraction``, their share of all
        computed tokens, and ``packing/imbalance`` of the data-parallel ranks.

        ``on_policy``: the samples were not scored, and the rollouts are this very policy's. Their old log-probs are
        then this pass's log-probs, and all entropies and ``engine_gap`` are taken from it,
        too. ``weigh``, if given, is called on every rank, once, when every ``entropy`` is known and before a trace's
        loss. For that the ranks exchange entropies in the middle of the pass: at the plan's turn, a micro-batch of the
        same number on all of them. Those without a trace, or without any sample, come there as well, so that all
        communication of the pass has one order on all ranks whatever their samples are. Traces that come later than
        the turn are scored ahead.

        FloatingPointError, on every rank, where an advantage, a weight, an entropy or a loss is not finite.
        """
        self._check(groups, guards.COMPOSED)
        components = sorted({name for g in groups for s in g.samples for name in s.coefficient})
        plan = self._plan(groups, offline_last=weigh is not None)
        batches = self._pack(plan, components)
        sums = torch.zeros(len(components) + 2, dtype=torch.float64)
        sums[-2] = sum(s.tokens for b in batches for s, *_ in b.spans) / self.ranks.context
        sums[-1] = sum(b.tokens.numel() for b in batches)
        own = None
        if on_policy:
            late = {
                id(s) for s in plan.late
            }  # of all ranks, so that either all score some ahead or none does
            self._score_entropies(groups, late)
            measured = [s for g in groups for s in g.samples if id(s) not in late]
            own = OnePass(measured, self.ranks, weigh, batches[plan.turn])
        spoilt: list[str] = []
        """The first of this rank's losses that is not finite, if one is."""

        def loss(batch: MicroBatch, hidden: Tensor):
            weighed = [coefficient != 0 for coefficient in batch.coefficient.values()]
            trained = torch.stack(weighed).any(dim=0)
            # A token loss may overflow where nothing is trained; this stops its gradient there, which would be NaN.
            logp, entropy = (torch.where(trained, x, 0.0) for x in self._logprobs(batch, hidden))
            if own is not None:
                own.measure(batch, logp.detach(), entropy.detach())
            token_loss = token_losses(batch.inputs(logp, entropy))
            total = (
                logp.sum() * 0.0
            )  # keeps the graph of a micro-batch without trained tokens alive
            for i, name in enumerate(components):
                coefficient = batch.coefficient[name]
                # where, not a product: a token loss may be infinite off its component's tokens
                tokens = torch.where(coefficient != 0, coefficient * token_loss[name], 0.0)
                part = tokens.sum()
                value = part.item()
                sums[i] += value
                if not (spoilt or math.isfinite(value)):
                    spoilt.append(f"loss/{name} {_first_spoilt(tokens, logp, batch, groups)}")
                total = total + part
            return undo_schedule_scale(total, len(batches)), {}

        with shim.on_device():
            for chunk in self._ddp:
                chunk.zero_grad_buffer()
            self.optimizer.zero_grad()
        self._run(batches, loss, forward_only=False)
        from_last_stage(sum_over_data(sums))
        of_the_pass = own.finish() if own is not None else {}
        self._check(groups, ("entropy", "weight"))  # of the pass itself
        *losses, filled, computed = sums.tolist()
        total = sum(losses)
        self._refuse_unless(
            math.isfinite(total), f"the loss is {total}", lambda: next(iter(spoilt), None)
        )
        out = {"loss/total": total}
        out |= {f"loss/{name}": value for name, value in zip(components, losses, strict=True)}
        out |= {
            "packing/fill_fraction": filled / computed,
            "packing/imbalance": imbalance(self._deal(groups), self.arch.hidden_size),
        }
        return out | of_the_pass

    def step(self, optimizer: str = "main", lr_scale: float = 1.0) -> dict[str, float]:
        """One step of an optimizer on the gradient; its schedule, and only its own, advances if the step is done.

        ``lr_scale`` multiplies the learning rate of this step. Returns ``update/grad_norm``, ``update/weight_norm``
        (after the step), ``update/change_norm`` (of what the step did to the weights), ``update/lr`` (as used) and
        ``update/skipped``: 1 where the norm is above the settings' ``skip_grad``, and nothing was done.
        FloatingPointError, on every rank, for a gradient or a learning rate that is not finite, before the weights
        change; and for weights that are not, after they did.
        """
        slot = self.activate(optimizer)
        for group in self.optimizer.param_groups:
            group["lr"] *= lr_scale
        lr = self.optimizer.param_groups[0]["lr"]
        with self.optimizer_on_device():
            weights = self._owned_weights()
            before = [weight.clone() for weight in weights]
            with shim.on_device():
                updated, grad_norm = self._step_unless_steep(slot.skip_grad, lr)
            changes = [old.sub_(new) for old, new in zip(before, weights, strict=True)]
            norms = torch.stack(
                [get_total_norm(tensors).double() for tensors in (weights, changes)]
            )
            del weights, before, changes  # they would keep what is moved away
        slot.schedule.step(increment=int(updated))  # also takes the scale out again
        norms = norms.to(shim.device())
        dist.all_reduce(norms.square_())
        weight_norm, change_norm = norms.sqrt().tolist()
        if any_rank(not math.isfinite(weight_norm + change_norm)):
            raise FloatingPointError(
                f"the norm of the weights is {weight_norm}, that of their change {change_norm}: they are spoilt and not"
                f" saved; go on from the last checkpoint with a lower learning rate than {lr:g}"
            )
        return {
            "update/grad_norm": grad_norm,
            "update/weight_norm": weight_norm,
            "update/change_norm": change_norm,
            "update/lr": lr,
            "update/skipped": float(not updated),
        }

    def _step_unless_steep(self, limit: float, lr: float) -> tuple[bool, float]:
        """(Whether the optimizer stepped, gradient norm); it does not where the norm exceeds a ``limit`` above 0."""
        self.optimizer.prepare_grads()
        norm = float(self.optimizer.get_grad_norm() or 0.0)
        what = f"the gradient norm is {norm}, the learning rate {lr}"
        self._refuse_unless(
            math.isfinite(norm) and math.isfinite(lr), what, self._first_spoilt_gradient
        )
        if limit and any_rank(
            not norm <= limit
        ):  # a step is a collective: all ranks have to agree on it
            return False, norm
        updated, _, _ = self.optimizer.step()
        return updated, norm

    def _first_spoilt_gradient(self) -> str | None:
        for name, parameter in (
            named for chunk in self.model for named in chunk.named_parameters()
        ):
            gradient: Tensor = getattr(parameter, "main_grad")  # noqa: B009 - which Megatron adds
            if not gradient.isfinite().all():
                return f"the gradient of {name} is not finite"
        return None

    def _owned_weights(self) -> list[Tensor]:
        """The float32 weights that this rank updates, each weight of the model on one rank."""
        return [
            weight.detach()
            for part in self.optimizer.chained_optimizers
            for weight in part.get_parameters()
            if param_is_not_shared(weight) and param_is_not_tensor_parallel_duplicate(weight)
        ]

    def _score_entropies(self, groups: Sequence[Group], wanted: set[int]) -> None:
        """Fill ``entropy`` of the samples with these ids, if there are any."""
        chosen = []
        for group in groups:
            if samples := [sample for sample in group.samples if id(sample) in wanted]:
                chosen.append(Group(group.problem, samples))
        if chosen:
            for sample, _, entropy in self._scored(chosen):
                sample.entropy = float(entropy.mean())

    def _deal(self, groups: Sequence[Group]) -> list[list[Sample]]:
        return deal(groups, self.ranks.data, self.arch.hidden_size)

    def _plan(self, groups: Sequence[Group], offline_last: bool = False) -> Plan:
        rounds = self._parallel.pipeline if self._parallel.virtual > 1 else 1
        return arrange(self._deal(groups), self._budget, rounds=rounds, offline_last=offline_last)

    def _pack(self, plan: Plan, components: Sequence[str]) -> list[MicroBatch]:
        return pack(
            plan,
            self.ranks.data_rank,
            multiple=(self._parallel.tensor if self._parallel.sequence else 1)
            * FP8_MULTIPLE.get(self._fp8, 1),
            static=self._parallel.pipeline > 1 or self._parallel.expert > 1,
            context=(self.ranks.context_rank, self.ranks.context),
            components=components,
            device=shim.device(),
        )

    def _run(self, batches: list[MicroBatch], loss, forward_only: bool) -> None:
        def forward_step(iterator, model):
            batch = next(iterator)
            output = model(
                input_ids=batch.tokens,
                position_ids=None,
                attention_mask=None,
                packed_seq_params=batch.packing,
            )
            return output, partial(loss, batch)

        chunks = self._ddp or list(self.model)
        for chunk in chunks:
            chunk.train(not forward_only)
        with shim.on_device():
            get_forward_backward_func()(
                forward_step_func=forward_step,
                data_iterator=[iter(batches) for _ in chunks],
                model=chunks,
                num_microbatches=len(batches),
                seq_length=batches[0].tokens.shape[1] * self.ranks.context,
                micro_batch_size=1,
                forward_only=forward_only,
            )

    def _logprobs(self, batch: MicroBatch, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probs, of rollouts at the temperature that they were sampled with and of traces at 1; entropies at 1."""
        is_offline = batch.fields["is_offline"] > 0
        return logprob_and_entropy(
            hidden[0],
            output_weight(self.model[-1]),
            batch.targets,
            vocab_size=self.arch.vocab_size,
            # A teacher's tokens were not drawn at the rollouts' temperature: what imitates them is at 1.
            temperature=None
            if self.temperature == 1
            else torch.where(is_offline, 1.0, self.temperature),
            group=parallel_state.get_tensor_model_parallel_group(),
        )


def _first_spoilt(losses: Tensor, logp: Tensor, batch: MicroBatch, groups: Sequence[Group]) -> str:
    """Of which token the first of ``losses`` [T] is that is not finite, with its log-prob."""
    losses = losses.detach().cpu()
    for sample, entries, tokens in batch.spans:
        wrong = np.flatnonzero(~losses[entries].isfinite().numpy())
        if len(wrong):
            entry, token = entries[wrong[0]], tokens[wrong[0]]
            where = f"of token {token} of {guards.place_in(groups, sample)}"
            return f"{where} is {losses[entry].item()} (log-prob {logp[entry].item():.6g})"
    return f"is {losses.sum().item()}: finite losses have no finite sum"


def undo_schedule_scale(loss: Tensor, micro_batches: int) -> Tensor:
    """``loss`` times what Megatron's schedule divides it by: the number of micro-batches, over the context-parallel
    size.

    With ``calculate_per_token_loss`` and a loss function that returns (loss, log), that division is all that happens to
    a loss between here and the summed gradient (megatron.core.pipeline_parallel.schedules.forward_step_calc_loss).
    """
    return loss * (micro_batches / parallel_state.get_context_parallel_world_size())
