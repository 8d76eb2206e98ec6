"""The Y-shaped model of the paper's section 3: encoder f, main head h, reconstruction head g.

The heads are built from transformers' Mask2Former (plain PyTorch deformable attention, no compiled op).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Mask2FormerConfig, SwinConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoder,
    Mask2FormerPreTrainedModel,
    Mask2FormerTransformerModule,
)

from ttt_cli.model.encoder import Encoder, build_encoder
from ttt_cli.model.feature_statistics import FeatureStatistics
from ttt_cli.model.light_head import LightHead
from ttt_cli.model.pixels import normalize
from ttt_cli.model.queries import MaskQueries, class_probabilities
from ttt_cli.model.settings import HeadSize, ModelSize
from ttt_cli.model.split import OUTPUT_STRIDE, SplitModel

# The reconstruction head predicts at stride 4: each of its positions holds 4 x 4 pixels of 3 channels.
MAP_STRIDES = (4, 8, 16, 32)
SMALLEST_SIDE = 33
"""In pixels, of padded images. The coarsest map then has four cells or more: a single one has no deviation, by which it
could be normalized, and for maps of one column PyTorch's convolutions in bf16 give NaN on a CPU.
"""
RECONSTRUCTION_QUERIES = 3 * OUTPUT_STRIDE * OUTPUT_STRIDE


class Features(NamedTuple):
    """The encoder's output."""

    maps: tuple[Tensor, ...]
    """At strides s = 4, 8, 16, 32: (B, C_i, H/s, W/s)."""
    image_size: tuple[int, int]
    """(H, W) of the image before padding."""


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


class TwoHeadedModel(SplitModel):
    """f, g and h as one network, trained together."""

    encoder: Encoder
    reconstruction_head: Mask2FormerHead | LightHead

    def __init__(self, size: ModelSize, classes: int, pretrained_encoder: bool = False) -> None:
        super().__init__()
        self.size = size
        self.encoder = build_encoder(size.encoder, pretrained_encoder)
        self.main_head: Mask2FormerHead | ColorHead
        if size.color_outputs:
            self.main_head = ColorHead(size.main_head, self.encoder.channels, size.color_outputs)
        else:
            self.main_head = Mask2FormerHead(size.main_head, self.encoder.channels, classes)
        if size.light_head_width:
            self.reconstruction_head = LightHead(self.encoder.channels, size.light_head_width, MAP_STRIDES)
        else:
            reconstruction_size = replace(size.reconstruction_head, queries=RECONSTRUCTION_QUERIES)
            self.reconstruction_head = Mask2FormerHead(reconstruction_size, self.encoder.channels, None)
        self.ordinary_features: FeatureStatistics | None = None
        self.prepared_encoder: Mapping[str, Tensor] | None = None
        self.mask_input = None
        self.takes_one_size = False
        # On a CPU convolutions are a third faster in this order. Saturated masks leave gradients that are denormal
        # floats, on which a CPU is many times slower, so those become zero.
        self.to(memory_format=torch.channels_last)
        torch.set_flush_denormal(True)

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The blocks of the encoder."""
        return self.encoder.blocks

    def encode(self, images: Tensor, visible: Tensor | None = None) -> Features:
        """f: hidden pixels are black, and the fourth channel marks them (paper, section 4.3).

        visible: (B, 1, H, W), 1 = shown; None shows everything, as for the main task.
        """
        if visible is None:
            visible = images.new_ones((), dtype=torch.float32).expand(len(images), 1, *images.shape[-2:])
        inputs = torch.cat([normalize(images) * visible, visible], dim=1)
        return Features(self.encoder(self._pad(inputs)), (images.shape[-2], images.shape[-1]))

    def decode(self, features: Features) -> Any:
        """h: MaskQueries, or the Colors of a model with a color head."""
        if isinstance(self.main_head, ColorHead):
            height, width = (math.ceil(side / OUTPUT_STRIDE) for side in features.image_size)
            return self.main_head(features.maps, (height, width))
        class_logits, mask_logits, pixel_features = self.main_head(features.maps)
        auxiliary = tuple(zip(class_logits[:-1], mask_logits[:-1], strict=True))
        return MaskQueries(class_logits[-1], mask_logits[-1], auxiliary, pixel_features, features.image_size)

    def class_probabilities(self, features: Features) -> Tensor:
        """h's probability of each class, see SplitModel."""
        queries = self.decode(features)
        return class_probabilities(queries.class_logits, queries.mask_logits)

    def maps(self, features: Features) -> tuple[Tensor, ...]:
        """f's maps."""
        return features.maps

    def strides(self, features: Features) -> tuple[int, ...]:
        """4, 8, 16 and 32."""
        return MAP_STRIDES

    def add_mask_input(self, tensors: Mapping[str, Tensor]) -> None:
        """Does nothing: the encoder has four channels."""

    def reconstruct(self, features: Features) -> Tensor:
        """g: the whole image, (B, 3, H, W), in the units of the target (see adaptation/reconstruction.py)."""
        output = self.reconstruction_head(features.maps)
        height, width = features.image_size
        pixels = output if isinstance(output, Tensor) else pixels_from_queries(output.mask_logits[-1])
        return pixels[..., :height, :width]

    def _pad(self, inputs: Tensor) -> Tensor:
        divisor = self.size.size_divisor
        height, width = (max(side, SMALLEST_SIDE) for side in inputs.shape[-2:])
        right = math.ceil(width / divisor) * divisor - inputs.shape[-1]
        below = math.ceil(height / divisor) * divisor - inputs.shape[-2]
        return functional.pad(inputs, (0, right, 0, below)) if right or below else inputs
