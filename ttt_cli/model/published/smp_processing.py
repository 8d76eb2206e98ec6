"""What comes before and after models of segmentation_models_pytorch."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.pictures import IMAGENET
from ttt_cli.model.published.model import Normalization, resized
from ttt_cli.model.published.processing import Processing
from ttt_cli.model.published.smp_model import with_background
from ttt_cli.model.published.tiles import Tiles

PREPROCESSING = "albumentations_config_eval.json"
"""The transforms of albumentations that a model was evaluated with, where its authors saved them beside it."""
WITHOUT_EFFECT = ("ToTensorV2", "PadIfNeeded")
"""Transforms that are done anyway: the model pads."""
FULL_SCALE = 255.0
LARGEST_SIDE = 8192


class Preprocessing(NamedTuple):
    """What is done to a frame first."""

    normalization: Normalization
    size: tuple[int, int] | None
    """(height, width) that frames are brought to; None leaves them as they are."""


@dataclass(frozen=True)
class SmpProcessing(Processing):
    """Frames at a fixed size or as they are, and the class that is most likely once logits have the frame's size."""

    size: tuple[int, int] | None
    """(height, width) of what the model sees; None is that of the frame."""

    def resized(self, image: Tensor) -> Tensor:
        if self.size is None:
            return image
        return resized(image[None].float(), self.size)[0].round().to(torch.uint8)

    def classes(self, output: Tensor, tiles: Tiles | None, size: tuple[int, int]) -> Tensor:
        return resized(with_background(output), size)[0].argmax(dim=0)


def read_preprocessing(path: Path, encoder: str) -> Preprocessing:
    """What a file of albumentations says; without one, what the encoder was pretrained with, at any size.

    encoder: its name in smp. Raises TttvError if the file asks for anything but resizing and normalization.
    """
    if not path.is_file():
        return Preprocessing(_usual_normalization(encoder), size=None)
    shown = printable(path)
    size, normalization = None, Normalization((0.0,) * 3, (1.0,) * 3)
    try:
        for transform in json.loads(path.read_bytes())["transform"]["transforms"]:
            name = transform["__class_fullname__"].rpartition(".")[2]
            if name == "Resize":
                size = (_side(transform["height"]), _side(transform["width"]))
            elif name == "Normalize" and transform.get("normalization", "standard") == "standard":
                normalization = _normalization(transform)
            elif name not in WITHOUT_EFFECT:
                raise TttvError(
                    f"{shown}: asks for {printable(name)}, which is not known here, beside Resize and Normalize of the "
                    "standard kind; edit the file, or remove it to have frames normalized as for the encoder"
                )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TttvError(f"{shown}: holds no transforms of albumentations; copy it again, or remove it") from error
    return Preprocessing(normalization, size)


def _normalization(transform: dict[str, Any]) -> Normalization:
    usual = _usual_normalization("")
    mean, deviation = (
        tuple(float(value) for value in transform.get(name, default))
        for name, default in (("mean", usual.mean), ("std", usual.deviation))
    )
    scale = float(transform.get("max_pixel_value", FULL_SCALE))
    if not len(mean) == len(deviation) == 3 or not all(map(math.isfinite, mean)) or min(*deviation, scale) <= 0:
        raise ValueError
    return Normalization(mean, deviation, scale=scale)


def _usual_normalization(encoder: str) -> Normalization:
    """That of the encoder's pretraining, if timm has it, or else that of ImageNet."""
    import timm

    pretrained = timm.get_pretrained_cfg(encoder[len("tu-") :]) if encoder.startswith("tu-") else None
    if pretrained is not None:
        return Normalization(tuple(pretrained.mean), tuple(pretrained.std), scale=FULL_SCALE)
    mean, deviation = (
        tuple(round(value / FULL_SCALE, 6) for value in values) for values in (IMAGENET.mean, IMAGENET.deviation)
    )
    return Normalization(mean, deviation, scale=FULL_SCALE)


def _side(value: object) -> int:
    if not isinstance(value, int) or not 1 <= value <= LARGEST_SIDE:
        raise ValueError
    return value
