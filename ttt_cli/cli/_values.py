"""What options can be given: words to choose from, and texts that stand for numbers."""

from __future__ import annotations

import math
from enum import Enum

from ttt_cli.adaptation.settings import BUDGET
from ttt_cli.core.errors import UsageError, printable


class Device(str, Enum):
    """The device that the model runs on."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Precision(str, Enum):
    """The number format that the model computes in."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class ExposureName(str, Enum):
    """What happens to the exposure of frames."""

    match = "match"
    off = "off"


class ReaderName(str, Enum):
    """What decodes a video file."""

    ffmpeg = "ffmpeg"
    decord = "decord"


class LayoutName(str, Enum):
    """What the overlay video shows."""

    overlay = "overlay"
    compare = "compare"
    panes = "panes"


class PaletteName(str, Enum):
    """The colors of classes in the overlay video."""

    distinct = "distinct"
    official = "official"


class AtCuts(str, Enum):
    """What happens to the window at a cut between scenes."""

    reset = "reset"
    ignore = "ignore"


class Moves(str, Enum):
    """Which parameters of the encoder a step changes."""

    all = "all"
    norm = "norm"
    bias = "bias"


def parse_window(text: str) -> int:
    """The window in frames; 0 for `inf`, every frame so far. Raises UsageError for any other text."""
    if text == "inf":
        return 0
    if not text.isdecimal() or int(text) == 0:
        raise UsageError(f"window must be a whole number of frames from 1 up, inf or auto, not {printable(text)!r}")
    return int(text)


def parse_budget(text: str) -> float:
    """The budget as a multiple; 0 for `none`. Raises UsageError for any other text, and below 1."""
    if text == "none":
        return 0.0
    try:
        budget = float(text)
    except ValueError:
        budget = math.nan
    if not 1 <= budget < math.inf:
        raise UsageError(f"budget must be a number from 1 up, such as {BUDGET}, or none, not {printable(text)!r}")
    return budget


def parse_seeds(text: str) -> list[int]:
    """`3` is 0, 1, 2; `0,5` is 0 and 5. Raises UsageError for anything else."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"seeds must be a count or a list of whole numbers, not {printable(text)!r}") from None
    if "," not in text:
        numbers = list(range(numbers[0]))
    if not numbers or min(numbers) < 0:
        raise UsageError(f"seeds must be at least one, and not negative: {printable(text)!r}")
    return numbers
