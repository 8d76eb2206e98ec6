"""What is trained: a model, the objective that teaches it, and the form in which it is written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

from ttt_cli.core.classes import Class
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.pictures import PictureStatistics
from ttt_cli.model.feature_statistics import FeatureStatistics
from ttt_cli.model.split import SplitModel
from ttt_cli.training.objectives import TrainingObjective
from ttt_cli.training.recipe import Recipe


class Measured(NamedTuple):
    """What is measured at the end of a training, to be written with the weights."""

    features: FeatureStatistics
    """Of f's channels on training pictures."""
    familiar_loss: float | None
    """Mean l_s on the held-out stills; None if there are none or g was not trained."""
    ordinary: PictureStatistics
    """Of the training pictures."""
    pictures: int
    """How many training pictures there are."""


class Subject(ABC):
    """A model that is about to be trained."""

    recipe: Recipe
    classes: tuple[Class, ...]
    """In the order of the class logits."""
    model: SplitModel
    """It has a g."""
    objective: TrainingObjective

    @abstractmethod
    def path_in(self, folder: Path) -> Path:
        """Where the weights go."""

    @abstractmethod
    def is_ours(self, path: Path) -> bool:
        """Whether what is at `path` was written by an earlier training, so that it may be replaced."""

    def check_place(self, path: Path) -> None:
        """Raises TttvError if something is at `path` that no training wrote."""
        if (path.exists() or path.is_symlink()) and not self.is_ours(path):
            raise TttvError(
                f"{printable(path)}: exists, and no training wrote it; move it away, or name another folder with --out"
            )

    @abstractmethod
    def save(self, model: SplitModel, path: Path, measured: Measured) -> None:
        """Writes the weights. model: trained, of the same kind as `self.model`."""


def have_same_names(known: tuple[Class, ...], wanted: tuple[Class, ...]) -> bool:
    """Whether classes are the same in number, order and names."""
    return [kind.name for kind in known] == [kind.name for kind in wanted]
