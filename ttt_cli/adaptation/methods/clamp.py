"""Clamped features: ours, without any training. What f sees of a frame is brought back to what it usually sees."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ttt_cli.adaptation.methods.base import Method
from ttt_cli.core.errors import UsageError
from ttt_cli.core.ranges import require_not_negative

if TYPE_CHECKING:
    from ttt_cli.adaptation.online import Adapter


@dataclass(frozen=True)
class Clamp(Method):
    """The fixed model, with each channel's mean and deviation clamped to where they are on most ordinary pictures."""

    dead_zone: float = 1.5
    """Distance from the mean over ordinary pictures, in spreads, up to which a channel stays as it is."""
    largest_gain: float = 1.5
    """A channel is not amplified more than this."""

    needs_ordinary_features: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require_not_negative(self, "dead_zone")
        require_gain(self.largest_gain)

    def predicting(self, adapter: Adapter) -> AbstractContextManager[None]:
        """f's channels are clamped."""
        return adapter.model.clamped(self.dead_zone, self.largest_gain)


def require_gain(largest_gain: float) -> None:
    """Raises UsageError if the largest gain is out of range."""
    if not 1 <= largest_gain < math.inf:
        raise UsageError(f"the largest gain must be at least 1, not {largest_gain}")
