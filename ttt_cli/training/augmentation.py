"""Random views of stills: a crop at a random scale, mirrored half of the time, with changed colors."""

from __future__ import annotations

from dataclasses import dataclass
from types import EllipsisType

import torch
from torch import Generator, Tensor
from torch.nn import functional

from ttt_cli.core.errors import UsageError
from ttt_cli.core.exposure import exposure_matched
from ttt_cli.core.pictures import PictureStatistics
from ttt_cli.core.ranges import require_share, require_within
from ttt_cli.training.camera import Camera, draw_seed, seen_with_seed
from ttt_cli.training.stills import Still

LARGEST_CROP = 16_384
"""In pixels."""
MOST_WINDOWS = 1000


@dataclass(frozen=True)
class Augmentation:
    """A random crop at a random scale, mirrored half of the time, with changed colors."""

    crop_height: int = 256
    """Height of the crop in pixels."""
    crop_width: int = 320
    """Width of the crop in pixels."""
    windows: int = 3
    """Number of random windows to draw; the window with the most classes is used."""
    smallest_scale: float = 0.75
    """Lower end of the zoom, which is drawn uniformly on a log scale."""
    largest_scale: float = 1.75
    """Upper end of the zoom."""
    camera: Camera = Camera()
    """Changes to the whole picture before it is cropped."""
    ordinary: PictureStatistics | None = None
    """Then its mean and deviation may be set to these (core/exposure.py); None leaves them."""
    matched: float = 1.0
    """Chance of that. Pictures of both kinds teach the model to do with any rule that is chosen for video."""
    color: float = 0.3
    """Brightness, contrast and saturation are each multiplied by a factor in 1 - color .. 1 + color."""

    def __post_init__(self) -> None:
        require_within(self, 1, LARGEST_CROP, "crop_height", "crop_width")
        require_within(self, 1, MOST_WINDOWS, "windows")
        require_share(self, "matched", "color")
        if not 0 < self.smallest_scale <= self.largest_scale:
            raise UsageError("smallest_scale must be above 0, and largest_scale not below it")


@dataclass(frozen=True)
class View:
    """The random numbers of a view, in 0..1 unless it is said otherwise."""

    zoom: float
    """Between the smallest scale and the largest."""
    corners: tuple[tuple[float, float], ...]
    """Of each window: its place between top and bottom, and between left and right."""
    camera_seed: int | None
    """As `draw_seed` draws it."""
    match: float
    """The exposure is matched if this is below Augmentation.matched."""
    colors: tuple[float, float, float]
    """Brightness, contrast, saturation."""
    mirror: float
    """Mirrored if this is below one half."""


def draw_view(settings: Augmentation, generator: Generator) -> View:
    """Draws a view. How many random numbers that takes does not depend on the still, which need not be read."""
    return View(
        zoom=_uniform(generator),
        corners=tuple((_uniform(generator), _uniform(generator)) for _ in range(settings.windows)),
        camera_seed=draw_seed(settings.camera, generator),
        match=1.0 if settings.ordinary is None else _uniform(generator),
        colors=(_uniform(generator), _uniform(generator), _uniform(generator)),
        mirror=_uniform(generator),
    )


def augment(still: Still, settings: Augmentation, view: View) -> Still:
    """A view of a still, with the same crop for all its tensors. The image becomes float32 in 0..255."""
    crop = (settings.crop_height, settings.crop_width)
    height, width = still.classes.shape
    scale = settings.smallest_scale * (settings.largest_scale / settings.smallest_scale) ** view.zoom
    scale = max(scale, crop[0] / height, crop[1] / width)
    size = (round(crop[0] / scale), round(crop[1] / scale))
    areas = [_window((height, width), size, corner) for corner in view.corners]
    area = max(areas, key=lambda area: int(still.classes[area].flatten().bincount().count_nonzero()))

    whole = seen_with_seed(still.image, settings.camera, view.camera_seed)
    if view.match < settings.matched:
        whole = exposure_matched(whole, settings.ordinary)
    image = functional.interpolate(
        whole[area].float()[None], size=crop, mode="bilinear", align_corners=False, antialias=scale < 1
    )[0]
    classes = functional.interpolate(still.classes[area][None, None], size=crop, mode="nearest-exact")[0, 0]
    instances = functional.interpolate(still.instances[area][None, None].float(), size=crop, mode="nearest-exact")
    image = _jitter(image, settings.color, view.colors)
    labels = [classes, instances[0, 0].int()]
    if view.mirror < 0.5:
        image, *labels = [tensor.flip(-1) for tensor in (image, *labels)]
    return Still(still.name, image, *labels)


def _window(
    whole: tuple[int, int], part: tuple[int, int], corner: tuple[float, float]
) -> tuple[EllipsisType, slice, slice]:
    """A window of size `part` at a place in `whole`, as an index of the last two dimensions."""
    top = int(corner[0] * (whole[0] - part[0] + 1))
    left = int(corner[1] * (whole[1] - part[1] + 1))
    return (..., slice(top, top + part[0]), slice(left, left + part[1]))


def _uniform(generator: Generator) -> float:
    return float(torch.rand((), generator=generator))


def _jitter(image: Tensor, strength: float, colors: tuple[float, float, float]) -> Tensor:
    brightness, contrast, saturation = (1 + strength * (2 * number - 1) for number in colors)
    image = image * brightness
    image = (image - image.mean()) * contrast + image.mean()
    gray = image.mean(dim=0, keepdim=True)
    return ((image - gray) * saturation + gray).clamp(0, 255)
