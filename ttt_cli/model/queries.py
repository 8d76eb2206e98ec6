"""Mask queries: how models of Mask2Former's kind say which class and which pixels each of their queries stands for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class MaskQueries(NamedTuple):
    """The output of a main head with mask queries."""

    class_logits: Tensor
    """(B, Q, K + 1); the last class is "no object"."""
    mask_logits: Tensor
    """(B, Q, H/4, W/4) of the padded image."""
    auxiliary: tuple[tuple[Tensor, Tensor], ...]
    """Class and mask logits of every earlier decoder layer, for the training loss."""
    pixel_features: Tensor
    """(B, C, H/4, W/4); each query is multiplied with them to give its mask logits."""
    image_size: tuple[int, int]
    """(H, W) of the image before padding."""


def class_probabilities(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Mask2Former's semantic combination: sum over queries of softmax(class) x sigmoid(mask).

    class_logits: (B, Q, K + 1). mask_logits: (B, Q, h, w). Returns float32 (B, K, h, w), scaled to sum to 1 over K.
    """
    scores = torch.einsum("bqk,bqhw->bkhw", class_logits.float().softmax(-1)[..., :-1], mask_logits.float().sigmoid())
    return scores / scores.sum(dim=1, keepdim=True).clamp(min=1e-6)


def most_likely(scores: Tensor, resize: Callable[[Tensor], Tensor]) -> Tensor:
    """The class with the highest score at each pixel, the first of equals: uint8 (H, W).

    It goes class by class: that is faster than over all at once, and a large frame fits in memory.
    scores: (K, h, w). resize: brings the scores of a class to full size, (1, 1, h, w) -> (1, 1, H, W).
    """
    best = resize(scores[None, :1])[0, 0]
    classes = torch.zeros_like(best, dtype=torch.uint8)
    for index in range(1, len(scores)):
        full = resize(scores[None, index : index + 1])[0, 0]
        classes.masked_fill_(full > best, index)
        best = torch.maximum(best, full)
    return classes
