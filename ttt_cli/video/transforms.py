"""Frames on their way to the model: opened, changed, made smaller."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from torch import Tensor
from torch.nn import functional

from ttt_cli.core.area import Area
from ttt_cli.core.frame import Frame, Video
from ttt_cli.video.reader import open_video
from ttt_cli.video.settings import InputSettings


def open_input(source: str | Path, wanted: InputSettings) -> Video:
    """The frames of `source` that are wanted, at full size. Raises what `open_video` does."""
    return open_video(
        source,
        start_seconds=wanted.start,
        end_seconds=wanted.end,
        stride=wanted.stride,
        max_frames=wanted.max_frames,
        fps=None if wanted.fps is None else Fraction(str(wanted.fps)),
    )


def changed(video: Video, change: Callable[[Frame], Tensor]) -> Video:
    """The same video, each image replaced by what `change` makes of its frame; `clean` keeps it, the size stays."""

    def replaced(frame: Frame) -> Frame:
        return dataclasses.replace(frame, image=change(frame), clean=frame.image)

    return dataclasses.replace(video, frames=lambda: map(replaced, video.frames()))


def within(video: Video, area: Area | None) -> Video:
    """The same video, of each image only what is in the area; `original` keeps it as it was. None is all of it."""
    if area is None:
        return video

    def cut(frame: Frame) -> Frame:
        return dataclasses.replace(frame, image=area.of(frame.image), original=frame.whole().image)

    return dataclasses.replace(video, size=(area.height, area.width), frames=lambda: map(cut, video.frames()))


def for_model(video: Video, shortest_side: int, preprocess: Callable[[Tensor], Tensor]) -> Video:
    """The same video, each frame as `frame_for_model` makes it."""

    def shown(frame: Frame) -> Frame:
        return frame_for_model(frame, shortest_side, preprocess)

    return dataclasses.replace(video, frames=lambda: map(shown, video.frames()))


def frame_for_model(frame: Frame, shortest_side: int, preprocess: Callable[[Tensor], Tensor]) -> Frame:
    """The frame with its image made smaller, if need be, and preprocessed; `original` keeps it as it was."""
    image = preprocess(shrink(frame.image, shortest_side))
    return dataclasses.replace(frame, image=image, original=frame.whole().image)


def shrink(image: Tensor, shortest_side: int) -> Tensor:
    """Scales uint8 (3, H, W) so that its shortest side is `shortest_side`; a smaller image stays as it is."""
    height, width = image.shape[-2:]
    scale = shortest_side / min(height, width)
    if scale >= 1:
        return image
    size = (round(height * scale), round(width * scale))
    return functional.interpolate(image[None], size=size, mode="bilinear", align_corners=False, antialias=True)[0]
