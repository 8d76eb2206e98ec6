"""A published model as f, h and, once it is prepared, g."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ttt_cli.model.encoder import freeze_batch_norm
from ttt_cli.model.feature_statistics import FeatureStatistics
from ttt_cli.model.pixels import on_device
from ttt_cli.model.published.anatomy import MaskInput, blocks_of, maps_of
from ttt_cli.model.published.families import Family
from ttt_cli.model.published.tiles import Tiles
from ttt_cli.model.published.visible_tokens import VisibleTokens
from ttt_cli.model.queries import class_probabilities
from ttt_cli.model.split import OUTPUT_STRIDE, SplitModel

PROBE_PIXELS = 64
"""Side of the picture by which the blocks of a model that takes any size are found."""


@dataclass(frozen=True)
class Normalization:
    """How a family's image processor turns pixels in 0..255 into what its models take."""

    mean: tuple[float, ...]
    """Of each channel, in the order that the model takes."""
    deviation: tuple[float, ...]
    """Of each channel, in the same order."""
    blue_first: bool = False
    """Whether the channels are in the order blue, green, red."""
    scale: float = 1.0
    """What pixels are divided by first; mean and deviation are in what that gives."""

    def __call__(self, images: Tensor) -> Tensor:
        """RGB in 0..255, (B, 3, H, W), normalized: float32."""
        mean, deviation = (on_device(values, images.device).view(1, 3, 1, 1) for values in (self.mean, self.deviation))
        ordered = images.flip(1) if self.blue_first else images
        return (ordered.float() / self.scale - mean) / deviation


class EncodedPicture(NamedTuple):
    """What f of a published model gives."""

    output: Any
    """The encoder's own output."""
    pixels: Tensor
    """The model's input, (T B, 3, h, w), which h is told again."""
    tiles: Tiles | None
    """How the pictures were cut; None if they were not."""
    image_size: tuple[int, int]
    """(H, W) of the pictures."""


