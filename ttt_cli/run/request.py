"""What to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ttt_cli.model.weights import Weights
from ttt_cli.run.settings import RunSettings
from ttt_cli.video.live import LiveSource

if TYPE_CHECKING:
    import torch

    from ttt_cli.model.split import SplitModel


@dataclass(frozen=True)
class RunRequest:
    """What to run, with which weights and settings, and where to write."""

    source: str | LiveSource
    """A video file, a folder or glob of pictures, or live input."""
    weights: Weights
    settings: RunSettings
    device: torch.device
    out: Path | None = None
    """Folder to write. None is runs/NAME-METHOD (or NAME-METHOD-TASK) in the current folder.

    NAME.mp4 is where the overlay is put, beside the folder NAME.
    """
    truth: Path | None = None
    """Folder of labels named like the frames."""
    gray_first: bool = False
    """Score the predicted colors against the video's own."""
    overwrite: bool = False
    """Replace an earlier run in the folder."""
    resume: bool = False
    """Go on with the run in the folder if it was cut off; if there is none, begin one."""
    load: Callable[[Weights], SplitModel] = Weights.load
    """Gives the model of the weights, once the run needs it; the model comes back as it was."""
    renames: Mapping[str, str] = field(default_factory=dict)
    """The weights' names of classes by those of the labels, where they differ."""
