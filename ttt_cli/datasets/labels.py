"""Label images: folders of PNGs with the names of the frames. They are used only for scoring."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ttt_cli.core.classes import VOID
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.frame import Video
from ttt_cli.core.labels import ClassMap, Labels
from ttt_cli.datasets.stream import frame_numbers_of
from ttt_cli.video import images


def label_truth(folder: Path, video: Video, read: Callable[[Path], Labels]) -> Callable[[str], Labels | None]:
    """The truth of a stream whose label files NAME.png are in `folder`; `read` is called for one frame at a time.

    Raises TttvError if the folder cannot be read, has no PNGs, or no PNG has the name of a frame of `video`.
    """
    try:
        paths = [path for path in folder.iterdir() if images.is_image(path)]
    except OSError as error:
        raise TttvError(f"{printable(folder)}: labels cannot be read ({error.strerror}); check --gt") from error
    files = {path.stem: path for path in paths if path.suffix.lower() == ".png"}
    if not files:
        raise TttvError(f"{printable(folder)}: has no label PNGs in it; name them like the frames")
    number_of = frame_numbers_of(video)
    if all(number_of(name) is None for name in files):
        example = printable(min(files.values()))
        raise TttvError(f"{example}: is named like no frame of {printable(video.source)}, nor is any other label")

    def truth(name: str) -> Labels | None:
        path = files.get(name)
        return None if path is None else read(path)

    return truth


def class_map(path: Path, size: tuple[int, int], classes: int, void: int = VOID) -> ClassMap:
    """Reads a label with one class id, 0..classes - 1, for each pixel; 255 and `void` become 255.

    Raises TttvError if the file is not such a label or not of `size` (height, width).
    """
    ids = np.array(read_png(path, size))
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
        raise TttvError(f"{printable(path)}: must have one channel of class ids, not colors")
    return known_classes(np.where(ids == void, VOID, ids), classes, path)


def known_classes(ids: np.ndarray, classes: int, path: Path) -> ClassMap:
    """Class ids, int (H, W), as a class map. Raises TttvError if an id is neither a class nor 255."""
    unknown = (ids < 0) | ((ids >= classes) & (ids != VOID))
    if unknown.any():
        first = ids[unknown][0]
        raise TttvError(f"{printable(path)}: holds the id {first}; 0 to {classes - 1} are classes, {VOID} is void")
    return ClassMap(torch.from_numpy(ids.astype(np.uint8)))


def read_rgb(path: Path, size: tuple[int, int]) -> np.ndarray:
    """A PNG whose channels are numbers: int64 (H, W, 3), 0..255. Raises TttvError for any other picture."""
    image = read_png(path, size)
    # Read the header, because Pillow silently reduces 16 bits to 8.
    with path.open("rb") as file:
        depth, kind = file.read(26)[24:]
    if (depth, kind) != (8, 2):
        raise TttvError(f"{printable(path)}: is {image.mode}, bit depth {depth}; must be RGB, bit depth 8")
    return np.array(image, dtype=np.int64)


def read_png(path: Path, size: tuple[int, int]) -> Image.Image:
    """A decoded PNG. Raises TttvError if it cannot be read or is not of `size` (height, width)."""
    file = printable(path)
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if (image.height, image.width) != size:
                raise TttvError(f"{file}: is {image.width}x{image.height}, but its frame is {size[1]}x{size[0]}")
            image.load()
            return image
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError, EOFError) as error:
        raise TttvError(
            f"{file}: is not a label image that can be read ({printable(error)}); get a complete copy"
        ) from error
