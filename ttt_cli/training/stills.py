"""Labeled still images for joint training, kept decoded in memory, and their augmentation."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import EllipsisType

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional

from ttt_cli.core.classes import CAMVID, VOID, things_of
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.exposure import exposure_matched, picture_statistics
from ttt_cli.core.pictures import PictureStatistics
from ttt_cli.datasets.regions import components
from ttt_cli.training.camera import Camera, seen_by_camera

logger = logging.getLogger(__name__)

THINGS = things_of(CAMVID)
SMALLEST_INSTANCE_PIXELS = 20
"""A smaller connected component is noise at the label's edges, not an object."""
MACHINE_LABELS = "street_labels_machine"
"""A folder beside Penn-Fudan's own labels: CamVid's ids in each pixel, written by a network (docs/data.md)."""
PEDESTRIAN = next(index for index, entry in enumerate(CAMVID) if entry.name == "pedestrian")


@dataclass(frozen=True)
class Still:
    """A labeled image."""

    name: str
    """File name without its suffix."""
    image: Tensor
    """RGB, uint8 (3, H, W); float32 after augmentation."""
    classes: Tensor
    """Class of each pixel: uint8 (H, W), 255 = void."""
    instances: Tensor
    """Object of each pixel: int32 (H, W), 0 = no object."""


def load_camvid(folder: Path) -> list[Still]:
    """Every labeled image in `folder`/images and `folder`/labels, sorted by name.

    CamVid labels no instances: the connected components of each thing class stand in for them.
    """
    stills = []
    for image_path in _images(folder / "images"):
        classes = _class_map(folder / "labels" / f"{image_path.stem}.png")
        instances = components(classes, THINGS, SMALLEST_INSTANCE_PIXELS)
        stills.append(Still(image_path.stem, _rgb(image_path), classes, instances))
    return stills


def load_pennfudan(folder: Path) -> list[Still]:
    """Penn-Fudan: pedestrians in `folder`/labels are true instances, drawn by people.

    The pictures in `folder`/MACHINE_LABELS, if there are any, label the other street classes; otherwise those are void.
    """
    machine = folder / MACHINE_LABELS
    if not machine.is_dir():
        logger.warning("%s: there is no such folder, so only pedestrians are labeled", printable(machine))
    stills = []
    for image_path in _images(folder / "images"):
        name = f"{image_path.stem}.png"
        people = torch.from_numpy(np.array(Image.open(folder / "labels" / name), dtype=np.int32))
        if machine.is_dir():
            classes = _class_map(machine / name)
        else:
            classes = torch.full(people.shape, VOID, dtype=torch.uint8)
            classes[people > 0] = PEDESTRIAN
        unpeopled = torch.where(classes == PEDESTRIAN, torch.tensor(VOID, dtype=torch.uint8), classes)
        rest = components(unpeopled, THINGS, SMALLEST_INSTANCE_PIXELS)
        instances = torch.where(people > 0, people + int(rest.max()), rest)
        stills.append(Still(image_path.stem, _rgb(image_path), classes, instances))
    return stills


def load_pictures(folder: Path) -> list[Still]:
    """Every picture in the folder, sorted by name, without labels."""
    stills = []
    for path in _images(folder):
        image = _rgb(path)
        void = torch.full(image.shape[-2:], VOID, dtype=torch.uint8)
        stills.append(Still(path.stem, image, void, torch.zeros(image.shape[-2:], dtype=torch.int32)))
    return stills


STILLS = {"camvid": load_camvid, "pennfudan": load_pennfudan, "pictures": load_pictures}


@dataclass(frozen=True)
class StillsSource:
    """A folder of stills."""

    kind: str
    """How to read the folder: a name in STILLS."""
    folder: str
    """Path relative to the data folder given on the command line."""
    share: float = 1.0
    """How often a training image is drawn from this folder, relative to the other sources."""
    held_out: int = 0
    """How many of the last stills by name, which in a drive are the latest, are kept for validation."""
    gap: int = 0
    """How many stills before the held-out ones are not used at all, so that neighbors do not leak."""


@dataclass(frozen=True)
class Pool:
    """Stills to draw from."""

    stills: list[Still] = field(default_factory=list)
    """All stills of all sources."""
    weights: list[float] = field(default_factory=list)
    """How likely each still is to be drawn, relative to the others."""

    def add(self, stills: list[Still], share: float) -> None:
        """Adds stills whose weights sum to `share`."""
        self.stills.extend(stills)
        self.weights.extend([share / len(stills)] * len(stills))

    def draw(self, count: int, augmentation: Augmentation, generator: Generator) -> list[Still]:
        """Draws `count` stills with replacement and augments them."""
        return [augment(still, augmentation, generator) for still in self.choose(count, generator)]

    def choose(self, count: int, generator: Generator) -> list[Still]:
        """Draws `count` stills with replacement."""
        weights = torch.tensor(self.weights)
        return [self.stills[index] for index in weights.multinomial(count, True, generator=generator).tolist()]

    def statistics(self) -> PictureStatistics:
        """Mean and deviation of the pictures, each still counting alike."""
        return picture_statistics(still.image for still in self.stills)

    def pixel_share(self) -> Tensor:
        """The share of each class among the labeled pixels: float32 (K,)."""
        counts = torch.zeros(VOID + 1, dtype=torch.float64)
        for still in self.stills:
            counts += torch.bincount(still.classes.flatten().long(), minlength=VOID + 1)
        known = counts[: len(CAMVID)]
        return (known / known.sum()).float()


