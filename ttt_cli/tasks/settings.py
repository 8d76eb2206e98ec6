"""The settings of a task, validated once. Importing this does not import torch."""

from __future__ import annotations

from dataclasses import dataclass

from ttt_cli.core.area import Area
from ttt_cli.core.choices import choices
from ttt_cli.core.errors import UsageError, printable
from ttt_cli.core.ranges import require_count, require_not_negative, require_share

TASK_NAMES = ("semantic", "instance", "panoptic", "colorization")
"""Those in TASKS (tasks/table.py)."""


@dataclass(frozen=True)
class TaskSettings:
    """What the main head predicts, and how sure it has to be."""

    task: str = "semantic"
    """A name in TASKS."""
    largest_count: int = 100
    """instance: at most this many objects a frame, the most certain ones (COCO: 100)."""
    shown_score: float = 0.5
    """instance: objects below this score are kept in instances.json, for metrics, but not drawn."""
    object_threshold: float = 0.8
    """panoptic: queries less sure of their class than this give no segment (Mask2Former: 0.8)."""
    overlap_threshold: float = 0.8
    """panoptic: nor do queries that keep less than this share of their mask (Mask2Former: 0.8)."""
    crop: str = "auto"
    """colorization: the part of the frames to color.

    "auto" leaves out the dark borders of old films, "none" colors the whole frame, WxH+X+Y names a rectangle in pixels.
    """
    title_cards: bool = True
    """colorization: detect title cards and leave them gray."""
    saturation: float = 1.75
    """colorization: factor on the predicted chroma, also before it is scored; 1 is what the model was trained to say.

    The model says a mean of what is likely, which is grayer than any of it. The default was chosen on held-out stills
    (benchmarks/saturation.py): the largest factor, in steps of a quarter, that costs no PSNR.
    """

    def __post_init__(self) -> None:
        if self.task not in TASK_NAMES:
            raise UsageError(f"task {printable(self.task)!r} is unknown; {choices(self.task, TASK_NAMES)}")
        require_count(self, "largest_count")
        require_share(self, "shown_score", "object_threshold", "overlap_threshold")
        require_not_negative(self, "saturation")
        if self.crop not in ("auto", "none") and Area.parse(self.crop) is None:
            raise UsageError(f"crop must be auto, none or WxH+X+Y such as 640x480+10+0, not {printable(self.crop)!r}")
