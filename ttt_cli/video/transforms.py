"""Prepares frames for the model: changes, crops and shrinks them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from ttt_cli.core.area import Area
from ttt_cli.core.frame import Frame, Video


def changed(video: Video, change: Callable[[Frame], Tensor]) -> Video:
    """The same video with each image replaced by `change(frame)`, of the same size; `clean` keeps the old image."""

    def replace(frame: Frame) -> Frame:
        return dataclasses.replace(frame, image=change(frame), clean=frame.image)

    return video.mapped(replace)


def within(video: Video, area: Area | None) -> Video:
    """The same video with each image cropped to the area; `original` keeps the whole image. None crops nothing."""
    if area is None:
        return video

    def crop(frame: Frame) -> Frame:
        return dataclasses.replace(frame, image=area.of(frame.image), original=frame.whole().image)

    return dataclasses.replace(video.mapped(crop), size=(area.height, area.width))


def for_model(video: Video, shortest_side: int | None, preprocess: Callable[[Tensor], Tensor]) -> Video:
    """The same video with each frame passed through `frame_for_model`."""

    def prepare(frame: Frame) -> Frame:
        return frame_for_model(frame, shortest_side, preprocess)

    return video.mapped(prepare)


def frame_for_model(frame: Frame, shortest_side: int | None, preprocess: Callable[[Tensor], Tensor]) -> Frame:
    """The frame with its image shrunk if it is too large, then preprocessed; `original` keeps the full-size image."""
    image = preprocess(shrink(frame.image, shortest_side))
    return dataclasses.replace(frame, image=image, original=frame.whole().image)


def shrink(image: Tensor, shortest_side: int | None) -> Tensor:
    """Scales an image, uint8 (3, H, W), down to the given shortest side; a smaller image is returned unchanged."""
    if shortest_side is None:
        return image
    height, width = image.shape[-2:]
    scale = shortest_side / min(height, width)
    if scale >= 1:
        return image
    size = (round(height * scale), round(width * scale))
    return functional.interpolate(image[None], size=size, mode="bilinear", align_corners=False, antialias=True)[0]
