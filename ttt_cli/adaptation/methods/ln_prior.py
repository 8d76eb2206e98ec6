"""LN Adapt with a prior (Schneider et al. 2020): a fixed share of the training statistics in every frame's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ttt_cli.adaptation.methods.ln_adapt import StatisticsAdapt
from ttt_cli.core.frame import Frame

if TYPE_CHECKING:
    from ttt_cli.adaptation.online import Adapter


@dataclass(frozen=True)
class StatisticsWithPrior(StatisticsAdapt):
    """Normalization statistics are those of training, with a share `momentum` of the current frame's."""

    forgetting: float | None = 0.0
    momentum: float = 0.1

    def before_step(self, adapter: Adapter, frame: Frame) -> None:
        """Mixes the frame's statistics with those of training."""
        adapter.start_statistics.restore()
        super().before_step(adapter, frame)
