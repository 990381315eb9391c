"""What a training pass learns on its way about samples that were not scored ahead of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from red_mcore.megatron.packing import MicroBatch
from red_mcore.megatron.ranks import Ranks, from_last_stage, max_over_data, sum_over_data
from red_mcore.samples.records import Sample


class OwnPass:
    """What a training pass learns about samples that were not scored, and the weights that depend on it.

    Its communication has a place that the plan alone decides: ``turn`` where there are weights to set, else the end.
    """

    def __init__(
        self, samples: Sequence[Sample], ranks: Ranks, weigh: Callable[[], None] | None, turn: MicroBatch
    ) -> None:
        self._samples = samples
        self._index = {id(s): i for i, s in enumerate(samples)}
        # Mean entropy, largest and summed difference to the engine of this rank's part of each sample.
        self._measured = torch.zeros(3, len(samples), dtype=torch.float64)
        self._is_last_stage, self._weigh, self._turn = ranks.is_last_stage, weigh, turn
        self._is_past_turn = False

    def measure(self, batch: MicroBatch, logp: Tensor, entropy: Tensor) -> None:
        """Called before each micro-batch's loss, on the last stage: notes its samples; at the turn sets the weights."""
        batch.fields["old_logp"] = logp
        logps, entropies = torch.stack((logp, entropy)).cpu().numpy()
        for sample, entries, tokens in batch.spans:
            if (i := self._index.get(id(sample))) is not None:
                entropy = entropies[entries].sum() / len(sample.response)
                gap = differences(logps[entries], sample.sampler_logp[tokens]) if not sample.is_offline else np.zeros(1)
                self._measured[:, i] = torch.tensor((entropy, gap.max(initial=0.0), gap.sum()))
        if self._weigh is None:
            return
        if batch is self._turn:
            sum_over_data(self._measured[0])
            self._tell_entropies()
            self._is_past_turn = True
        if self._is_past_turn:
            batch.refresh("weight")

    def finish(self) -> dict[str, float]:
        """After the pass, on every rank: what the last stage knows, and the difference to the engine."""
        if self._is_last_stage:
            if self._weigh is None:
                sum_over_data(self._measured[0])
            max_over_data(self._measured[1])
            sum_over_data(self._measured[2])
        from_last_stage(self._measured)
        if not self._is_past_turn:
            self._tell_entropies()
        gaps = zip(self._samples, self._measured[1:].T.tolist(), strict=True)
        return engine_gap([(*gap, len(s.response)) for s, gap in gaps if not s.is_offline])

    def _tell_entropies(self) -> None:
        for sample, entropy in zip(self._samples, self._measured[0].tolist(), strict=True):
            sample.entropy = entropy
        if self._weigh is not None:
            self._weigh()


def differences(logp: np.ndarray, sampler_logp: np.ndarray) -> np.ndarray:
    """|trainer - engine| of each token, nats; infinite where it is no number, which no maximum passes over."""
    return np.nan_to_num(np.abs(logp - sampler_logp), nan=np.inf, posinf=np.inf)


def engine_gap(gaps: list[tuple[float, float, int]]) -> dict[str, float]:
    """``rollout/logprob_gap_{max,mean}_nats`` from each rollout's largest and summed |trainer - engine| and tokens."""
    if not gaps:
        return {}
    largest, total, tokens = zip(*gaps, strict=True)
    return {
        "rollout/logprob_gap_max_nats": max(largest),
        "rollout/logprob_gap_mean_nats": sum(total) / sum(tokens),
    }
