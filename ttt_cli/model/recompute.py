"""Activation checkpointing: the backward pass computes the activations within blocks again instead of holding them.

The numbers and the gradients stay the same; memory is paid for with time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute(blocks: Sequence[nn.Module]) -> None:
    """From now on, only what goes into each block is held for the backward pass."""
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


@contextmanager
def recomputed(blocks: Sequence[nn.Module]) -> Iterator[None]:
    """A context in which forward passes hold only what goes into each block; the backward pass may come later."""
    recompute(blocks)
    try:
        yield
    finally:
        for block in blocks:
            block.__dict__.pop("forward", None)  # Replaying a published model may have removed it before.
