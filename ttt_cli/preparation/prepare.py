"""Prepares a model: what its features are like on ordinary pictures, and a reconstruction head with an f that bears it.

No labels are used, and the model itself stays as it is: all that is found goes into its companion file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from ttt_cli.core.exposure import picture_statistics
from ttt_cli.model.companion import ORDINARY_FEATURES, Companion, named
from ttt_cli.model.feature_statistics import FeatureStatistics
from ttt_cli.model.split import SplitModel
from ttt_cli.training.camera import Camera, seen_by_camera

ORDINARY = Camera(share=0.6)
"""How pictures are changed before features are measured, as in the training of `street`."""
Show = Callable[[Tensor], Tensor]
"""What the model sees of a picture, uint8 RGB (3, H, W)."""


@torch.no_grad()
def ordinary_features(
    model: SplitModel, pictures: Sequence[Tensor], show: Show, on_picture: Callable[[], None]
) -> FeatureStatistics:
    """The statistics of f's channels on whole pictures, many of them changed as another camera would have."""
    generator = Generator().manual_seed(0)
    device = next(model.parameters()).device
    measured = []
    for picture in pictures:
        shown = show(seen_by_camera(picture, ORDINARY, generator))
        measured.append(model.channel_statistics(shown[None].to(device)))
        on_picture()
    return FeatureStatistics.of(measured)


def with_ordinary_features(
    model: SplitModel, fingerprint: str, pictures: Sequence[Tensor], show: Show, on_picture: Callable[[], None]
) -> tuple[Companion, dict[str, Tensor]]:
    """A companion with these statistics alone, and its tensors. fingerprint: of the model's weights."""
    features = ordinary_features(model, pictures, show, on_picture)
    companion = Companion(fingerprint, len(pictures), picture_statistics(pictures))
    return companion, named(ORDINARY_FEATURES, features.state_dict())
