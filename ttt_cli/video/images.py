"""Reads pictures from disk: lists a folder or a glob in natural order, and loads each picture as upright RGB."""

from __future__ import annotations

import glob
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ttt_cli.core.errors import TttvError, printable

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


class Unreadable(TttvError):
    """The file is not an image, is cut off, or is too large."""


def is_image(path: Path) -> bool:
    """Whether the name is that of an image. Hidden files do not count: macOS leaves `._NAME.jpg` beside pictures."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def in_folder(folder: Path) -> list[Path]:
    """The pictures in `folder`, in natural order (2 before 10)."""
    try:
        paths = [path for path in folder.iterdir() if is_image(path)]
    except OSError as error:
        raise TttvError(f"{printable(folder)}: cannot be listed ({error.strerror}); check its permissions") from error
    if not paths:
        raise TttvError(f"{printable(folder)}: has no image files in it; give a video file or a folder of frames")
    return in_order(paths)


def in_glob(pattern: str) -> list[Path]:
    """The pictures that match `pattern`, in natural order."""
    paths = [path for match in glob.glob(pattern, recursive=True) if is_image(path := Path(match).absolute())]
    if not paths:
        raise TttvError(f"{printable(pattern)}: no image file matches; check the pattern, and quote it in the shell")
    return in_order(paths)


def in_order(paths: list[Path]) -> list[Path]:
    """`paths` in natural order. Raises TttvError if two share a stem, which names the output files."""
    paths = sorted(paths, key=lambda path: (_natural(path.stem), str(path)))
    for path, following in pairwise(paths):
        if path.stem == following.stem:
            names = f"{printable(path)} and {printable(following)}"
            raise TttvError(f"{names}: two frames of one name; rename or remove one of them")
    return paths


def read(path: Path) -> np.ndarray:
    """The picture as uint8 RGB (H, W, 3): upright by its EXIF tag, 16 bits scaled to 8, transparent parts on black.

    Raises Unreadable if the file is not a picture, is cut off, or is larger than Pillow's guard allows.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return _rgb(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise Unreadable(f"{printable(path)}: has more than {limit} pixels; make it smaller") from error
    except UnidentifiedImageError as error:
        raise Unreadable(f"{printable(path)}: is not an image that can be read; remove or replace it") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise Unreadable(f"{printable(path)}: cannot be read ({printable(error)}); remove or replace it") from error


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # 16 bits; Pillow opens some of these as 32-bit integers.
        gray = np.clip(np.asarray(image).astype(np.int64) // 257, 0, 255).astype(np.uint8)
        return np.repeat(gray[:, :, None], 3, axis=2)
    if image.mode == "F":  # Floats run from 0 to 1.
        gray = (np.clip(np.asarray(image), 0, 1) * 255).round().astype(np.uint8)
        return np.repeat(gray[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
    return np.array(image.convert("RGB"))


def _natural(stem: str) -> list[tuple[int, int, str]]:
    """A sort key that compares runs of digits as numbers."""
    parts = re.findall(r"[0-9]+|[^0-9]+", stem)
    return [(0, int(part), part) if part[0].isdigit() and part.isascii() else (1, 0, part) for part in parts]
