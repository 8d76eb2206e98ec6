"""Class balance (Volpi et al. 2022; paper, section 6.2): back to f_0 once the adapted model has lost its classes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ClassBalance:
    """largest_change: how many classes more or fewer than f_0 the adapted model may predict on a frame.

    Neither the paper nor Volpi et al. give the number; 2 of 11 classes is ours.
    """

    largest_change: int = 2

    def is_lost(self, fixed: Tensor, adapted: Tensor) -> bool:
        """Whether to go back. Both: class maps of one frame, uint8 (H, W)."""
        return abs(len(torch.unique(adapted)) - len(torch.unique(fixed))) > self.largest_change
