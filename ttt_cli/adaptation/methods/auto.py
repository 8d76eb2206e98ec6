"""Ours: clamped features, as strongly as makes the predictions for a frame and its mirror image agree best."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ttt_cli.adaptation.methods.base import Method
from ttt_cli.adaptation.methods.clamp import require_gain
from ttt_cli.core.frame import Frame
from ttt_cli.core.ranges import require_count

if TYPE_CHECKING:
    from ttt_cli.adaptation.online import Adapter

DEAD_ZONES = (2.0, 1.0)
"""The clamps that are tried, in spreads over ordinary pictures."""


@dataclass(frozen=True)
class Auto(Method):
    """The fixed model on familiar video, and `clamp` with the dead zone that the video itself calls for on other video.

    A clamp helps where channels are off because of noise, veils or dirt, and harms where they carry less than usual, as
    under strong blur. Which it is shows in how well the predictions for a frame and for its mirror image agree.
    """

    choose_every: int = 25
    """Frames between choices, once the first few frames have been asked."""
    largest_gain: float = 1.5
    """As in `clamp`."""

    needs_class_probabilities: ClassVar[bool] = True
    needs_ordinary_features: ClassVar[bool] = True
    undefined_for: ClassVar[tuple[str, ...]] = ("colorization",)
    undefined_because: ClassVar[str] = "it compares classes"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count(self, "choose_every")
        require_gain(self.largest_gain)

    def before_step(self, adapter: Adapter, frame: Frame) -> None:
        """Chooses, on some frames of the start and every `choose_every`-th."""
        adapter.clamp.update(adapter, frame, DEAD_ZONES, self.largest_gain, self.choose_every)

    def predicting(self, adapter: Adapter) -> AbstractContextManager[None]:
        """f's channels are clamped as chosen."""
        return adapter.model.clamped(adapter.clamp.dead_zone, self.largest_gain)
