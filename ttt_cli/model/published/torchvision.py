"""Models of torchvision: `torchvision:deeplabv3_resnet50`, or with a checkpoint, `torchvision:NAME#FILE.pth`."""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.models import get_model, get_model_weights, list_models, segmentation
from torchvision.transforms.functional import resize

from ttt_cli.core.checksum import sha256
from ttt_cli.core.choices import choices
from ttt_cli.core.errors import TttvError, UsageError, printable
from ttt_cli.core.known_classes import classes_named
from ttt_cli.model.most_likely import most_likely
from ttt_cli.model.published.checkpoint import fill, read_tensors, save_tensors
from ttt_cli.model.published.families import Family
from ttt_cli.model.published.foreign import ForeignWeights, first_line, numbered_names, require_count_of_classes
from ttt_cli.model.published.model import Normalization, PublishedModel, resized
from ttt_cli.model.published.processing import Processing
from ttt_cli.model.published.replay import AtModule
from ttt_cli.model.published.tiles import Tiles
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.split import SplitModel

PREFIX = "torchvision:"
FULL_SCALE = 255.0
FAMILY = Family(AtModule("backbone"))


class TorchvisionModel(PublishedModel):
    """A model of torchvision.models.segmentation."""

    def pixel_logits(self, output: Any) -> Tensor:
        """The logits of the classes in what `decode` gave."""
        logits: Tensor = output["out"]
        return logits


@dataclass(frozen=True)
class TorchvisionProcessing(Processing):
    """The transforms that come with the weights."""

    transforms: Any
    """A preset of torchvision for segmentation."""
    resizes: bool
    """Whether frames are brought to the size that it asks for."""

    @property
    def normalization(self) -> Normalization:
        """What it does to the pixels of a resized frame."""
        return Normalization(tuple(self.transforms.mean), tuple(self.transforms.std), scale=FULL_SCALE)

    def resized(self, image: Tensor) -> Tensor:
        if not self.resizes:
            return image
        wanted = self.transforms
        smaller: Tensor = resize(image, wanted.resize_size, wanted.interpolation, antialias=wanted.antialias)
        return smaller

    def classes(self, output: Any, tiles: Tiles | None, size: tuple[int, int]) -> Tensor:
        return most_likely(output["out"][0], lambda of_class: resized(of_class, size))


@dataclass(frozen=True, kw_only=True)
class TorchvisionWeights(ForeignWeights):
    """A checkpoint of a model of torchvision."""

    model_name: str
    """As torchvision.models.get_model takes it."""

    @property
    def encoder(self) -> str:
        """The name of the model, which says what encoder it has."""
        return self.model_name

    def load_alone(self) -> TorchvisionModel:
        """The model, filled, in eval mode. Raises TttvError if its tensors do not fit."""
        tensors = read_tensors(self.path)
        model = get_model(
            self.model_name,
            weights=None,
            weights_backbone=None,
            num_classes=len(self.classes),
            aux_loss=any(name.startswith("aux_classifier.") for name in tensors),
        )
        fill(model, tensors, printable(self.path))
        return TorchvisionModel(model, FAMILY, self.processing(resizes=True).normalization, {})

    def processing(self, resizes: bool) -> TorchvisionProcessing:
        """Its transforms. resizes: whether frames are brought to the size that they ask for."""
        return TorchvisionProcessing(get_model_weights(self.model_name).DEFAULT.transforms(), resizes)

    def save(self, model: SplitModel, path: Path) -> None:
        """Writes a checkpoint, for `torchvision:NAME#FILE`."""
        assert isinstance(model, TorchvisionModel), "load gives no other"
        save_tensors(model.model, path)

    def fingerprint(self) -> str:
        """The checksum of the model's name and tensors."""
        return hashlib.sha256(f"{self.model_name} {sha256(self.path)}".encode()).hexdigest()

    def identity(self) -> dict[str, str]:
        """What run.json and metrics.json say of the weights: `path` opens them again."""
        return {**super().identity(), "path": f"{PREFIX}{self.model_name}#{self.path}"}


def read_torchvision(name: str) -> TorchvisionWeights:
    """The record of weights. name: `torchvision:NAME` or `torchvision:NAME#FILE`.

    Without a file, it is the one that torchvision offers, which is downloaded if torch.hub's cache does not have it.
    Raises UsageError for an unknown model, TttvError for a file that is missing or of another model.
    """
    model_name, _, file = name.removeprefix(PREFIX).partition("#")
    names = list_models(module=segmentation)
    if model_name not in names:
        raise UsageError(f"{printable(name)}: torchvision has no such model; {choices(model_name, names)}")
    path = Path(file).absolute() if file else _offered(model_name)
    if not path.is_file():
        raise TttvError(f"{printable(path)}: there is no such file")
    count = _count_of_classes(path)
    known = [label.strip("_") for label in get_model_weights(model_name).DEFAULT.meta["categories"]]
    return TorchvisionWeights(
        path=path,
        name=name,
        tasks=("semantic",),
        classes=classes_named(known if len(known) == count else numbered_names(count)),
        license="not stated",
        reconstruction=ReconstructionSettings(),
        adaptation={"method": "joint"},
        has_reconstruction=False,
        model_name=model_name,
    )


def _count_of_classes(path: Path) -> int:
    """The number of outputs of the last layer of the main head."""
    shapes = [tensor.shape for name, tensor in read_tensors(path).items() if re.match(r"classifier\..*weight$", name)]
    count = shapes[-1][0] if shapes else 0
    require_count_of_classes(count, printable(path))
    return count


def _offered(model_name: str) -> Path:
    """The file that torchvision offers for a model, in the cache of torch.hub. Raises TttvError if it cannot be had."""
    url = get_model_weights(model_name).DEFAULT.url
    path = Path(torch.hub.get_dir(), "checkpoints", Path(url).name)
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # A file's name ends in the beginning of its checksum.
            checksum = path.stem.rpartition("-")[2]
            torch.hub.download_url_to_file(url, str(path), checksum, progress=sys.stderr.isatty())
        except (OSError, RuntimeError) as error:
            raise TttvError(
                f"{PREFIX}{model_name}: {printable(path)} is missing and cannot be downloaded "
                f"({printable(first_line(error))}); put it there, or name a file: {PREFIX}{model_name}#FILE"
            ) from error
    return path
