"""The Y-shaped model of the paper's section 3: encoder f, main head h, reconstruction head g.

The heads are built from transformers' Mask2Former (plain PyTorch deformable attention, no compiled op).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Mask2FormerConfig, SwinConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoder,
    Mask2FormerPreTrainedModel,
    Mask2FormerTransformerModule,
)

from ttt_cli.model.encoder import PIXEL_MEAN, PIXEL_STANDARD_DEVIATION, build_encoder
from ttt_cli.model.feature_statistics import FeatureStatistics, clamped_channels, measured_channels
from ttt_cli.model.settings import HeadSize, ModelSize

# The reconstruction head predicts at stride 4: each of its positions holds 4 x 4 pixels of 3 channels.
OUTPUT_STRIDE = 4
RECONSTRUCTION_QUERIES = 3 * OUTPUT_STRIDE * OUTPUT_STRIDE


class Features(NamedTuple):
    """The encoder's output."""

    maps: tuple[Tensor, ...]
    """At strides s = 4, 8, 16, 32: (B, C_i, H/s, W/s)."""
    image_size: tuple[int, int]
    """(H, W) of the image before padding."""


class MaskQueries(NamedTuple):
    """The main head's output."""

    class_logits: Tensor
    """(B, Q, K + 1); the last class is "no object"."""
    mask_logits: Tensor
    """(B, Q, H/4, W/4) of the padded image."""
    auxiliary: tuple[tuple[Tensor, Tensor], ...]
    """Class and mask logits of every earlier decoder layer, for the training loss."""
    pixel_features: Tensor
    """(B, C, H/4, W/4); each query is multiplied with them to give its mask logits."""
    image_size: tuple[int, int]
    """(H, W) of the image before padding."""


def normalize(images: Tensor) -> Tensor:
    """Normalizes RGB images in 0..255, uint8 or float (B, 3, H, W): float32 with ImageNet's mean 0 and deviation 1."""
    mean = torch.tensor(PIXEL_MEAN, device=images.device).view(1, 3, 1, 1)
    deviation = torch.tensor(PIXEL_STANDARD_DEVIATION, device=images.device).view(1, 3, 1, 1)
    return (images.float() - mean) / deviation


def denormalize(normalized: Tensor) -> Tensor:
    """The inverse of `normalize`: uint8 (B, 3, H, W), values out of range clipped."""
    mean = torch.tensor(PIXEL_MEAN, device=normalized.device).view(1, 3, 1, 1)
    deviation = torch.tensor(PIXEL_STANDARD_DEVIATION, device=normalized.device).view(1, 3, 1, 1)
    return (normalized * deviation + mean).round().clamp(0, 255).to(torch.uint8)


def pixels_from_queries(mask_logits: Tensor) -> Tensor:
    """Reads 48 mask logits at stride 4 as pixels: (B, 48, h, w) -> (B, 3, 4 h, 4 w).

    The queries are ordered channel, row in the cell, column in the cell, as in the authors' release.
    """
    return functional.pixel_shuffle(mask_logits, OUTPUT_STRIDE)


class Colors(NamedTuple):
    """The output of a color head."""

    ab: Tensor
    """(B, color_outputs, H/4, W/4), of the image without its padding."""
    pixel_features: Tensor
    """(B, C, H/4, W/4); `ab` is a linear function of them."""


class HeadOutput(NamedTuple):
    """The output of one Mask2Former head."""

    class_logits: list[Tensor]
    """After every decoder layer; empty if the head has no classifier."""
    mask_logits: list[Tensor]
    """After every decoder layer."""
    pixel_features: Tensor
    """As in MaskQueries."""


class Mask2FormerHead(Mask2FormerPreTrainedModel):  # type: ignore[misc]
    """Pixel decoder and masked-attention decoder on an encoder's four maps. If `classes` is None, no classifier."""

    def __init__(self, size: HeadSize, encoder_channels: list[int], classes: int | None) -> None:
        config = _config(size)
        super().__init__(config)
        self.pixel_decoder = Mask2FormerPixelDecoder(config, encoder_channels)
        self.transformer_module = Mask2FormerTransformerModule(config.feature_size, config)
        self.class_predictor = None if classes is None else nn.Linear(size.channels, classes + 1)
        self.post_init()

    def forward(self, maps: tuple[Tensor, ...]) -> HeadOutput:
        pixels = self.pixel_decoder(list(maps), output_hidden_states=False, return_dict=True)
        decoded = self.transformer_module(pixels.multi_scale_features, pixels.mask_features)
        class_logits: list[Tensor] = []
        if self.class_predictor is not None:
            hidden_states = decoded.intermediate_hidden_states
            class_logits = [self.class_predictor(hidden.transpose(0, 1)) for hidden in hidden_states]
        return HeadOutput(class_logits, list(decoded.masks_queries_logits), pixels.mask_features)


class ColorHead(Mask2FormerPreTrainedModel):  # type: ignore[misc]
    """The same pixel decoder, and a linear layer that predicts the color of each of its positions."""

    def __init__(self, size: HeadSize, encoder_channels: list[int], outputs: int) -> None:
        config = _config(size)
        super().__init__(config)
        self.pixel_decoder = Mask2FormerPixelDecoder(config, encoder_channels)
        self.color_predictor = nn.Conv2d(size.channels, outputs, 1)
        self.post_init()

    def forward(self, maps: tuple[Tensor, ...], size: tuple[int, int]) -> Colors:
        """size: (height, width) of the output without its padding."""
        pixels = self.pixel_decoder(list(maps), output_hidden_states=False, return_dict=True)
        features = pixels.mask_features[..., : size[0], : size[1]]
        return Colors(self.color_predictor(features), features)


