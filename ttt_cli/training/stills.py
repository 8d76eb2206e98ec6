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
from ttt_cli.datasets.regions import components

logger = logging.getLogger(__name__)

THINGS = things_of(CAMVID)
# A smaller connected component is noise of the label's edges rather than an object.
SMALLEST_INSTANCE_PIXELS = 20
# A folder beside Penn-Fudan's own labels: CamVid's ids in each pixel, written by a network (docs/data.md).
MACHINE_LABELS = "street_labels_machine"
PEDESTRIAN = next(index for index, one in enumerate(CAMVID) if one.name == "pedestrian")


@dataclass(frozen=True)
class Still:
    """image: uint8 RGB (3, H, W). classes: uint8 (H, W), 255 = void. instances: int32 (H, W), 0 = no object."""

    name: str
    image: Tensor
    classes: Tensor
    instances: Tensor


def load_camvid(folder: Path) -> list[Still]:
    """Every labeled image of `folder`/images and `folder`/labels, in order of name.

    CamVid labels no instances: the connected components of each thing class stand in for them.
    """
    stills = []
    for image_path in _images(folder / "images"):
        classes = _class_map(folder / "labels" / f"{image_path.stem}.png")
        instances = components(classes, THINGS, SMALLEST_INSTANCE_PIXELS)
        stills.append(Still(image_path.stem, _rgb(image_path), classes, instances))
    return stills


def load_pennfudan(folder: Path) -> list[Still]:
    """Penn-Fudan: pedestrians in `folder`/labels, each a true instance, drawn by people.

    MACHINE_LABELS in `folder`, if it is there, tells the classes around them; without it they are void.
    """
    machine = folder / MACHINE_LABELS
    if not machine.is_dir():
        logger.warning("%s: there is no such folder, so that only pedestrians are labeled", printable(machine))
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
        others = components(unpeopled, THINGS, SMALLEST_INSTANCE_PIXELS)
        instances = torch.where(people > 0, people + int(others.max()), others)
        stills.append(Still(image_path.stem, _rgb(image_path), classes, instances))
    return stills


def load_pictures(folder: Path) -> list[Still]:
    """Every picture in the folder, in order of name, without any label."""
    stills = []
    for path in _images(folder):
        image = _rgb(path)
        nothing = torch.full(image.shape[-2:], VOID, dtype=torch.uint8)
        stills.append(Still(path.stem, image, nothing, torch.zeros(image.shape[-2:], dtype=torch.int32)))
    return stills


STILLS = {"camvid": load_camvid, "pennfudan": load_pennfudan, "pictures": load_pictures}


@dataclass(frozen=True)
class StillsSource:
    """A folder of labeled stills.

    kind: a name in STILLS. folder: relative to the data folder given on the command line.
    share: how often a training image is drawn from here, relative to the other sources.
    held_out: how many stills at the end (in order of name, so in time for a drive) are kept for validation.
    gap: how many stills before those are left out altogether, so that neighbors do not leak.
    """

    kind: str
    folder: str
    share: float = 1.0
    held_out: int = 0
    gap: int = 0


@dataclass(frozen=True)
class Pool:
    """Stills to draw from, and the weight each is drawn by."""

    stills: list[Still] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def add(self, stills: list[Still], share: float) -> None:
        """Adds stills that are together drawn by the weight `share`."""
        self.stills.extend(stills)
        self.weights.extend([share / len(stills)] * len(stills))

    def draw(self, count: int, augmentation: Augmentation, generator: Generator) -> list[Still]:
        """`count` augmented stills, drawn with replacement."""
        weights = torch.tensor(self.weights)
        chosen = torch.multinomial(weights, count, replacement=True, generator=generator).tolist()
        return [augment(self.stills[index], augmentation, generator) for index in chosen]

    def pixel_share(self) -> Tensor:
        """The share of each class among the labeled pixels: float32 (K,)."""
        counts = torch.zeros(VOID + 1, dtype=torch.float64)
        for still in self.stills:
            counts += torch.bincount(still.classes.flatten().long(), minlength=VOID + 1)
        known = counts[: len(CAMVID)]
        return (known / known.sum()).float()


@dataclass(frozen=True)
class Split:
    """The stills of all sources: to train on, and those held out, by folder."""

    trained: Pool
    held_out: dict[str, list[Still]]

    @property
    def all_held_out(self) -> list[Still]:
        """Those of all folders."""
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
    """Random crop of `crop_height` x `crop_width` pixels at a random scale, mirror image, and color.

    windows: of so many windows drawn, the one that shows most classes is taken.
    smallest_scale, largest_scale: range of the zoom, drawn uniformly on a log scale.
    color: brightness, contrast and saturation are each multiplied by a factor in 1 - color .. 1 + color.
    """

    crop_height: int = 256
    crop_width: int = 320
    windows: int = 3
    smallest_scale: float = 0.75
    largest_scale: float = 1.75
    color: float = 0.3


def augment(still: Still, settings: Augmentation, generator: Generator) -> Still:
    """One random view of a still, all of its tensors cut alike; the image becomes float32 in 0..255."""
    crop = (settings.crop_height, settings.crop_width)
    height, width = still.classes.shape
    scale = settings.smallest_scale * (settings.largest_scale / settings.smallest_scale) ** _uniform(generator)
    scale = max(scale, crop[0] / height, crop[1] / width)
    window = (round(crop[0] / scale), round(crop[1] / scale))
    areas = [_window((height, width), window, generator) for _ in range(settings.windows)]
    area = max(areas, key=lambda area: int(still.classes[area].flatten().bincount().count_nonzero()))

    image = functional.interpolate(
        still.image[area].float()[None], size=crop, mode="bilinear", align_corners=False, antialias=scale < 1
    )[0]
    classes = functional.interpolate(still.classes[area][None, None], size=crop, mode="nearest-exact")[0, 0]
    instances = functional.interpolate(still.instances[area][None, None].float(), size=crop, mode="nearest-exact")
    image = _jitter(image, settings.color, generator)
    labels = [classes, instances[0, 0].int()]
    if _uniform(generator) < 0.5:
        image, *labels = [tensor.flip(-1) for tensor in (image, *labels)]
    return Still(still.name, image, *labels)


def mask_targets(still: Still) -> tuple[Tensor, Tensor]:
    """Mask2Former's targets: class ids int64 (N,) and masks float32 (N, H, W), one a stuff class, one an instance."""
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
    """A window of the size `part` at a random place in `whole`, as an index of the last two dimensions."""
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
