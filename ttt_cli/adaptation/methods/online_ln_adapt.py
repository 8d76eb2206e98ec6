"""Ours: online test-time training while the normalization statistics follow the video."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ttt_cli.adaptation.methods.ln_adapt import StatisticsAdapt
from ttt_cli.adaptation.methods.online import MaskedReconstruction
from ttt_cli.core.frame import Frame

if TYPE_CHECKING:
    from ttt_cli.adaptation.online import Adapter


@dataclass(frozen=True)
class ReconstructAndFollow(MaskedReconstruction, StatisticsAdapt):
    """`online`, and before each step what `ln-adapt` does, on video that g_0 f_0 cannot reconstruct well.

    On familiar video the statistics of training are right, and those of a few frames are not: there it is `online`.
    """

    probe_every: int = 50
    """After so many frames it is asked anew whether the video is familiar; 0 never asks, and always follows."""

    def before_step(self, adapter: Adapter, frame: Frame) -> None:
        """The statistics follow the frame, unless the video is familiar."""
        adapter.familiarity.update(adapter, frame, self.probe_every)
        if not (self.probe_every and adapter.familiarity.is_familiar):
            super().before_step(adapter, frame)
