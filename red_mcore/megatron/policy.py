"""A policy on Megatron ranks: scoring, the update, and its optimizers and schedules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
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
from megatron.core.tensor_parallel import param_is_not_tensor_parallel_duplicate
from megatron.core.transformer.module import param_is_not_shared
from torch import Tensor
from torch.nn.utils import get_total_norm

from red_mcore.config.recipe import Optimizer, Recipe
from red_mcore.megatron import shim
from red_mcore.megatron.engine_gap import Gap, differences, engine_gap
from red_mcore.megatron.loss_sums import LossSums, TokenLosses, trained_tokens
from red_mcore.megatron.model import build_model, output_weight
from red_mcore.megatron.offload import on_device, read_on_device, to_host
from red_mcore.megatron.one_pass import OnePass
from red_mcore.megatron.optimizers import make_optimizers
from red_mcore.megatron.packing import MicroBatch, Plan, arrange, deal, imbalance, pack
from red_mcore.megatron.ranks import Ranks, any_rank, from_all, from_last_stage, sum_over_data
from red_mcore.megatron.schedule import Loss, run_schedule, undo_schedule_scale
from red_mcore.megatron.slots import Slot
from red_mcore.megatron.vocab import logprob_and_entropy
from red_mcore.models.architecture import Architecture
from red_mcore.models.layers import FP8_MULTIPLE
from red_mcore.samples import guards
from red_mcore.samples.records import Group, Sample, samples_of


class Policy:
    """A GPTModel split over the ranks; frozen until ``start_optimizers`` is called."""

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

    # Optimizers

    def start_optimizers(self, wanted: dict[str, tuple[Optimizer, int]]) -> None:
        """New optimizers (fresh moments) on the weights as they are: name -> (settings, updates of
        the schedule)."""
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
        if self._offload.optimizer:
            return on_device(self._optimizer_state)
        return nullcontext()

    def _optimizer_state(self) -> list[Tensor]:
        """Moments of every slot, and the float32 copy of bfloat16 weights (float32 weights are the
        model's own)."""
        found: list[Tensor] = []
        for slot in self.slots.values():
            found += slot.moments()
        for part in self.optimizer.chained_optimizers:
            found += chain.from_iterable(part.shard_fp32_from_float16_groups)
        return found

    def activate(self, name: str) -> Slot:
        """Let ``optimizer`` work with slot ``name``; returns it."""
        self._active.leave()
        self._active = self.slots[name]
        self._active.enter()
        return self._active

    # Scoring

    def score(self, groups: Sequence[Group]) -> dict[str, float]:
        """Fill ``old_logp`` and ``entropy`` of every sample, on every rank: dealing for an update
        may move a group.

        Returns the difference to the engine's log-probs over the rollouts (``engine_gap``), where
        there are any. FloatingPointError for one that is not finite.
        """
        gaps = []
        for sample, logp, entropy in self._scored(groups):
            sample.old_logp, sample.entropy = logp, float(entropy.mean())
            if sample.sampler_logp is not None:
                gap = differences(logp, sample.sampler_logp)
                gaps.append(Gap(float(gap.max()), float(gap.sum()), gap.size))
        self._check(groups, ("old_logp", "entropy"))
        return engine_gap(gaps)

    def score_reference(self, groups: Sequence[Group]) -> None:
        """Fill ``ref_logp`` of every sample, as ``score`` does; called on the reference."""
        self._score_frozen(groups, "ref_logp", self._offload.reference)

    def score_teacher(self, groups: Sequence[Group]) -> None:
        """The same of ``teacher_logp``; called on the teacher."""
        self._score_frozen(groups, "teacher_logp", self._offload.teacher)

    def _score_frozen(self, groups: Sequence[Group], field: str, is_offloaded: bool) -> None:
        with read_on_device(list(self.model.parameters()) if is_offloaded else []):
            for sample, logp, _ in self._scored(groups):
                setattr(sample, field, logp)
        self._check(groups, (field,))

    def _scored(self, groups: Sequence[Group]) -> Iterator[tuple[Sample, np.ndarray, np.ndarray]]:
        """(sample, log-probs [T], entropies [T]) of every sample in order, on every rank."""
        results: list[tuple[MicroBatch, Tensor]] = []
        """Of this rank's samples, on the last stage."""

        def keep(batch: MicroBatch, hidden: Tensor) -> tuple[Tensor, dict]:
            results.append((batch, torch.stack(self._logprobs(batch, hidden))))
            return hidden.new_zeros(()), {}

        with torch.no_grad():
            self._run(self._pack(self._plan(groups), ()), keep, forward_only=True)
        # All responses one after the other, so that two collectives serve all of them.
        starts, end = {}, 0
        for sample in samples_of(groups):
            starts[id(sample)] = end
            end += len(sample.response)
        scored = torch.zeros(2, end)
        for batch, result in results:
            for sample, entries, tokens in batch.spans:
                scored[:, starts[id(sample)] + tokens] = result[:, entries].cpu()
        logp, entropy = from_last_stage(sum_over_data(scored)).numpy()
        for sample in samples_of(groups):
            start = starts[id(sample)]
            place = slice(start, start + len(sample.response))
            yield sample, logp[place], entropy[place]

    def _score_entropies(self, groups: Sequence[Group], wanted: set[int]) -> None:
        """Fill ``entropy`` of the samples with these ids, if there are any."""
        chosen = []
        for group in groups:
            if samples := [sample for sample in group.samples if id(sample) in wanted]:
                chosen.append(Group(group.problem, samples))
        if chosen:
            for sample, _, entropy in self._scored(chosen):
                sample.entropy = float(entropy.mean())

    # The update

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

        Coefficients hold global denominators, so the result does not depend on micro-batches or
        layout. Returns ``loss/total``, ``loss/<component>`` and how samples are spread:
        ``packing/fill_fraction``, their share of all computed tokens, and ``packing/imbalance`` of
        the data-parallel ranks.

        ``on_policy``: the samples were not scored, and the rollouts are this very policy's. Their
        old log-probs are then this pass's log-probs, and all entropies and ``engine_gap`` are taken
        from it, too. ``weigh``, if given, is called on every rank, once, when every ``entropy`` is
        known and before a trace's loss. For that the ranks exchange entropies in the middle of the
        pass: at the plan's turn, a micro-batch of the same number on all of them. Those without a
        trace, or without any sample, come there as well, so that all communication of the pass has
        one order on all ranks whatever their samples are. Traces that come later than the turn are
        scored ahead.

        FloatingPointError, on every rank, where an advantage, a weight, an entropy or a loss is not
        finite.
        """
        self._check(groups, guards.COMPOSED)
        components = sorted(set().union(*(s.coefficient for s in samples_of(groups))))
        plan = self._plan(groups, offline_last=weigh is not None)
        batches = self._pack(plan, components)
        one_pass = None
        if on_policy:
            # Of all ranks, so that either all score some ahead or none does.
            late = {id(s) for s in plan.late}
            self._score_entropies(groups, late)
            measured = [s for s in samples_of(groups) if id(s) not in late]
            one_pass = OnePass(measured, self.ranks, weigh, batches[plan.turn])
        sums = LossSums(groups, components, token_losses)

        def loss(batch: MicroBatch, hidden: Tensor) -> tuple[Tensor, dict]:
            logp, entropy = self._logprobs(batch, hidden)
            # A token loss may overflow where nothing is trained; this stops its gradient there,
            # which would be NaN.
            trained = trained_tokens(batch)
            logp, entropy = torch.where(trained, logp, 0.0), torch.where(trained, entropy, 0.0)
            if one_pass is not None:
                one_pass.measure(batch, logp.detach(), entropy.detach())
            return undo_schedule_scale(sums.add(batch, logp, entropy), len(batches)), {}

        with shim.on_device():
            for chunk in self._ddp:
                chunk.zero_grad_buffer()
            self.optimizer.zero_grad()
        self._run(batches, loss, forward_only=False)
        # Context-parallel ranks have the same samples, but each computes its part of the tokens.
        own = chain.from_iterable(plan.batches[self.ranks.data_rank])
        filled = sum(s.tokens for s in own) / self.ranks.context
        computed = sum(batch.tokens.numel() for batch in batches)
        numbers = [*sums.by_component.values(), filled, computed]
        total = torch.tensor(numbers, dtype=torch.float64)
        *losses, filled, computed = from_last_stage(sum_over_data(total)).tolist()
        of_the_pass = {}
        if one_pass is not None:
            of_the_pass = one_pass.finish()
        self._check(groups, ("entropy", "weight"))  # of the pass itself
        loss_total = sum(losses)
        what = f"the loss is {loss_total}"
        self._refuse_unless(math.isfinite(loss_total), what, lambda: sums.spoilt)
        metrics = {"loss/total": loss_total}
        for name, value in zip(components, losses, strict=True):
            metrics[f"loss/{name}"] = value
        metrics["packing/fill_fraction"] = filled / computed
        metrics["packing/imbalance"] = imbalance(self._deal(groups), self.arch.hidden_size)
        return metrics | of_the_pass

    def step(self, optimizer: str = "main", lr_scale: float = 1.0) -> dict[str, float]:
        """One step of an optimizer on the gradient; its schedule, and only its own, advances if the
        step is done.

        ``lr_scale`` multiplies the learning rate of this step. Returns ``update/grad_norm``,
        ``update/weight_norm`` (after the step), ``update/change_norm`` (of what the step did to the
        weights), ``update/lr`` (as used) and ``update/skipped``: 1 where the norm is above the
        settings' ``skip_grad``, and nothing was done. FloatingPointError, on every rank, for a
        gradient or a learning rate that is not finite, before the weights change; and for weights
        that are not, after they did.
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
            norms = torch.stack([get_total_norm(weights), get_total_norm(changes)]).double()
            del weights, before, changes  # they would keep what is moved away
        slot.schedule.step(increment=int(updated))  # also takes the scale out again
        norms = norms.to(shim.device())
        dist.all_reduce(norms.square_())
        weight_norm, change_norm = norms.sqrt().tolist()
        if any_rank(not math.isfinite(weight_norm + change_norm)):
            raise FloatingPointError(
                f"the norm of the weights is {weight_norm}, that of their change {change_norm}:"
                " they are spoilt and not saved; go on from the last checkpoint with a lower"
                f" learning rate than {lr:g}"
            )
        return {
            "update/grad_norm": grad_norm,
            "update/weight_norm": weight_norm,
            "update/change_norm": change_norm,
            "update/lr": lr,
            "update/skipped": float(not updated),
        }

    def _step_unless_steep(self, limit: float, lr: float) -> tuple[bool, float]:
        """(Whether the optimizer stepped, gradient norm); it does not where the norm exceeds a
        ``limit`` above 0."""
        self.optimizer.prepare_grads()
        norm = float(self.optimizer.get_grad_norm() or 0.0)
        is_finite = math.isfinite(norm) and math.isfinite(lr)
        what = f"the gradient norm is {norm}, the learning rate {lr}"
        self._refuse_unless(is_finite, what, self._first_spoilt_gradient)
        # A step is a collective: all ranks have to agree on it.
        if limit and any_rank(not norm <= limit):
            return False, norm
        updated, _, _ = self.optimizer.step()
        return updated, norm

    def _first_spoilt_gradient(self) -> str | None:
        for chunk in self.model:
            for name, parameter in chunk.named_parameters():
                gradient: Tensor = getattr(parameter, "main_grad")  # noqa: B009 - Megatron adds it
                if not gradient.isfinite().all():
                    return f"the gradient of {name} is not finite"
        return None

    def _owned_weights(self) -> list[Tensor]:
        """The float32 weights that this rank updates, each weight of the model on one rank."""
        owned = []
        for part in self.optimizer.chained_optimizers:
            for weight in part.get_parameters():
                if param_is_not_shared(weight) and param_is_not_tensor_parallel_duplicate(weight):
                    owned.append(weight.detach())
        return owned

    # Refusals

    def _check(self, groups: Sequence[Group], names: Sequence[str]) -> None:
        """FloatingPointError, on every rank, for the first of these fields of samples that is not
        finite."""
        if found := guards.culprit(groups, names):
            owners: dict[int, int] = {}
            for rank, share in enumerate(self._deal(groups)):
                owners |= dict.fromkeys(map(id, share), rank)
            rank = owners[id(found.sample)]
            raise FloatingPointError(f"{found} (data-parallel rank {rank}); {guards.REFUSED}")

    def _refuse_unless(self, well: bool, what: str, find: Callable[[], str | None]) -> None:
        """FloatingPointError on every rank where one is not ``well``: the first culprit that a rank
        can ``find``."""
        if any_rank(not well):
            culprits = (f"{who} on rank {r}; " for r, who in enumerate(from_all(find())) if who)
            raise FloatingPointError(f"{next(culprits, '')}{what}: {guards.REFUSED}")

    # From samples to micro-batches, and through the model

    def _deal(self, groups: Sequence[Group]) -> list[list[Sample]]:
        return deal(groups, self.ranks.data, self.arch.hidden_size)

    def _plan(self, groups: Sequence[Group], offline_last: bool = False) -> Plan:
        rounds = 1
        if self._parallel.virtual > 1:
            rounds = self._parallel.pipeline
        return arrange(self._deal(groups), self._budget, rounds=rounds, offline_last=offline_last)

    def _pack(self, plan: Plan, components: Sequence[str]) -> list[MicroBatch]:
        multiple = FP8_MULTIPLE.get(self._fp8, 1)
        if self._parallel.sequence:
            multiple *= self._parallel.tensor
        return pack(
            plan,
            self.ranks.data_rank,
            multiple=multiple,
            static=self._parallel.pipeline > 1 or self._parallel.expert > 1,
            context=(self.ranks.context_rank, self.ranks.context),
            components=components,
            device=shim.device(),
        )

    def _run(self, batches: Sequence[MicroBatch], loss: Loss, *, forward_only: bool) -> None:
        run_schedule(self._ddp or list(self.model), batches, loss, forward_only=forward_only)

    def _logprobs(self, batch: MicroBatch, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probs, of rollouts at their temperature and of traces at 1; entropies at 1."""
        temperature = None
        if self.temperature != 1:
            # A trace was not drawn at the rollouts' temperature: what imitates it is at 1.
            is_offline = batch.fields["is_offline"] > 0
            temperature = torch.where(is_offline, 1.0, self.temperature)
        return logprob_and_entropy(
            hidden[0],
            output_weight(self.model[-1]),
            batch.targets,
            vocab_size=self.arch.vocab_size,
            temperature=temperature,
            group=parallel_state.get_tensor_model_parallel_group(),
        )
