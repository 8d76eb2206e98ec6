"""Several processes that train one model together, started by torchrun: each computes its share of every batch.

Every process draws the random numbers of the whole batch and uses those of its share, so that processes do together
what one would do alone with a larger batch. Gradients are added up explicitly rather than by DistributedDataParallel,
which wants one forward and one backward pass a step; here a step has two of each, and look-ahead training more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed

from ttt_cli.core.errors import UsageError

PATIENCE = timedelta(hours=2)
"""How long processes wait for one another: only the first of them validates."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Share:
    """A part of a batch: of its images, every `count`-th from `index` on."""

    index: int = 0
    count: int = 1

    def of(self, batch: Sequence[Item]) -> Sequence[Item]:
        """The images of the share, or whatever there is one of for each image of the batch."""
        return batch[self.index :: self.count]


WHOLE = Share()


@dataclass(frozen=True)
class Processes:
    """The processes of a training, seen from one of them."""

    rank: int = 0
    """Number of this one."""
    count: int = 1
    """How many there are."""

    @property
    def is_first(self) -> bool:
        """Whether this one validates, logs and saves."""
        return self.rank == 0

    def share(self, part: int = 0, parts: int = 1) -> Share:
        """This process's share of a batch, or one of the parts that the share is cut into."""
        return Share(self.rank + self.count * part, self.count * parts)

    def sum(self, values: Tensor) -> Tensor:
        """The sum of the tensors of all processes, without a gradient."""
        total = values.detach().clone()
        if self.count > 1:
            distributed.all_reduce(total)
        return total

    def whole(self, own: Tensor) -> Tensor:
        """The sum of the tensors of all processes. Its gradient is that of this process's part."""
        return own + (self.sum(own) - own.detach())

    def sum_each(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each tensor by its sum over all processes."""
        if self.count > 1:
            total = self.sum(torch.cat([tensor.flatten() for tensor in tensors]))
            parts = torch.split(total, [tensor.numel() for tensor in tensors])
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view(tensor.shape))

    def gathered(self, values: Sequence[int], device: torch.device) -> list[int]:
        """The numbers of all processes, each of which has those of its share, in the order of the batch."""
        whole = torch.zeros(len(values) * self.count, dtype=torch.int64, device=device)
        whole[self.rank :: self.count] = torch.tensor(values, device=device)
        return [int(value) for value in self.sum(whole)]

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag is set in any process."""
        return bool(self.sum(torch.tensor(float(flag), device=device)))


ALONE = Processes()


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """The processes that torchrun started with this one, or this one alone. Each takes a GPU of its own.

    Raises UsageError if there are fewer GPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    if device.type == "cuda":
        local, usable = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= usable:
            raise UsageError(f"torchrun started more processes than the {usable} GPUs; lower --nproc-per-node")
        torch.cuda.set_device(local)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
