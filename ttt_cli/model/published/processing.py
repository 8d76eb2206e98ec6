"""A published model's own processing: how it sees a frame, and what it makes of the model's output."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ttt_cli.model.published.model import Normalization, resized
from ttt_cli.model.published.tiles import Tiles
from ttt_cli.model.queries import most_likely

LEFT_OUT = ("do_rescale", "do_normalize", "do_pad", "do_center_crop", "do_split_image", "do_flip_channel_order")
"""What a processor may do besides resizing. All of it but cropping, which would leave parts of a frame without labels,
is done in PublishedModel."""

LOGITS = ("SegformerImageProcessor", "BeitImageProcessor")
"""Processors that resize the logits of each class, and take the highest at each pixel."""
QUERIES = {"Mask2FormerImageProcessor": 384, "MaskFormerImageProcessor": None}
"""Processors that do so with sums over queries, and the side, in pixels, to which they bring masks before, if any."""


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

    def objects(self, output: Any, size: tuple[int, int]) -> list[Found]:
        """All objects, however unsure, in a frame of `size`; they may overlap."""
        raise TypeError("its models find no objects")

    def regions(self, output: Any, size: tuple[int, int], threshold: float, overlap_threshold: float) -> list[Found]:
        """Objects and regions, none of which overlap, in a frame of `size`.

        threshold, overlap_threshold: those of TaskSettings.
        """
        raise TypeError("its models find no regions")


class ImageProcessing(Processing):
    """The image processor of a folder in the transformers layout.

    resizes: whether it brings frames to the size that its models were made for; if not, they stay as they are.
    """

    def __init__(self, folder: Path, resizes: bool) -> None:
        from transformers import AutoImageProcessor

        self.processor: Any = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        self.resizes = resizes

    @property
    def normalization(self) -> Normalization:
        """What the processor does to the pixels of a resized frame."""
        processor = self.processor
        scale = 1 / processor.rescale_factor if processor.do_rescale else 1.0
        if not getattr(processor, "do_normalize", False):
            mean, deviation = (0.0, 0.0, 0.0), (scale, scale, scale)
        else:
            # In single precision, as the processor multiplies them, so that not a bit differs.
            mean, deviation = (
                tuple((torch.tensor(values) * scale).tolist()) for values in (processor.image_mean, processor.image_std)
            )
        return Normalization(mean, deviation, bool(getattr(processor, "do_flip_channel_order", False)))

    def resized(self, image: Tensor) -> Tensor:
        if not self.resizes:
            return image
        left_out = {name: False for name in LEFT_OUT if hasattr(self.processor, name)}
        resized: Tensor = self.processor(image, return_tensors="pt", **left_out)["pixel_values"][0]
        return resized

    def classes(self, output: Any, tiles: Tiles | None, size: tuple[int, int]) -> Tensor:
        if getattr(self.processor, "do_split_image", False) and tiles is not None:
            output = type(output)({**output, "patch_offsets": [(0, at, at + tiles.side) for at in tiles.starts]})
        scores = _scores(type(self.processor).__name__, output)
        if scores is not None:
            return most_likely(scores, lambda of_class: resized(of_class, size))
        class_map: Tensor = self.processor.post_process_semantic_segmentation(output, target_sizes=[size])[0]
        return class_map.to(torch.uint8)

    def objects(self, output: Any, size: tuple[int, int]) -> list[Found]:
        post_process = self.processor.post_process_instance_segmentation
        options = {"threshold": 0.0, "return_binary_maps": True, "task_type": "instance", "target_sizes": [size]}
        return _found(post_process(output, **_taken(post_process, options))[0])

    def regions(self, output: Any, size: tuple[int, int], threshold: float, overlap_threshold: float) -> list[Found]:
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


def _scores(processor: str, output: Any) -> Tensor | None:
    """The scores of the classes, (K, h, w), that a processor resizes, all at once, before it takes the highest.

    processor: name of its class. None for those that do it in other ways.
    """
    if processor.startswith(LOGITS):
        logits: Tensor = output.logits[0]
        return logits
    if not processor.startswith(tuple(QUERIES)):
        return None
    side = next(side for name, side in QUERIES.items() if processor.startswith(name))
    masks: Tensor = output.masks_queries_logits
    if side is not None:
        masks = resized(masks, (side, side))
    classes = output.class_queries_logits.softmax(dim=-1)[..., :-1]
    return torch.einsum("bqk,bqhw->bkhw", classes, masks.sigmoid())[0]


def _taken(function: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """Those of the options that the function takes: families name them differently."""
    parameters = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in parameters}


def _found(result: dict[str, Any]) -> list[Found]:
    """What a processor says of one picture: a map of ids, or a stack of masks."""
    segmentation, entries = result["segmentation"], result["segments_info"]
    if not entries:
        return []
    masks = torch.as_tensor(segmentation)
    if masks.dim() == 2:
        masks = torch.stack([masks == entry["id"] for entry in entries])
    return [
        Found(int(entry["label_id"]), float(entry["score"]), mask.bool())
        for entry, mask in zip(entries, masks, strict=True)
    ]
