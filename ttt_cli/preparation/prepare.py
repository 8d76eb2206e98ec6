"""Prepares a model: an f that bears more, a g, and what the features of ordinary pictures are like.

No labels are used, and the model itself stays as it is: all that is found goes into its companion file.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Generator, Tensor

from ttt_cli.adaptation.reconstruction import reconstruction_loss
from ttt_cli.core.exposure import picture_statistics
from ttt_cli.model.added_head import head_tensors
from ttt_cli.model.companion import ENCODER, ORDINARY_FEATURES, Companion, named
from ttt_cli.model.feature_statistics import FeatureStatistics
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.split import SplitModel
from ttt_cli.preparation.settings import PreparationSettings
from ttt_cli.preparation.training import PreparationLosses, PreparationTraining, Show
from ttt_cli.training.camera import Camera, seen_by_camera

ORDINARY = Camera(share=0.6)
"""How pictures are changed before features are measured, as in the training of `street`."""
RECONSTRUCTION = ReconstructionSettings(target="image")
OnPicture = Callable[[], None]
"""Called after each picture that is measured."""


def with_features(
    model: SplitModel, fingerprint: str, pictures: Sequence[Tensor], show: Show, on_picture: OnPicture
) -> tuple[Companion, dict[str, Tensor]]:
    """A companion that knows the features of ordinary pictures alone, and its tensors.

    fingerprint: of the model's weights. pictures: uint8 RGB (3, H, W) each.
    """
    features = _ordinary_features(model, pictures, show, on_picture)
    companion = Companion(fingerprint, len(pictures), picture_statistics(pictures))
    return companion, named(ORDINARY_FEATURES, features.state_dict())


def with_reconstruction(
    model: SplitModel,
    fingerprint: str,
    pictures: Sequence[Tensor],
    show: Show,
    settings: PreparationSettings,
    checkpoint: Path,
    on_step: Callable[[PreparationLosses], None],
    on_picture: OnPicture,
) -> tuple[Companion, dict[str, Tensor]]:
    """The same with an f that bears more and a g. The model is changed.

    checkpoint: where Ctrl-C leaves the state of the training, from which the next call goes on.
    """
    reconstruction = RECONSTRUCTION
    if settings.visible_only:
        # A patch of the mask is that of a token, so that a token is either shown or left out.
        reconstruction = replace(reconstruction, patch_pixels=model.encode_visible_only())
    training = PreparationTraining(model, pictures, show, reconstruction, settings)
    with _resumable(training, checkpoint):
        training.run(on_step)
    companion, tensors = with_features(model, fingerprint, pictures, show, on_picture)
    usual = _usual_loss(model, pictures, show, reconstruction)
    tensors |= head_tensors(model) | named(ENCODER, dict(model.encoder.named_parameters()))
    reconstruction = replace(reconstruction, familiar_loss=usual)
    found = replace(companion, head=training.shape, reconstruction=reconstruction, visible_only=settings.visible_only)
    return found, tensors


@contextmanager
def _resumable(training: PreparationTraining, checkpoint: Path) -> Iterator[None]:
    if checkpoint.is_file():
        training.resume(checkpoint)
    try:
        yield
    except KeyboardInterrupt:
        training.save(checkpoint)
        raise
    checkpoint.unlink(missing_ok=True)


@torch.no_grad()
def _ordinary_features(
    model: SplitModel, pictures: Sequence[Tensor], show: Show, on_picture: OnPicture
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


@torch.no_grad()
def _usual_loss(
    model: SplitModel, pictures: Sequence[Tensor], show: Show, reconstruction: ReconstructionSettings
) -> float:
    """Mean l_s on the pictures, one mask each."""
    generator = Generator().manual_seed(0)
    device = next(model.parameters()).device
    images = (show(picture)[None].to(device) for picture in pictures)
    losses = [float(reconstruction_loss(model, image, reconstruction, generator)) for image in images]
    return round(statistics.fmean(losses), 4)
