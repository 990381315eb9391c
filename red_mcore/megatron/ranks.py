"""The ranks: process groups, coordinates, seeds, and the few collectives the loop needs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from red_mcore.config.recipe import Parallel, RecipeError
from red_mcore.megatron import shim
from red_mcore.system.exit_codes import BAD_INPUT, LEFT

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """Coordinates of this process; tensor runs fastest, then context, data and pipeline (Megatron's
    default)."""

    rank: int
    world: int
    tensor_rank: int
    tensor: int
    context_rank: int
    context: int
    pipeline_rank: int
    pipeline: int
    data_rank: int
    data: int

    @property
    def is_main(self) -> bool:
        """The rank that prints, tracks and writes shared files."""
        return self.rank == 0

    @property
    def layout(self) -> list[int]:
        """What makes equally numbered ranks of two runs have the same part in the work."""
        return [self.tensor, self.pipeline, self.data, self.context]

    @property
    def is_last_stage(self) -> bool:
        return self.pipeline_rank == self.pipeline - 1


def virtual_size(parallel: Parallel) -> int | None:
    """Virtual pipeline stages of a rank as Megatron counts them; None where it has one part of the
    model."""
    if parallel.virtual == 1:
        return None
    return parallel.virtual


def start(parallel: Parallel, seed: int, timeout_minutes: float = 30.0) -> Ranks:
    """Join the process group that the launcher's environment describes and build Megatron's groups.

    Must come before the rollout engine is made: the engine would otherwise create a default group
    of its own.
    """
    shim.install()
    from megatron.core import parallel_state

    if torch.cuda.is_available():
        backend = "cpu:gloo,cuda:nccl"
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    else:
        backend = "gloo"
        torch.set_num_threads(1)  # the ranks of a machine share its cores
    # Checked before, but for a GPU that torch turns out not to be able to use.
    if shim.needed() and parallel.virtual > 1 and parallel.pipeline == 2:
        raise RecipeError(
            f"parallel.virtual={parallel.virtual} with parallel.pipeline=2 gives wrong results on"
            " CPUs: use virtual=1"
        )
    dist.init_process_group(backend, timeout=timedelta(minutes=timeout_minutes))
    with shim.on_device():
        parallel_state.initialize_model_parallel(
            tensor_model_parallel_size=parallel.tensor,
            pipeline_model_parallel_size=parallel.pipeline,
            virtual_pipeline_model_parallel_size=virtual_size(parallel),
            context_parallel_size=parallel.context,
            expert_model_parallel_size=parallel.expert,
        )
        from megatron.core.tensor_parallel import model_parallel_cuda_manual_seed

        torch.manual_seed(seed)
        model_parallel_cuda_manual_seed(seed)
    return Ranks(
        rank=dist.get_rank(),
        world=dist.get_world_size(),
        tensor_rank=parallel_state.get_tensor_model_parallel_rank(),
        tensor=parallel.tensor,
        context_rank=parallel_state.get_context_parallel_rank(),
        context=parallel.context,
        pipeline_rank=parallel_state.get_pipeline_model_parallel_rank(),
        pipeline=parallel.pipeline,
        data_rank=parallel_state.get_data_parallel_rank(),
        data=parallel.data,
    )


def stop() -> None:
    """Leave the process groups."""
    from megatron.core import parallel_state

    parallel_state.destroy_model_parallel()
    dist.destroy_process_group()


def any_rank(flag: bool) -> bool:
    """True on every rank if ``flag`` is on any."""
    return bool(largest(int(flag)))


def largest(number: int) -> int:
    """The largest of all ranks' numbers, on every rank; over gloo, which fails at once where a rank
    has ended."""
    value = torch.tensor(number)
    dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return int(value)


def from_main(value: T) -> T:
    """Rank 0's ``value`` on every rank."""
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def from_all(value: T) -> list[T]:
    """The ``value`` of each rank, in order, on every rank."""
    box: list = [None] * dist.get_world_size()
    dist.all_gather_object(box, value)
    return box


@contextmanager
def together() -> Iterator[None]:
    """A block that only some ranks have work in, such as writing files or grading, ends alike on
    all of them.

    Where it raises on a rank, that rank raises once all know, and the others leave quietly: with
    ``LEFT``, or with the exit code of bad input if it was RecipeError, which the first of those
    that found it raises for all. A collective. The block holds no other one, in which ranks would
    wait for one that raised.
    """
    problem: Exception | None = None
    code = 0
    try:
        yield
    except RecipeError as error:  # raised again below, once the other ranks know
        problem, code = error, BAD_INPUT
    except Exception as error:
        problem, code = error, 1
    code = largest(code)
    if not code:
        return
    refusing = dist.get_world_size()
    if isinstance(problem, RecipeError):
        refusing = dist.get_rank()
    first = -largest(-refusing)
    if problem is not None and (not isinstance(problem, RecipeError) or first == refusing):
        raise problem
    if code == BAD_INPUT:
        raise SystemExit(code)
    raise SystemExit(LEFT)


def on_main(here: Ranks, function: Callable[[], T]) -> T:
    """Result of ``function``, which runs on rank 0 alone, on every rank; an error as in
    ``together``."""
    found: list[T] = []
    with together():
        if here.is_main:
            found.append(function())
    return from_main(found)[0]


def from_last_stage(tensor: torch.Tensor) -> torch.Tensor:
    """The last pipeline stage's ``tensor`` (same shape and dtype on all stages) on every stage."""
    from megatron.core import parallel_state

    if parallel_state.get_pipeline_model_parallel_world_size() > 1:
        dist.broadcast(
            tensor,
            src=parallel_state.get_pipeline_model_parallel_last_rank(),
            group=parallel_state.get_pipeline_model_parallel_group(),
        )
    return tensor


def sum_over_data(tensor: torch.Tensor) -> torch.Tensor:
    """``tensor`` summed over the data- and context-parallel ranks, in place."""
    return _over_data(tensor, dist.ReduceOp.SUM)


def max_over_data(tensor: torch.Tensor) -> torch.Tensor:
    """The largest of each entry over the data- and context-parallel ranks, in place."""
    return _over_data(tensor, dist.ReduceOp.MAX)


def sum_over_context(tensor: torch.Tensor) -> torch.Tensor:
    """``tensor`` summed over the context-parallel ranks, with its gradient."""
    return _SumOverContext.apply(tensor)


class _SumOverContext(torch.autograd.Function):
    """A sum of all ranks' parts that all of them go on with: its gradient is the sum of all ranks'
    gradients."""

    @staticmethod
    def forward(ctx, tensor: torch.Tensor) -> torch.Tensor:
        return _over_context(tensor)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        return _over_context(gradient)


def _over_context(tensor: torch.Tensor) -> torch.Tensor:
    from megatron.core import parallel_state

    total = tensor.clone()
    dist.all_reduce(total, group=parallel_state.get_context_parallel_group())
    return total


def _over_data(tensor: torch.Tensor, op) -> torch.Tensor:
    from megatron.core import parallel_state

    group = parallel_state.get_data_parallel_group(with_context_parallel=True)
    dist.all_reduce(tensor, op=op, group=group)
    return tensor