def _config(size: HeadSize) -> Mask2FormerConfig:
    return Mask2FormerConfig(
        backbone_config=SwinConfig(),  # Unused, since the encoder is ours, but required.
        feature_size=size.channels,
        mask_feature_size=size.channels,
        hidden_dim=size.channels,
        encoder_feedforward_dim=size.pixel_decoder_feedforward,
        encoder_layers=size.pixel_decoder_layers,
        decoder_layers=size.decoder_layers + 1,  # transformers counts the prediction before the first layer.
        num_attention_heads=size.attention_heads,
        dim_feedforward=size.decoder_feedforward,
        num_queries=size.queries,
    )


class TwoHeadedModel(nn.Module):
    """f, g and h. Images are RGB in 0..255, (B, 3, H, W), of any size; normalization and padding happen here."""

    def __init__(self, size: ModelSize, classes: int, pretrained_encoder: bool = False) -> None:
        super().__init__()
        self.size = size
        self.encoder = build_encoder(size.encoder, pretrained_encoder)
        self.main_head: Mask2FormerHead | ColorHead
        if size.color_outputs:
            self.main_head = ColorHead(size.main_head, self.encoder.channels, size.color_outputs)
        else:
            self.main_head = Mask2FormerHead(size.main_head, self.encoder.channels, classes)
        reconstruction_size = replace(size.reconstruction_head, queries=RECONSTRUCTION_QUERIES)
        self.reconstruction_head = Mask2FormerHead(reconstruction_size, self.encoder.channels, None)
        self.ordinary_features: FeatureStatistics | None = None
        # On a CPU convolutions are a third faster in this order. Saturated masks leave gradients that are denormal
        # floats, on which a CPU is many times slower, so those become zero.
        self.to(memory_format=torch.channels_last)
        torch.set_flush_denormal(True)

    def encode(self, images: Tensor, visible: Tensor | None = None) -> Features:
        """f: hidden pixels are black, and the fourth channel marks them (paper, section 4.3).

        visible: (B, 1, H, W), 1 = shown; None shows everything, as for the main task.
        """
        if visible is None:
            visible = images.new_ones((), dtype=torch.float32).expand(len(images), 1, *images.shape[-2:])
        inputs = torch.cat([normalize(images) * visible, visible], dim=1)
        return Features(self.encoder(self._pad(inputs)), (images.shape[-2], images.shape[-1]))

    def channel_statistics(self, images: Tensor) -> list[Tensor]:
        """Each channel's mean and log deviation after every block of f, (B, C, 2) each. images: as for `encode`."""
        with measured_channels(self.encoder.blocks) as measured:
            self.encode(images)
        return measured

    def distance_from_ordinary(self, images: Tensor, dead_zone: float) -> Tensor:
        """How far f's channels lie outside of what is usual, see `FeatureStatistics.distance`: a scalar.

        images: as for `encode`. Raises ValueError if nothing is known of ordinary pictures.
        """
        return self._known_features().distance(self.channel_statistics(images), dead_zone)

    def clamped(self, dead_zone: float, largest_gain: float) -> AbstractContextManager[None]:
        """A context in which f's channels are clamped, see `clamped_channels`. An infinite dead zone clamps nothing."""
        if math.isinf(dead_zone):
            return nullcontext()
        return clamped_channels(self.encoder.blocks, self._known_features(), dead_zone, largest_gain)

    def _known_features(self) -> FeatureStatistics:
        if self.ordinary_features is None:
            raise ValueError("nothing is known of the features of ordinary pictures")
        return self.ordinary_features

    def segment(self, features: Features) -> MaskQueries:
        """h of a model with mask queries."""
        class_logits, mask_logits, pixel_features = self.main_head(features.maps)
        auxiliary = tuple(zip(class_logits[:-1], mask_logits[:-1], strict=True))
        return MaskQueries(class_logits[-1], mask_logits[-1], auxiliary, pixel_features, features.image_size)

    def color(self, features: Features) -> Colors:
        """h of a model with a color head."""
        height, width = (math.ceil(side / OUTPUT_STRIDE) for side in features.image_size)
        colors: Colors = self.main_head(features.maps, (height, width))
        return colors

    def reconstruct(self, features: Features) -> Tensor:
        """g: the whole image, (B, 3, H, W), in the units of the target (see adaptation/reconstruction.py)."""
        output = self.reconstruction_head(features.maps)
        height, width = features.image_size
        return pixels_from_queries(output.mask_logits[-1])[..., :height, :width]

    def self_supervised_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of f and g, which test-time training may change; those of h never change."""
        yield from self.encoder.parameters()
        yield from self.reconstruction_head.parameters()

    def _pad(self, inputs: Tensor) -> Tensor:
        divisor = self.size.size_divisor
        height, width = inputs.shape[-2:]
        right, below = math.ceil(width / divisor) * divisor - width, math.ceil(height / divisor) * divisor - height
        return functional.pad(inputs, (0, right, 0, below)) if right or below else inputs