class PublishedModel(SplitModel):
    """Any model that others made. Until it is prepared, it has no g and knows no ordinary features."""

    def __init__(
        self,
        model: nn.Module,
        family: Family,
        normalization: Normalization,
        task_inputs: Mapping[str, Mapping[str, Tensor]],
    ) -> None:
        """task_inputs: what the model's forward pass takes besides pixels, by task; (1, ...) each."""
        super().__init__()
        self.model = model.eval()
        self.family, self.normalization = family, normalization
        self._input_names = {task: tuple(inputs) for task, inputs in task_inputs.items()}
        for task, inputs in task_inputs.items():
            for name, value in inputs.items():
                self.register_buffer(_buffer(task, name), value, persistent=False)
        self.encoder = family.split.encoder(model)
        config: Any = model.config if family.takes_one_size else None
        self.takes_one_size = family.takes_one_size
        self.side: int | None = config.image_size if family.takes_one_size else None
        self.patch_pixels: int | None = getattr(config, "patch_size", None) if family.takes_one_size else None
        self.visible_only = False
        self.reconstruction_head: nn.Module | None = None
        self.mask_input: MaskInput | None = None
        self.ordinary_features: FeatureStatistics | None = None
        self.prepared_encoder: Mapping[str, Tensor] | None = None
        probe = self.side or PROBE_PIXELS
        self._blocks = tuple(blocks_of(self.encoder, lambda: self.encode(torch.zeros(1, 3, probe, probe))))

    def train(self, mode: bool = True) -> PublishedModel:
        """As of any module, but the statistics of batch normalization stay the published ones."""
        super().train(mode)
        freeze_batch_norm(self)
        return self

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The innermost members of the encoder's lists of modules."""
        return self._blocks

    def encode(self, images: Tensor, visible: Tensor | None = None) -> EncodedPicture:
        """f. Hidden pixels are black after normalization; a prepared model is also told which they are, or encodes
        nothing of them, see `encode_visible_only`.
        """
        image_size = (images.shape[-2], images.shape[-1])
        tiles = None if self.side is None else Tiles(image_size, self.side)
        pixels = self.normalization(images if tiles is None else tiles.cut(images))
        tokens: VisibleTokens | None = None
        with ExitStack() as stack:
            if visible is not None:
                shown = visible if tiles is None else tiles.cut(visible)
                pixels = pixels * shown
                if self.mask_input is not None:
                    stack.enter_context(self.mask_input.applied(self.family.split.padded(self.model, 1 - shown)))
                if self.visible_only:
                    tokens = VisibleTokens(shown, self._token_pixels())
                    stack.enter_context(tokens.alone(self.model, str(self.family.token_embeddings)))
            output = self.family.split.encode(self.model, pixels, self._inputs("semantic", len(pixels)))
        if tokens is not None:
            output = tokens.among_all(output)
        return EncodedPicture(output, pixels, tiles, image_size)

    def encode_visible_only(self) -> int:
        """See SplitModel."""
        config: Any = self.model.config
        # The tokens of a hybrid are made by convolutions, which see hidden pixels beside shown ones.
        if self.family.token_embeddings is None or getattr(config, "is_hybrid", False):
            return super().encode_visible_only()
        self.visible_only = True
        return self._token_pixels()

    def decode(self, encoded: EncodedPicture, task: str = "semantic") -> Any:
        """h: the model's own output. task: for families that are told."""
        inputs: dict[str, Any] = {**self._inputs(task, len(encoded.pixels))}
        if self.training and self.family.gives_layers:
            inputs["output_auxiliary_logits"] = True
        return self.family.split.decode(self.model, encoded.pixels, inputs, encoded.output)

    def class_probabilities(self, encoded: EncodedPicture) -> Tensor:
        """h's probability of each class, see SplitModel."""
        return self.probabilities_in(self.decode(encoded), encoded)

    def probabilities_in(self, output: Any, encoded: EncodedPicture) -> Tensor:
        """The same, from what `decode` gave."""
        scores = self.class_scores(output)
        if encoded.tiles is not None:
            scores = encoded.tiles.merge(resized(scores, encoded.pixels.shape[-2:]))
        return at_output_stride(scores, encoded.image_size)

    def class_scores(self, output: Any) -> Tensor:
        """The probabilities in what `decode` gave, at the output's own resolution and, if it was cut, in squares."""
        logits = self.pixel_logits(output)
        if logits is not None:
            return logits.float().softmax(dim=1)
        return class_probabilities(output.class_queries_logits, output.masks_queries_logits)

    def pixel_logits(self, output: Any) -> Tensor | None:
        """The logits of the classes in what `decode` gave, at its own resolution; None if it gave mask queries."""
        logits: Tensor | None = output.logits if "logits" in output else None
        return logits

    def reconstruct(self, encoded: EncodedPicture) -> Tensor:
        """g, see SplitModel. Raises ValueError if the model is not prepared."""
        if self.reconstruction_head is None:
            raise ValueError("a model that is not prepared has no reconstruction head")
        size = (encoded.pixels.shape[-2], encoded.pixels.shape[-1])
        pictures: Tensor = self.reconstruction_head(self.maps(encoded))[..., : size[0], : size[1]]
        return pictures if encoded.tiles is None else encoded.tiles.merge(pictures)

    def maps(self, encoded: EncodedPicture) -> list[Tensor]:
        """f's maps of each size, finest first, (T B, C, h, w) each."""
        size = (encoded.pixels.shape[-2], encoded.pixels.shape[-1])
        return maps_of(encoded.output, size, self.patch_pixels)

    def strides(self, encoded: EncodedPicture) -> tuple[int, ...]:
        """The stride of each map, a power of two unless the maps are tokens."""
        if self.patch_pixels is not None:
            return (self.patch_pixels,)
        longest = max(self.family.split.padded(self.model, encoded.pixels).shape[-2:])
        return tuple(2 ** round(math.log2(longest / max(map_.shape[-2:]))) for map_ in self.maps(encoded))

    def add_mask_input(self, tensors: Mapping[str, Tensor]) -> None:
        """Adds a fourth input channel beside the first layer, see MaskInput."""
        self.mask_input = MaskInput(self.encoder)
        if tensors:
            self.mask_input.load_state_dict(tensors)

    def _token_pixels(self) -> int:
        assert self.patch_pixels is not None, "tokens have patches"
        return self.patch_pixels

    def _inputs(self, task: str, count: int) -> dict[str, Tensor]:
        names = self._input_names.get(task, ())
        values = ((name, self.get_buffer(_buffer(task, name))) for name in names)
        return {name: value.expand(count, *value.shape[1:]) for name, value in values}


def _buffer(task: str, name: str) -> str:
    """The name of the buffer that holds an input of the model, which thus moves with it to another device."""
    return f"input_{task}_{name}"


def at_output_stride(scores: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Scores of every class in a picture, (B, K, h, w), at the resolution of SplitModel.class_probabilities."""
    return resized(scores, [math.ceil(side / OUTPUT_STRIDE) for side in image_size])


def resized(scores: Tensor, size: Sequence[int]) -> Tensor:
    """Scores of every class, (B, K, h, w), at another size; unchanged if they have it."""
    if list(scores.shape[-2:]) == list(size):
        return scores
    return functional.interpolate(scores, size=tuple(size), mode="bilinear", align_corners=False)
