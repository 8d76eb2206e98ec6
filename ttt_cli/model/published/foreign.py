"""What is known of weights that others made, wherever they come from. Importing this does not import torch."""

from __future__ import annotations

import textwrap
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ttt_cli.core.errors import TttvError
from ttt_cli.model.weights import Weights

if TYPE_CHECKING:
    from ttt_cli.model.published.processing import Processing

LARGEST_COUNT = 255
"""Class ids are bytes, of which 255 is void."""
LINES, LONGEST = 2, 300
"""Of what a library says that an error repeats: lines, and characters."""


@dataclass(frozen=True, kw_only=True)
class ForeignWeights(Weights):
    """Weights of a model that comes with a processing of its own for frames and predictions."""

    @property
    def recommended(self) -> dict[str, dict[str, Any]]:
        """Frames have the size that its processing asks for."""
        tables = super().recommended
        tables["input"]["size"] = None
        return tables

    @property
    def takes_one_size(self) -> bool:
        """Whether the model takes pictures of one size only."""
        return False

    @abstractmethod
    def processing(self, resizes: bool) -> Processing:
        """Its processing. resizes: whether frames are brought to the size that it asks for."""


def numbered_names(count: int) -> list[str]:
    """Names for classes whose names are not known."""
    return [f"class {number}" for number in range(count)]


def require_count_of_classes(count: int, shown: str, fewest: int = 2) -> None:
    """Raises TttvError, which begins with `shown`, if so many classes cannot be written to masks."""
    if not fewest <= count <= LARGEST_COUNT:
        raise TttvError(f"{shown}: has {count} classes; only {fewest} to {LARGEST_COUNT} can be written to masks")


def first_line(error: Exception) -> str:
    """What an error says, in one line that is not too long."""
    text = " ".join((str(error).strip() or type(error).__name__).splitlines()[:LINES])
    return textwrap.shorten(text, LONGEST, placeholder=" ...")
