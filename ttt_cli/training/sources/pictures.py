"""A folder of pictures without labels, for colorization."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ttt_cli.training.sources.files import image_of, pictures_in, unlabeled
from ttt_cli.training.stills import LabeledStills, Still


def pictures(folder: Path, split: str) -> LabeledStills:
    """Every picture in the folder."""
    return LabeledStills((), [partial(_read, picture) for picture in pictures_in(folder)])


def _read(picture: Path) -> Still:
    return unlabeled(picture.stem, image_of(picture))
