"""A published model's own processing: how it sees a frame, and what it makes of the model's output."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ttt_cli.model.most_likely import most_likely
from ttt_cli.model.published.model import Normalization
from ttt_cli.model.published.tiles import Tiles

LEFT_OUT = ("do_rescale", "do_normalize", "do_pad", "do_center_crop", "do_split_image", "do_flip_channel_order")
"""What a processor may do besides resizing. All of it but cropping, which would leave parts of a frame without labels,
is done in PublishedModel."""

SCORES = "return_segmentation_scores"
"""The option that asks for the scores of the classes too; processors have it since transformers 5.24 at the latest."""
ANTIALIASED = "OneFormer"
"""The family whose processor enlarges with antialiasing, which makes a difference only in a frame that is smaller."""

CHANNELS = 3
SMALLEST_SIDE = 16
"""In pixels, of the pictures that a processor makes of ordinary ones."""
PROBE = torch.zeros(CHANNELS, 96, 128, dtype=torch.uint8)


class Found(NamedTuple):
    """One object or region that a processor found."""

    class_id: int
    score: float
    """0..1."""
    mask: Tensor
    """bool (H, W)."""


class Processing(ABC):
    """What comes before and after a published model. `output` is what its `decode` gives for a batch of one."""

    @abstractmethod
    def resized(self, image: Tensor) -> Tensor:
        """A frame, uint8 RGB (3, H, W), at the size that the model takes."""

    @abstractmethod
    def classes(self, output: Any, tiles: Tiles | None, size: tuple[int, int]) -> Tensor:
        """The class of every pixel in a frame of `size` (height, width): uint8 (H, W)."""

    def objects(self, output: Any, size: tuple[int, int]) -> Iterable[Found]:
        """All objects, however unsure, in a frame of `size`; they may overlap. Masks are made one by one."""
        raise TypeError("its models find no objects")

    def regions(
        self, output: Any, size: tuple[int, int], threshold: float, overlap_threshold: float
    ) -> Iterable[Found]:
        """Objects and regions, none of which overlap, in a frame of `size`.

        threshold, overlap_threshold: those of TaskSettings.
        """
        raise TypeError("its models find no regions")


class ImageProcessing(Processing):
    """The image processor of a folder in the transformers layout.

    resizes: whether it brings frames to the size that its models were made for; if not, they stay as they are.
    Raises almost any Exception for a config that makes no sense.
    """

    def __init__(self, folder: Path, resizes: bool) -> None:
        from transformers import AutoImageProcessor

        self.processor: Any = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        self.resizes = resizes
        self.normalization = self._normalization()
        sides = self.resized(PROBE).shape[-2:]
        if min(sides) < SMALLEST_SIDE:
            raise ValueError(f"it makes pictures of {sides[1]}x{sides[0]}, too small for any model")

    def _normalization(self) -> Normalization:
        """What the processor does to the pixels of a resized frame. Raises ValueError if that makes no sense."""
        processor = self.processor
        scale = 1 / processor.rescale_factor if processor.do_rescale else 1.0
        if not getattr(processor, "do_normalize", False):
            mean, deviation = (0.0, 0.0, 0.0), (scale, scale, scale)
        else:
            # In single precision, as the processor multiplies them, so that not a bit differs.
            mean, deviation = (
                tuple((torch.tensor(values) * scale).tolist()) for values in (processor.image_mean, processor.image_std)
            )
        numbers = (*mean, *deviation)
        if not len(mean) == len(deviation) == CHANNELS or not all(map(math.isfinite, numbers)) or min(deviation) <= 0:
            raise ValueError("rescale_factor, image_mean and image_std are not what pictures of three channels need")
        return Normalization(mean, deviation, bool(getattr(processor, "do_flip_channel_order", False)))

    def resized(self, image: Tensor) -> Tensor:
        if not self.resizes:
            return image
        left_out = {name: False for name in LEFT_OUT if hasattr(self.processor, name)}
        resized: Tensor = self.processor(image, return_tensors="pt", **left_out)["pixel_values"][0]
        return resized

    def classes(self, output: Any, tiles: Tiles | None, size: tuple[int, int]) -> Tensor:
        post_process = self.processor.post_process_semantic_segmentation
        seen = None
        if getattr(self.processor, "do_split_image", False) and tiles is not None:
            output = type(output)({**output, "patch_offsets": [(0, at, at + tiles.side) for at in tiles.starts]})
            seen = [tiles.image_size]
        if not _taken(post_process, {SCORES: True}):
            class_map: Tensor = post_process(output, target_sizes=[size])[0]
            return class_map.to(torch.uint8)
        # The scores of all classes take gigabytes at the size of a large frame, so they are resized one by one.
        scores = post_process(output, target_sizes=seen, **{SCORES: True})[0].segmentation_scores
        antialias = type(self.processor).__name__.startswith(ANTIALIASED)
        return most_likely(scores, lambda of_class: interpolate(of_class, size, mode="bilinear", antialias=antialias))

    def objects(self, output: Any, size: tuple[int, int]) -> Iterator[Found]:
        post_process = self.processor.post_process_instance_segmentation
        options = {"threshold": 0.0, "return_binary_maps": True, "task_type": "instance", "target_sizes": [size]}
        taken = _taken(post_process, options)
        if "return_binary_maps" in taken:  # Its masks would be enlarged all at once, as here one by one.
            del taken["target_sizes"]
        for item in _found(post_process(output, **taken)[0]):
            mask = item.mask
            if tuple(mask.shape) != size:
                mask = interpolate(mask[None, None].float(), size, mode="nearest")[0, 0].bool()
            yield item._replace(mask=mask)

    def regions(
        self, output: Any, size: tuple[int, int], threshold: float, overlap_threshold: float
    ) -> Iterator[Found]:
        # Regions of the same stuff are not joined yet: when processors do that, they give the next object an id that is
        # taken (transformers 5.24).
        post_process = self.processor.post_process_panoptic_segmentation
        options = {
            "threshold": threshold,
            "overlap_mask_area_threshold": overlap_threshold,
            "label_ids_to_fuse": set(),
            "target_sizes": [size],
        }
        return _found(post_process(output, **_taken(post_process, options))[0])

    def usual_threshold(self) -> float:
        """How sure of its class a query must be by default to give a region."""
        parameters = inspect.signature(self.processor.post_process_panoptic_segmentation).parameters
        return float(parameters["threshold"].default)


def _taken(function: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """Those of the options that the function takes: families name them differently."""
    parameters = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in parameters}


def _found(result: dict[str, Any]) -> Iterator[Found]:
    """What a processor says of one picture: a map of ids, or a stack of masks."""
    entries = result["segments_info"]
    if not entries:
        return
    masks = torch.as_tensor(result["segmentation"])
    for number, entry in enumerate(entries):
        mask = masks == entry["id"] if masks.dim() == 2 else masks[number].bool()
        yield Found(int(entry["label_id"]), float(entry["score"]), mask)
