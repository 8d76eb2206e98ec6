"""frames.jsonl: one line for each frame, written during the run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttt_cli.core.frame import WindowEstimate


@dataclass(frozen=True)
class FrameRecord:
    """How one frame of a run went."""

    index: int
    """Position in the input, from 0."""
    name: str
    """What the files of this frame are called, without their suffix."""
    seconds: float
    """Time stamp, counted from the first frame of the input."""
    loss: float | None
    """Mean loss of its training steps; None if it was not trained on."""
    skipped_steps: int
    """Training steps whose loss or gradient was not finite."""
    milliseconds: dict[str, float]
    """Time by stage."""
    cut: bool = False
    """A new scene begins with this frame."""
    window_estimate: WindowEstimate | None = None
    """The estimate of the window's size, if one was made on this frame."""
    dead_zone: float | None = None
    """How far f's channels could lie from ordinary ones, in spreads, if the method `auto` chose to clamp them."""
    adapted: str | None = None
    """Why the model was adapted to the frame: "scene", "change" or "interval", see adaptation/pace.py."""
    agreement: float | None = None
    """The share of pixels to which the fixed model gives the same class, if it runs beside."""
    strangeness: float | None = None
    """How unlike ordinary pictures the frame is, if that was asked (adaptation/strangeness.py)."""

    def as_json(self) -> dict[str, Any]:
        """The line of frames.jsonl; those with a default are left out if they are not set."""
        optional = [field.name for field in dataclasses.fields(self) if field.default is not dataclasses.MISSING]
        values = dataclasses.asdict(self)
        unset = [name for name in optional if values[name] is None or values[name] is False]
        return {name: value for name, value in values.items() if name not in unset}


def read_frame_records(path: Path) -> Iterator[FrameRecord]:
    """The lines of a frames.jsonl, in order. Raises OSError, ValueError or TypeError if it is damaged."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            entry = json.loads(line)
            estimate = entry.pop("window_estimate", None)
            yield FrameRecord(**entry, window_estimate=None if estimate is None else WindowEstimate(**estimate))
