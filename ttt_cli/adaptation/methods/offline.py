"""Offline test-time training (paper, section 6.1), and the oracle that the paper reports for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ttt_cli.adaptation.methods.online import MaskedReconstruction
from ttt_cli.adaptation.offline import OnOfflineStep, train_offline
from ttt_cli.core.frame import Video
from ttt_cli.core.ranges import require_count

if TYPE_CHECKING:
    from ttt_cli.adaptation.online import Adapter


@dataclass(frozen=True)
class Offline(MaskedReconstruction):
    """f and g are trained on the whole video before the first prediction, then stay fixed."""

    window: int | None = 0
    steps: int | None = 0

    def begin(self, adapter: Adapter, video: Video, on_offline_step: OnOfflineStep) -> None:
        """Trains on the whole video. Cuts are ignored, since the model has seen all of it."""
        adapter.cuts = None
        train_offline(adapter, video, on_offline_step)


@dataclass(frozen=True)
class OfflineOracle(Offline):
    """Repeated offline training, stopped where the labels say that it was best; only `tttv eval` does this."""

    epochs: int = 4
    """It may stop after each epoch. The paper's best iteration is near 1000 steps on videos of 100 to 1000 frames."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count(self, "epochs")
