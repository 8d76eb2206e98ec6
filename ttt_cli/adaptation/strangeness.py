"""How unlike ordinary pictures a frame is to f: in its look, such as fog, and in what it shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ttt_cli.adaptation.device import Compute
from ttt_cli.core.frame import Frame
from ttt_cli.model.feature_statistics import DEAD_ZONE, measured_channels
from ttt_cli.model.split import SplitModel

if TYPE_CHECKING:
    from ttt_cli.adaptation.online import Adapter

USUAL = {"street": 0.1}
"""How strange in content a frame may be that the weights know, for those weights of which this was measured.

Drives like those that `street` was trained on lie below 0.01, under corruptions of severity 5 below 0.05, and videos of
other places and things between 0.02 and 0.3 (docs/trials.md).
"""
ASKED_EVERY = 50
"""Frames between questions where asking costs something."""


@dataclass(frozen=True)
class Strangeness:
    """Distances of f's channels from where they lie on ordinary pictures (`FeatureStatistics.distance`)."""

    look: float
    """The mean over all blocks of f: a veil, noise and a tint show in the first ones."""
    content: float
    """That of the last block alone, of which h makes classes."""


class Measurement:
    """What `measuring` finds; `strangeness` is set at its end, None if nothing is known of ordinary pictures."""

    strangeness: Strangeness | None = None


@contextmanager
def measuring(model: SplitModel) -> Iterator[Measurement]:
    """A context in which a model's first encoding of a frame is measured, at no cost to speak of."""
    measurement = Measurement()
    ordinary = model.ordinary_features
    if ordinary is None:
        yield measurement
        return
    with measured_channels(model.blocks) as measured:
        yield measurement
    first = measured[: len(model.blocks)]
    if first:
        distances = ordinary.distances(first, DEAD_ZONE)
        measurement.strangeness = Strangeness(*Compute.read(distances.mean(), distances[-1]))


@torch.no_grad()
def strangeness_to_trained(adapter: Adapter, frame: Frame) -> Strangeness | None:
    """How strange a frame is to f_0, which encodes it for that."""
    with measuring(adapter.model) as measurement, adapter.as_trained(), adapter.compute.autocast():
        if adapter.model.ordinary_features is not None:
            adapter.model.encode(adapter.compute.place(frame.image[None]))
    return measurement.strangeness
