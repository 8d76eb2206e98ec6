"""What is known of a model before it is loaded, wherever it comes from. Importing this does not import torch."""

from __future__ import annotations

import dataclasses
import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ttt_cli.core.checksum import sha256
from ttt_cli.core.classes import VOID, Class
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.pictures import IMAGENET, Exposure, PictureStatistics
from ttt_cli.model.companion import Companion, companion_path, read_companion

if TYPE_CHECKING:
    from ttt_cli.model.settings import ReconstructionSettings
    from ttt_cli.model.split import SplitModel

ALL_TASKS = ("semantic", "instance", "panoptic")
PREPARED = {"learning_rate": 1e-4, "reconstruction_rate_factor": 0.0, "forgetting": 0.2}
"""Settings of test-time training for prepared weights: those of `street`."""


W = TypeVar("W", bound="Weights")


@dataclass(frozen=True)
class Weights(ABC):
    """What is known of a model before its tensors are loaded."""

    path: Path
    """The weights file, or the folder of a published model."""
    name: str
    tasks: tuple[str, ...]
    """What the main head was trained for: names in TASKS."""
    classes: tuple[Class, ...]
    """In the order of the class logits."""
    license: str
    reconstruction: ReconstructionSettings
    adaptation: dict[str, Any]
    """Settings of test-time training chosen for these weights, by their names in AdaptationSettings."""
    ordinary: PictureStatistics = IMAGENET
    """Of the training pictures."""
    exposure: Exposure = "off"
    """Whether the weights were trained on pictures matched to `ordinary` (core/exposure.py)."""
    has_ordinary_features: bool = False
    """Whether the statistics of f's features on ordinary pictures are known (model/feature_statistics.py)."""
    companion: Companion | None = None
    """What preparation found out about the model; None if it was not prepared."""
    has_reconstruction: bool = True
    """Whether the model has a g that was trained."""
    has_class_probabilities: bool = True
    """Whether the model says how likely each class is at each pixel; detectors of objects do not."""
    has_frozen_normalization: bool = False
    """Whether all of f's normalization layers are frozen, as FrozenBatchNorm is: nothing in them can move."""

    def __post_init__(self) -> None:
        if len(self.classes) > VOID:
            raise TttvError(
                f"{printable(self.path)}: has {len(self.classes)} classes, and class maps hold at most {VOID}; "
                "choose other weights"
            )

    @property
    def recommended(self) -> dict[str, dict[str, Any]]:
        """Settings that suit these weights, by section and name of RunSettings."""
        return {
            "input": {"exposure": self.exposure},
            "task": {"task": self.tasks[0]},
            "adaptation": self.adaptation,
            "reconstruction": dataclasses.asdict(self.reconstruction),
        }

    @property
    @abstractmethod
    def encoder(self) -> str:
        """The name of f's architecture."""

    def load(self) -> SplitModel:
        """The model, filled, in eval mode. Raises TttvError if tensors are missing, unknown or of other shapes."""
        model = self.load_alone()
        if self.companion is not None:
            self.companion.apply(companion_path(self.path), model)
        return model

    @abstractmethod
    def load_alone(self) -> SplitModel:
        """The model without its companion. Raises TttvError as `load` does."""

    @abstractmethod
    def save(self, model: SplitModel, path: Path) -> None:
        """Writes an adapted copy of the model, so that `path` can be opened like these weights."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A checksum, in hexadecimal, of everything that the model's output depends on."""

    def checksum(self) -> str:
        """The same of the companion too, on which methods that adapt depend."""
        if self.companion is None:
            return self.fingerprint()
        both = self.fingerprint() + sha256(companion_path(self.path))
        return hashlib.sha256(both.encode()).hexdigest()

    def identity(self) -> dict[str, str]:
        """What run.json and metrics.json say of the weights."""
        companion = {} if self.companion is None else {"companion_sha256": sha256(companion_path(self.path))}
        return {"name": self.name, "path": str(self.path), "sha256": self.fingerprint(), **companion}


def with_companion(weights: W) -> W:
    """The weights with the companion beside them, if there is one. Raises TttvError if it belongs to others."""
    path = companion_path(weights.path)
    companion = read_companion(path)
    if companion is None:
        return weights
    if companion.fingerprint != weights.fingerprint():
        raise TttvError(
            f"{printable(path)}: was made for another checkpoint or revision than {printable(weights.name)}; "
            "remove it, or prepare these weights"
        )
    # `auto` compares classes, and neither colors nor mere objects have any.
    comparable = weights.has_class_probabilities and "colorization" not in weights.tasks
    usual = {"method": "auto"} if comparable else {}
    weights = dataclasses.replace(
        weights,
        companion=companion,
        has_ordinary_features=True,
        ordinary=companion.ordinary,
        adaptation={**weights.adaptation, **PREPARED, **usual, **companion.adaptation},
    )
    if companion.head is None:
        return weights
    return dataclasses.replace(weights, has_reconstruction=True, reconstruction=companion.reconstruction)
