"""Memory in the row of each step."""

from __future__ import annotations

import psutil
import torch

from red_mcore.train.hooks.hook import Hook
from red_mcore.train.run import Run
from red_mcore.train.step import Step


class Memory(Hook):
    """Of rank 0: the process's now, and the GPU's peak of tensors since the step before."""

    def after_step(self, run: Run, step: Step) -> None:
        step.metrics["memory/rank0_mib"] = psutil.Process().memory_info().rss / 2**20
        if torch.cuda.is_available():
            step.metrics["memory/gpu_peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
            torch.cuda.reset_peak_memory_stats()
