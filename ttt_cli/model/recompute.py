"""Activation checkpointing: the backward pass computes the activations within blocks again instead of holding them.

The numbers and the gradients stay the same; memory is paid for with time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from ttt_cli.model.published.anatomy import MaskInput
from ttt_cli.model.split import SplitModel


def recomputable(model: SplitModel) -> list[nn.Module]:
    """The blocks of f but for one that holds a layer told of the mask: it is told only while a forward pass lasts."""
    told = model.mask_input.first if isinstance(model.mask_input, MaskInput) else None
    return [block for block in model.blocks if all(module is not told for module in block.modules())]


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
