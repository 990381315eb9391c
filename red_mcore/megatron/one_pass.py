"""One pass for two purposes: a training pass that also measures what was not scored ahead of it.

With one update per step the rollouts are the policy's own, so the update's forward pass finds
their old log-probs, all entropies and the difference to the engine. Weights of traces may depend
on all of these entropies (RED), so the losses of traces have to wait for the last rollout of
every rank. Who waits for whom, with ``r`` a micro-batch of rollouts and ``t`` one that has
traces:

       last stage, data rank 0         last stage, data rank 1          earlier stages of both
    0  r: measure, loss, backward      r: measure, loss, backward       forward, backward, as
    1  r: measure, loss, backward      -: empty, its loss is 0            the schedule has it
    2  t: measure                      t: measure
       |                               |
       +--- entropies: summed over data and context --- the turn
       |                               |
       weigh                           weigh
       loss, backward                  loss, backward
    3  t: loss, backward               -: empty, its loss is 0
       |                               |
       +--- gaps: max and sum over data and context --- after the pass
       |                               |                                |
       +--- all of it: from the last stage of each pipeline ------------+
                                                                        weigh

The turn is a micro-batch of the same number on all ranks. That number, the empty micro-batches
and the traces behind the turn (scored in a pass ahead, so that the sum at the turn is complete)
are in the plan, which every rank makes of all samples. A rank never decides by its own share: it
takes part in the sum whether or not it has a trace, a rollout or any sample, so that all ranks
have all collectives, those of attention and experts included, in one order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from red_mcore.megatron.engine_gap import Gap, differences, engine_gap
from red_mcore.megatron.packing import MicroBatch
from red_mcore.megatron.ranks import Ranks, from_last_stage, max_over_data, sum_over_data
from red_mcore.samples.records import Sample

ENTROPY, LARGEST, TOTAL = range(3)
"""What is measured of each sample: its mean entropy, the largest difference to the engine, and
their sum; nats."""


class OnePass:
    """What a training pass measures on its way, and the weights that depend on it."""

    def __init__(
        self,
        samples: Sequence[Sample],
        ranks: Ranks,
        weigh: Callable[[], object] | None,
        turn: MicroBatch,
    ) -> None:
        """``samples`` of all ranks are measured; ``weigh`` sets weights at ``turn``, None where
        there are none."""
        self._samples = samples
        self._index = {id(sample): i for i, sample in enumerate(samples)}
        # This rank's part of each sample: another has other samples, or other tokens of these.
        self._measured = torch.zeros(3, len(samples), dtype=torch.float64)
        self._is_last_stage, self._weigh, self._turn = ranks.is_last_stage, weigh, turn
        self._is_past_turn = False

    def measure(self, batch: MicroBatch, logp: Tensor, entropy: Tensor) -> None:
        """Note what the samples of a micro-batch tell; the weights are set at the turn.

        Called on the last stage before each micro-batch's loss, with log-probs and entropies [T] of
        the policy as it is.
        """
        batch.fields["old_logp"] = logp
        logps, entropies = torch.stack((logp, entropy)).cpu().numpy()
        for sample, entries, tokens in batch.spans:
            i = self._index.get(id(sample))
            if i is None:  # a late trace, scored ahead
                continue
            self._measured[ENTROPY, i] = float(entropies[entries].sum() / sample.trained_tokens)
            if sample.sampler_logp is not None:
                gap = differences(logps[entries], sample.sampler_logp[tokens])
                self._measured[LARGEST, i] = float(gap.max(initial=0.0))
                self._measured[TOTAL, i] = float(gap.sum())
        if self._weigh is None:
            return
        if batch is self._turn:
            sum_over_data(self._measured[ENTROPY])
            self._set_entropies()
            self._is_past_turn = True
        if self._is_past_turn:
            batch.refresh("weight")

    def finish(self) -> dict[str, float]:
        """After the pass, on every rank: what the last stage knows; returns the difference to the
        engine."""
        if self._is_last_stage:
            if self._weigh is None:
                sum_over_data(self._measured[ENTROPY])
            max_over_data(self._measured[LARGEST])
            sum_over_data(self._measured[TOTAL])
        from_last_stage(self._measured)
        if not self._is_past_turn:
            self._set_entropies()
        gaps = []
        for i, sample in enumerate(self._samples):
            if not sample.is_offline:
                largest, total = self._measured[LARGEST:, i].tolist()
                gaps.append(Gap(largest, total, len(sample.response)))
        return engine_gap(gaps)

    def _set_entropies(self) -> None:
        for i, sample in enumerate(self._samples):
            sample.entropy = self._measured[ENTROPY, i].item()
        if self._weigh is not None:
            self._weigh()
