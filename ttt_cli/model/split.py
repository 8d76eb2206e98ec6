"""What test-time training asks of a model: that it can be split into f, h and, for masked reconstruction, g."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor, nn

from ttt_cli.core.errors import UsageError
from ttt_cli.model.feature_statistics import FeatureStatistics, clamped_channels, measured_channels

OUTPUT_STRIDE = 4
"""Pixels, in each direction, of a cell of `SplitModel.class_probabilities`."""
Encoded = Any
"""What f gives for a batch of images. Only the h and g of the same model can read it."""


class SplitModel(nn.Module, ABC):
    """A model in three parts: f encodes, h decodes, and g, if there is one, reconstructs (paper, section 3).

    Images are RGB in 0..255, uint8 or float, (B, 3, H, W), of any size; normalization and padding happen inside.
    """

    encoder: nn.Module
    """f."""
    reconstruction_head: nn.Module | None
    """g; None if the model has none."""
    ordinary_features: FeatureStatistics | None
    """What f's channels are like on ordinary pictures; None if that is not known."""

    mask_input: nn.Module | None
    """What tells an f of three channels what is hidden; None if it has a fourth channel, or cannot be told."""
    takes_one_size: bool
    """Whether f takes squares of one size, in which pictures of other sizes are cut or placed."""
    prepared_encoder: Mapping[str, Tensor] | None
    """f's parameters as preparation left them, by name, from which methods that adapt start; None if it did not."""

    @property
    @abstractmethod
    def blocks(self) -> Sequence[nn.Module]:
        """The parts of f that `ordinary_features` is about, in the order of a forward pass."""

    @abstractmethod
    def encode(self, images: Tensor, visible: Tensor | None = None) -> Encoded:
        """f. visible: (B, 1, H, W), 1 = shown; None shows everything, as for the main task (paper, section 4.3)."""

    @abstractmethod
    def decode(self, encoded: Encoded) -> Any:
        """h: the model's own output."""

    @abstractmethod
    def class_probabilities(self, encoded: Encoded) -> Tensor:
        """h's probability of each class: float32 (B, K, h, w), which sums to 1 over K.

        A cell covers OUTPUT_STRIDE x OUTPUT_STRIDE pixels, the first cell those at the upper left corner of the image;
        the last cells may lie past it.
        """

    @abstractmethod
    def maps(self, encoded: Encoded) -> Sequence[Tensor]:
        """f's maps, of which g reconstructs, finest first: (B, C, h, w) each."""

    @abstractmethod
    def strides(self, encoded: Encoded) -> tuple[int, ...]:
        """The stride of each of f's maps: how many pixels a cell covers in each direction."""

    @abstractmethod
    def add_mask_input(self, tensors: Mapping[str, Tensor]) -> None:
        """Adds a fourth input channel, which tells f what is hidden, if the model has none.

        tensors: its weights; if there are none, it starts at zero.
        """

    def encode_visible_only(self) -> int:
        """From now on, `encode` leaves out the tokens of a masked picture that are hidden completely, as in MAE.

        In f's maps they are zero, so g can read them, and h cannot. Whole pictures are encoded as before.
        Returns the side of a token's patch, in pixels. Raises UsageError if f is no plain vision transformer.
        """
        raise UsageError("only a plain vision transformer can leave hidden tokens out, and f is none here")

    @abstractmethod
    def reconstruct(self, encoded: Encoded) -> Tensor:
        """g: the whole image, (B, 3, H, W), in the units of the target (see adaptation/reconstruction.py)."""

    def self_supervised_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of f and g, which test-time training may change; those of h never change."""
        yield from self.encoder.parameters()
        if self.reconstruction_head is not None:
            yield from self.reconstruction_head.parameters()

    def channel_statistics(self, images: Tensor) -> list[Tensor]:
        """Each channel's mean and log deviation after every block of f, (B, C, 2) each."""
        with measured_channels(self.blocks) as measured:
            self.encode(images)
        return measured

    def encode_with_distance(self, images: Tensor, dead_zone: float) -> tuple[Encoded, Tensor]:
        """f, and how far its channels lie outside of what is usual: a scalar, see `FeatureStatistics.distance`.

        Raises ValueError if nothing is known of ordinary pictures.
        """
        with measured_channels(self.blocks) as measured:
            encoded = self.encode(images)
        return encoded, self._known_features().distance(measured, dead_zone)

    def clamped(self, dead_zone: float, largest_gain: float) -> AbstractContextManager[None]:
        """A context in which f's channels are clamped, see `clamped_channels`. An infinite dead zone clamps nothing."""
        if math.isinf(dead_zone):
            return nullcontext()
        return clamped_channels(self.blocks, self._known_features(), dead_zone, largest_gain)

    def _known_features(self) -> FeatureStatistics:
        if self.ordinary_features is None:
            raise ValueError("nothing is known of the features of ordinary pictures")
        return self.ordinary_features
