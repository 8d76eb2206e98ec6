"""The color network of Zhang, Isola and Efros, "Colorful Image Colorization" (ECCV 2016), as f and h.

f is its first seven stages, conv1 to conv7 in the paper. They hold all of its batch normalization, and end at the last
map that is about the picture. h is conv8, which gives a probability to each of 313 colors, and their mean, which is
another convolution.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ttt_cli.core.color import lab_of
from ttt_cli.model.feature_statistics import FeatureStatistics
from ttt_cli.model.published.anatomy import MaskInput
from ttt_cli.model.split import OUTPUT_STRIDE, SplitModel
from ttt_cli.model.two_headed import Colors

MIDDLE_LIGHTNESS, LIGHTNESS_RANGE, CHROMA_RANGE = 50.0, 100.0, 110.0
"""In Lab units. The network takes (L - 50) / 100, and gives a / 110 and b / 110."""
STRIDE = 8
"""Of f: pixels, in each direction, of a cell of its map."""


class Stage(NamedTuple):
    """Some convolutions of 3 x 3, each with its ReLU, and a batch normalization."""

    convolutions: int
    stride: int = 1
    """Of the last convolution."""
    dilation: int = 1
    """Of every convolution."""


TRUNK = {
    "model1": Stage(2, stride=2),
    "model2": Stage(2, stride=2),
    "model3": Stage(3, stride=2),
    "model4": Stage(3),
    "model5": Stage(3, dilation=2),
    "model6": Stage(3, dilation=2),
    "model7": Stage(3),
}
"""The stages of f, by their names in the published file."""


class Widths(NamedTuple):
    """Numbers of channels. Those of the published file are in brackets."""

    trunk: tuple[int, ...]
    """Of the stages of f (64, 128, 256, 512, 512, 512, 512)."""
    head: int
    """Of the convolutions of h (256)."""
    colors: int
    """Colors that h chooses from (313)."""

    @staticmethod
    def of(tensors: Mapping[str, Tensor]) -> Widths:
        """Those of the network with these tensors. Raises KeyError or IndexError if it is another network."""
        trunk = tuple(tensors[f"{stage}.0.bias"].shape[0] for stage in TRUNK)
        return Widths(trunk, tensors["model8.0.bias"].shape[0], tensors["model8.6.bias"].shape[0])


class EncodedFrame(NamedTuple):
    """What f gives."""

    features: Tensor
    """(B, C, ceil(H/8), ceil(W/8))."""
    image_size: tuple[int, int]
    """(H, W)."""


class ZhangModel(SplitModel):
    """The network at any size of picture. Until it is prepared, it has no g and knows no ordinary features."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        before = (1, *widths.trunk[:-1])
        stages = zip(TRUNK.items(), before, widths.trunk, strict=True)
        self.encoder = nn.Sequential(
            OrderedDict((name, _stage(stage, *channels)) for (name, stage), *channels in stages)
        )
        self.main_head = nn.ModuleDict(
            {
                "model8": nn.Sequential(
                    nn.ConvTranspose2d(widths.trunk[-1], widths.head, 4, stride=2, padding=1),
                    nn.ReLU(inplace=True),
                    nn.Conv2d(widths.head, widths.head, 3, padding=1),
                    nn.ReLU(inplace=True),
                    nn.Conv2d(widths.head, widths.head, 3, padding=1),
                    nn.ReLU(inplace=True),
                    nn.Conv2d(widths.head, widths.colors, 1),
                ),
                "model_out": nn.Conv2d(widths.colors, 2, 1, bias=False),
            }
        )
        self.reconstruction_head: nn.Module | None = None
        self.mask_input: MaskInput | None = None
        self.takes_one_size = False
        self.ordinary_features: FeatureStatistics | None = None
        self.prepared_encoder: Mapping[str, Tensor] | None = None

    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes the tensors of a published file. Raises RuntimeError if any are missing, unknown or of other shapes."""
        trunk = {name: tensor for name, tensor in tensors.items() if name.split(".")[0] in TRUNK}
        self.encoder.load_state_dict(trunk, assign=True)
        rest = {name: tensor for name, tensor in tensors.items() if name not in trunk}
        self.main_head.load_state_dict(rest, assign=True)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of f and h, by their names in a published file."""
        return {**self.encoder.state_dict(), **self.main_head.state_dict()}

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The stages of f."""
        return list(self.encoder.children())

    def encode(self, images: Tensor, visible: Tensor | None = None) -> EncodedFrame:
        """f. Hidden pixels are of middle lightness; a prepared model is also told which they are."""
        # The matrix that mixes X, Y and Z would be in half precision otherwise.
        with torch.autocast(images.device.type, enabled=False):
            inputs = (lab_of(images)[:, :1] - MIDDLE_LIGHTNESS) / LIGHTNESS_RANGE
        size = (images.shape[-2], images.shape[-1])
        if visible is None:
            return EncodedFrame(self.encoder(inputs), size)
        with nullcontext() if self.mask_input is None else self.mask_input.applied(1 - visible):
            return EncodedFrame(self.encoder(inputs * visible), size)

    def decode(self, encoded: EncodedFrame) -> Colors:
        """h. Its features for each pixel are the probabilities of the colors."""
        height, width = (math.ceil(side / OUTPUT_STRIDE) for side in encoded.image_size)
        probabilities = self.main_head["model8"](encoded.features).softmax(dim=1)
        ab = self.main_head["model_out"](probabilities) * CHROMA_RANGE
        return Colors(ab[..., :height, :width], probabilities[..., :height, :width])

    def class_probabilities(self, encoded: EncodedFrame) -> Tensor:
        """Raises ValueError: the network knows colors, but no classes."""
        raise ValueError("a model for colorization knows no classes")

    def reconstruct(self, encoded: EncodedFrame) -> Tensor:
        """g, see SplitModel. Raises ValueError if the model is not prepared."""
        if self.reconstruction_head is None:
            raise ValueError("a model that is not prepared has no reconstruction head")
        height, width = encoded.image_size
        pictures: Tensor = self.reconstruction_head(self.maps(encoded))
        return pictures[..., :height, :width]

    def maps(self, encoded: EncodedFrame) -> list[Tensor]:
        """f's only map: (B, C, h, w)."""
        return [encoded.features]

    def strides(self, encoded: EncodedFrame) -> tuple[int, ...]:
        """The stride of that map."""
        return (STRIDE,)

    def add_mask_input(self, tensors: Mapping[str, Tensor]) -> None:
        """Adds a second input channel beside the first layer, see MaskInput."""
        self.mask_input = MaskInput(self.encoder)
        if tensors:
            self.mask_input.load_state_dict(tensors)


def _stage(stage: Stage, before: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number in range(stage.convolutions):
        channels, stride = (before if number == 0 else width), (stage.stride if number == stage.convolutions - 1 else 1)
        convolution = nn.Conv2d(channels, width, 3, stride, padding=stage.dilation, dilation=stage.dilation)
        layers += [convolution, nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.BatchNorm2d(width))
