"""Tensors that stay in the host's memory while they are not needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from red_mcore.megatron import shim


def to_host(tensors: Iterable[Tensor]) -> None:
    """Move the storage of each to the host, in pinned memory where there is a GPU; whoever holds a
    tensor keeps it."""
    for tensor in tensors:
        host = torch.empty_like(tensor, device="cpu", pin_memory=not shim.needed())
        tensor.data = host.copy_(tensor.detach(), non_blocking=True)
    torch.cuda.synchronize()


def to_device(tensors: Iterable[Tensor]) -> None:
    """Move the storage of each to this rank's device (on a CPU rank: elsewhere in memory)."""
    for tensor in tensors:
        tensor.data = tensor.detach().to(shim.device(), non_blocking=True, copy=True)


@contextmanager
def on_device(tensors: Callable[[], list[Tensor]]) -> Iterator[None]:
    """Have them on the device inside; they are asked for anew at the end, since others may have
    taken their places."""
    to_device(tensors())
    try:
        yield
    finally:
        to_host(tensors())


@contextmanager
def read_on_device(tensors: list[Tensor]) -> Iterator[None]:
    """Have them on the device inside, where nobody changes them."""
    at_home = [(tensor, tensor.data) for tensor in tensors]
    to_device(tensors)
    try:
        yield
    finally:
        for tensor, home in at_home:
            tensor.data = home
