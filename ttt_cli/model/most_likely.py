"""The most likely class of every pixel of a large frame, without the scores of all classes at its size in memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def most_likely(scores: Tensor, enlarge: Callable[[Tensor], Tensor]) -> Tensor:
    """The class with the highest enlarged score at each pixel, of several the first: uint8 (H, W).

    scores: (K, h, w). enlarge: brings the scores of a class, (1, 1, h, w), to (1, 1, H, W). Those of a hundred classes
    would take gigabytes in a large frame; one after the other they also take less time.
    """
    best = enlarge(scores[None, :1])[0, 0].clone()
    class_map = torch.zeros(best.shape, dtype=torch.uint8, device=best.device)
    for index in range(1, len(scores)):
        full = enlarge(scores[None, index : index + 1])[0, 0]
        class_map.masked_fill_(full > best, index)
        torch.maximum(best, full, out=best)
    return class_map
