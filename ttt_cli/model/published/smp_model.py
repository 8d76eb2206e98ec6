"""Models with the interface of segmentation_models_pytorch as f and h. Nothing here needs that library."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ttt_cli.model.published.anatomy import maps_of
from ttt_cli.model.published.families import Family
from ttt_cli.model.published.model import EncodedPicture, Normalization, PublishedModel
from ttt_cli.model.published.replay import AtModule


@dataclass(frozen=True)
class AtEncoder(AtModule):
    """f is the encoder. Pictures are padded to sides that its stride divides, if the model wants that."""

    path: str = "encoder"

    def encode(self, model: nn.Module, pixels: Tensor, inputs: Mapping[str, Tensor]) -> Any:
        """Runs the model up to the end of the encoder."""
        return super().encode(model, self.padded(model, pixels), inputs)

    def decode(self, model: nn.Module, pixels: Tensor, inputs: Mapping[str, Tensor], encoded: Any) -> Tensor:
        """The logits, (B, K, h, w), of what is not padding. Those for whole pictures, which some models have, are not.

        h, w are those of the pixels unless the config leaves out the upsampling at the end.
        """
        padded = self.padded(model, pixels)
        output = super().decode(model, padded, inputs, encoded)
        logits: Tensor = output[0] if isinstance(output, tuple) else output
        height, width = (
            math.ceil(side * cells / whole)
            for side, cells, whole in zip(pixels.shape[-2:], logits.shape[-2:], padded.shape[-2:], strict=True)
        )
        return logits[..., :height, :width]

    def padded(self, model: nn.Module, values: Tensor) -> Tensor:
        """Values with zeros at the right and lower edges."""
        network: Any = model
        divisor = network.encoder.output_stride if network.requires_divisible_input_shape else 1
        below, right = (-side % divisor for side in values.shape[-2:])
        return functional.pad(values, (0, right, 0, below))


class SmpModel(PublishedModel):
    """A model of segmentation_models_pytorch."""

    def __init__(self, model: nn.Module, normalization: Normalization) -> None:
        super().__init__(model, Family(AtEncoder()), normalization, {})

    def class_scores(self, output: Tensor) -> Tensor:
        """The probabilities in what `decode` gave."""
        return with_background(output).float().softmax(dim=1)

    def maps(self, encoded: EncodedPicture) -> list[Tensor]:
        """f's maps of each size, finest first. The first of its list is the picture; stages that it lacks are empty."""
        size = (encoded.pixels.shape[-2], encoded.pixels.shape[-1])
        return maps_of([values for values in encoded.output[1:] if values.shape[1] > 0], size, None)


def with_background(logits: Tensor) -> Tensor:
    """Logits of two classes for those of one, whose sigmoid is its probability; others as they are. (B, K, h, w)"""
    return torch.cat([torch.zeros_like(logits), logits], dim=1) if logits.shape[1] == 1 else logits
