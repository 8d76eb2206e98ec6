"""A batch in parts, whose losses add up to that of the whole batch.

A loss is computed from means and sums over the batch. A part has its own, and how much its means are means over, so
that those of the whole batch can be had of all parts together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from ttt_cli.adaptation.masking import random_visible
from ttt_cli.adaptation.reconstruction import reconstruction_error
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.split import SplitModel
from ttt_cli.training.processes import WHOLE, Processes, Share
from ttt_cli.training.stills import Still


@dataclass(frozen=True)
class Part:
    """Images that pass through the model at once: a batch, or a share of one."""

    stills: Sequence[Still]
    """Those of the share, augmented."""
    share: Share = WHOLE
    """Which of the batch's images they are."""
    mask_counts: Sequence[int] = ()
    """How many masks each image of the whole batch has; needed if the share is not all of it."""


class Terms(NamedTuple):
    """What a loss is computed from."""

    means: Tensor
    """(T,)"""
    weights: Tensor
    """How much each of them is a mean over: (T,), without a gradient."""
    sums: Tensor
    """(S,)"""


def joined_terms(terms: Sequence[Terms]) -> Terms:
    """All terms of the same images, one after the other."""
    return Terms(*(torch.cat(tensors) for tensors in zip(*terms, strict=True)))


def terms_of_batch(parts: Sequence[Terms], processes: Processes) -> Terms:
    """The terms of the whole batch, of which this process has `parts`. Their gradient is that of these parts."""
    weights = processes.sum(torch.stack([part.weights for part in parts]).sum(dim=0))
    means = [part.means * (part.weights / weights).nan_to_num() for part in parts]
    return Terms(
        processes.whole(torch.stack(means).sum(dim=0)),
        weights,
        processes.whole(torch.stack([part.sums for part in parts]).sum(dim=0)),
    )


def draw_visible_of_batch(
    images: Tensor, share: Share, settings: ReconstructionSettings, generator: Generator
) -> Tensor:
    """A mask for every image of the whole batch, of which `images`, (B, 3, H, W), is a share: (N, 1, H, W)."""
    size, count = (images.shape[-2], images.shape[-1]), len(images) * share.count
    return random_visible(count, size, settings.patch_pixels, settings.mask_ratio, generator, images.device)


def reconstruction_of_part(
    model: SplitModel, images: Tensor, visible: Tensor, share: Share, settings: ReconstructionSettings
) -> Tensor:
    """What some images of a batch add to its l_s: a scalar.

    images: those of the share, RGB in 0..255, (B, 3, H, W). visible: of the whole batch, (N, 1, H, W), 1 = shown.
    """
    own = slice(share.index, None, share.count)
    error = reconstruction_error(model, model.encode(images, visible[own]), images, visible[own], settings)
    counted = 1 - visible if settings.loss_on == "hidden" else torch.ones_like(visible)
    return error * (counted[own].sum() / counted.sum())
