"""Offline test-time training (paper, section 6.3), and the oracle that the paper reports of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ttt_cli.adaptation.methods.online import MaskedReconstruction
from ttt_cli.adaptation.offline import OnOfflineStep, train_offline
from ttt_cli.core.frame import Video

if TYPE_CHECKING:
    from ttt_cli.adaptation.online import Adapter


@dataclass(frozen=True)
class Offline(MaskedReconstruction):
    """f and g are trained on the whole video before the first prediction, and then stand still."""

    window: int | None = 0
    steps: int | None = 0

    def begin(self, adapter: Adapter, video: Video, on_offline_step: OnOfflineStep) -> None:
        """Trains on the whole video. Cuts do not matter to a model that has seen all of it."""
        adapter.cuts = None
        train_offline(adapter, video, on_offline_step)


@dataclass(frozen=True)
class OfflineOracle(Offline):
    """Offline training again and again, stopped when the labels say that it was best; `tttv eval` does that."""

    epochs: int = 4
    """After each it may stop: the paper's best iteration is near 1000 steps on videos of 100 to 1000 frames."""
