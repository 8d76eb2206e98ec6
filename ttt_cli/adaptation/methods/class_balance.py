"""Class balance (Volpi et al. 2022; paper, section 6.2): back to f_0 once the adapted model has lost its classes."""

from __future__ import annotations

from dataclasses import dataclass

from ttt_cli.core.frame import Prediction


@dataclass(frozen=True)
class ClassBalance:
    """largest_change: how many classes more or fewer than f_0 the adapted model may predict on a frame.

    Neither the paper nor Volpi et al. give the number; 2 of 11 classes is ours.
    """

    largest_change: int = 2

    def is_lost(self, fixed: Prediction, adapted: Prediction) -> bool:
        """Whether to go back; both are of one frame."""
        return abs(len(adapted.present()) - len(fixed.present())) > self.largest_change
