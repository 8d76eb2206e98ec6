"""The self-supervised task l_s: reconstruct the hidden patches of an image (paper, sections 3 and 4.3)."""

from __future__ import annotations

from torch import Generator, Tensor
from torch.nn import functional

from ttt_cli.adaptation.masking import random_visible
from ttt_cli.model.pixels import denormalize, normalize
from ttt_cli.model.settings import LossOn, ReconstructionSettings
from ttt_cli.model.split import Encoded, SplitModel


def reconstruction_loss(
    model: SplitModel, images: Tensor, settings: ReconstructionSettings, generator: Generator
) -> Tensor:
    """l_s(g(f(masked images)), images), a scalar, with a new mask for every image of the batch.

    images: RGB in 0..255, (B, 3, H, W).
    generator: a CPU generator for the masks.
    """
    visible = draw_visible(images, settings, generator)
    return reconstruction_error(model, model.encode(images, visible), images, visible, settings)


def draw_visible(images: Tensor, settings: ReconstructionSettings, generator: Generator) -> Tensor:
    """A new mask for every image of a batch (B, 3, H, W). Returns `visible`: (B, 1, H, W), 1 = shown."""
    size = (images.shape[-2], images.shape[-1])
    return random_visible(len(images), size, settings.patch_pixels, settings.mask_ratio, generator, images.device)


def reconstruction_error(
    model: SplitModel, features: Encoded, images: Tensor, visible: Tensor, settings: ReconstructionSettings
) -> Tensor:
    """l_s from the features of the masked images."""
    return squared_error(model.reconstruct(features), target_of(images, settings), visible, settings.loss_on)


def squared_error(reconstruction: Tensor, target: Tensor, visible: Tensor, loss_on: LossOn) -> Tensor:
    """Mean squared error over hidden pixels, or over all of them. `visible`: (B, 1, H, W), 1 = shown."""
    error = (reconstruction.float() - target).square()
    if loss_on == "all":
        return error.mean()
    hidden = (1 - visible).expand_as(error)
    return (error * hidden).sum() / hidden.sum()


def target_of(images: Tensor, settings: ReconstructionSettings) -> Tensor:
    """The target of g for RGB images in 0..255: float32 (B, 3, H, W)."""
    normalized = normalize(images)
    offset, factor = _scale(normalized, settings)
    return (normalized - offset) / factor


def pixels_of(reconstruction: Tensor, images: Tensor, settings: ReconstructionSettings) -> Tensor:
    """Converts g's output for `images` back to RGB in 0..255, for display: uint8 (B, 3, H, W)."""
    offset, factor = _scale(normalize(images), settings)
    return denormalize(reconstruction * factor + offset)


def _scale(normalized: Tensor, settings: ReconstructionSettings) -> tuple[Tensor, Tensor]:
    """The offset and factor that the target removes from the normalized images."""
    if settings.target == "pixels":
        return normalized.new_zeros(()), normalized.new_ones(())
    if settings.target == "image":
        deviation = normalized.std(dim=(-2, -1), keepdim=True, unbiased=False)
        # The floor keeps the noise of a black or constant frame from being amplified.
        return normalized.mean(dim=(-2, -1), keepdim=True), deviation.clamp(min=0.05)
    mean = _patch_mean(normalized, settings.patch_pixels)
    variance = _patch_mean((normalized - mean).square(), settings.patch_pixels)
    return mean, variance.add(1e-3).sqrt()


def _patch_mean(values: Tensor, patch_pixels: int) -> Tensor:
    """The mean of the patch around each pixel of (B, 3, H, W)."""
    height, width = values.shape[-2:]
    means = functional.avg_pool2d(values, patch_pixels, ceil_mode=True, count_include_pad=False)
    return functional.interpolate(means, scale_factor=patch_pixels)[..., :height, :width]
