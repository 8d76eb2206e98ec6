"""Ours: online test-time training while the normalisation statistics follow the video."""

from __future__ import annotations

from dataclasses import dataclass

from ttt_cli.adaptation.methods.ln_adapt import StatisticsAdapt
from ttt_cli.adaptation.methods.online import MaskedReconstruction


@dataclass(frozen=True)
class ReconstructAndFollow(MaskedReconstruction, StatisticsAdapt):
    """`online`, and before each step what `ln-adapt` does, on video that g_0 f_0 can not reconstruct well.

    On familiar video the statistics of training are right, and those of a few frames are not: there it is `online`.
    """

    probe_every: int = 50
