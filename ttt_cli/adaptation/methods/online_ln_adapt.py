"""Our own method: online test-time training while the normalization statistics follow the video."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ttt_cli.adaptation.methods.ln_adapt import StatisticsAdapt
from ttt_cli.adaptation.methods.online import MaskedReconstruction
from ttt_cli.core.frame import Frame
from ttt_cli.core.ranges import require_not_negative

if TYPE_CHECKING:
    from ttt_cli.adaptation.online import Adapter


@dataclass(frozen=True)
class ReconstructAndFollow(MaskedReconstruction, StatisticsAdapt):
    """`online`, plus `ln-adapt` before each step on video that f_0, g_0 cannot reconstruct well.

    On familiar video the training statistics are better than those of a few frames, so there it is just `online`.
    """

    probe_every: int = 50
    """Frames between checks whether the video is familiar; 0 never checks, and always follows."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_not_negative(self, "probe_every")

    def before_step(self, adapter: Adapter, frame: Frame) -> None:
        """Moves the statistics towards the frame's, unless the video is familiar."""
        adapter.familiarity.update(adapter, frame, self.probe_every)
        if not (self.probe_every and adapter.familiarity.is_familiar):
            super().before_step(adapter, frame)
