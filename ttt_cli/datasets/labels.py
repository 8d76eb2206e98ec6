"""Ground truth: a folder of PNGs named like the frames, one class id a pixel. It is for scoring alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ttt_cli.errors import TttvError, printable
from ttt_cli.frame import Video
from ttt_cli.tasks.classes import VOID
from ttt_cli.video import images


class LabelFolder:
    """Labels NAME.png in a folder: ids 0..K-1 are classes; K and 255 are void."""

    def __init__(self, folder: Path, classes: int) -> None:
        """Raises TttvError where the folder can not be read or holds no PNG."""
        self.classes = classes
        try:
            self.files = {path.stem: path for path in folder.iterdir() if path.suffix.lower() == ".png"}
        except OSError as error:
            raise TttvError(f"{printable(folder)}: labels can not be read ({error.strerror}); check --gt") from error
        if not self.files:
            raise TttvError(f"{printable(folder)}: has no label PNGs in it; name them like the frames")
        self.folder = folder

    def check_fits(self, video: Video) -> None:
        """Raises TttvError where no label can belong to a frame of `video`, by their names; nothing is decoded."""
        if video.path.is_dir():
            names = {path.stem for path in images.in_folder(video.path)}
        elif images.is_image(video.path):
            names = {video.path.stem}
        else:
            names = {name for name in self.files if len(name) >= 6 and name.isdecimal()}
        if not names & self.files.keys():
            example = printable(min(self.files.values()))
            raise TttvError(f"{example}: is named like no frame of {printable(video.path)}, nor is any other label")

    def truth(self, name: str, size: tuple[int, int]) -> Tensor | None:
        """The label of the frame called `name`, uint8 (H, W) with void as 255, or None where there is none.

        Raises TttvError where it can not be read, is not of `size` (height, width), or has ids that mean nothing.
        """
        path = self.files.get(name)
        if path is None:
            return None
        shown = printable(path)
        try:
            with Image.open(path) as image:
                ids = np.array(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise TttvError(f"{shown}: is not a label image that can be read ({printable(error)})") from error
        if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
            raise TttvError(f"{shown}: must have one channel of class ids, not colours")
        if ids.shape != size:
            raise TttvError(f"{shown}: is {ids.shape[1]}x{ids.shape[0]}, but its frame is {size[1]}x{size[0]}")
        ids = np.where(ids == self.classes, VOID, ids)
        unknown = (ids < 0) | ((ids >= self.classes) & (ids != VOID))
        if unknown.any():
            first = ids[unknown][0]
            raise TttvError(f"{shown}: holds the id {first}; 0 to {self.classes - 1} are classes, {VOID} is void")
        return torch.from_numpy(ids.astype(np.uint8))