@dataclass(frozen=True)
class Split:
    """The stills of all sources, split for training and validation."""

    trained: Pool
    """Stills to train on."""
    held_out: dict[str, list[Still]]
    """Stills for validation, by folder."""

    @property
    def all_held_out(self) -> list[Still]:
        """The held-out stills of all folders."""
        return [still for stills in self.held_out.values() for still in stills]


def load_split(sources: Sequence[StillsSource], data: Path) -> Split:
    """Reads the sources of a recipe from the folder `data`."""
    split = Split(Pool(), {})
    for source in sources:
        stills = STILLS[source.kind](data / source.folder)
        if source.held_out:
            split.held_out[source.folder] = stills[-source.held_out :]
            stills = stills[: len(stills) - source.held_out - source.gap]
        split.trained.add(stills, source.share)
    return split


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


def augment(still: Still, settings: Augmentation, generator: Generator) -> Still:
    """A random view of a still, with the same crop for all its tensors. The image becomes float32 in 0..255."""
    crop = (settings.crop_height, settings.crop_width)
    height, width = still.classes.shape
    scale = settings.smallest_scale * (settings.largest_scale / settings.smallest_scale) ** _uniform(generator)
    scale = max(scale, crop[0] / height, crop[1] / width)
    window = (round(crop[0] / scale), round(crop[1] / scale))
    areas = [_window((height, width), window, generator) for _ in range(settings.windows)]
    area = max(areas, key=lambda area: int(still.classes[area].flatten().bincount().count_nonzero()))

    whole = seen_by_camera(still.image, settings.camera, generator)
    if settings.ordinary is not None and _uniform(generator) < settings.matched:
        whole = exposure_matched(whole, settings.ordinary)
    image = functional.interpolate(
        whole[area].float()[None], size=crop, mode="bilinear", align_corners=False, antialias=scale < 1
    )[0]
    classes = functional.interpolate(still.classes[area][None, None], size=crop, mode="nearest-exact")[0, 0]
    instances = functional.interpolate(still.instances[area][None, None].float(), size=crop, mode="nearest-exact")
    image = _jitter(image, settings.color, generator)
    labels = [classes, instances[0, 0].int()]
    if _uniform(generator) < 0.5:
        image, *labels = [tensor.flip(-1) for tensor in (image, *labels)]
    return Still(still.name, image, *labels)


def mask_targets(still: Still) -> tuple[Tensor, Tensor]:
    """Mask2Former's targets, one per stuff class and per instance: class ids int64 (N,), masks float32 (N, H, W)."""
    classes: list[int] = []
    masks: list[Tensor] = []
    for index in torch.unique(still.classes).tolist():
        region = still.classes == index
        if index == VOID:
            continue
        if index in THINGS:
            for instance in torch.unique(still.instances[region]).tolist():
                if instance > 0:
                    classes.append(index)
                    masks.append(region & (still.instances == instance))
        else:
            classes.append(index)
            masks.append(region)
    if not masks:
        return torch.zeros(0, dtype=torch.int64), torch.zeros(0, *still.classes.shape)
    return torch.tensor(classes), torch.stack(masks).float()


def _window(whole: tuple[int, int], part: tuple[int, int], generator: Generator) -> tuple[EllipsisType, slice, slice]:
    """A window of size `part` at a random place in `whole`, as an index of the last two dimensions."""
    top = int(_uniform(generator) * (whole[0] - part[0] + 1))
    left = int(_uniform(generator) * (whole[1] - part[1] + 1))
    return (..., slice(top, top + part[0]), slice(left, left + part[1]))


def _uniform(generator: Generator) -> float:
    return float(torch.rand((), generator=generator))


def _jitter(image: Tensor, strength: float, generator: Generator) -> Tensor:
    brightness, contrast, saturation = (1 + strength * (2 * _uniform(generator) - 1) for _ in range(3))
    image = image * brightness
    image = (image - image.mean()) * contrast + image.mean()
    gray = image.mean(dim=0, keepdim=True)
    return ((image - gray) * saturation + gray).clamp(0, 255)


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise TttvError(f"{folder}: no such folder of training images; see data in the recipe")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in {".jpg", ".png"})


def _rgb(path: Path) -> Tensor:
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1).contiguous()


def _class_map(path: Path) -> Tensor:
    classes = np.array(Image.open(path), dtype=np.uint8)
    classes[classes >= len(CAMVID)] = VOID
    return torch.from_numpy(classes)
