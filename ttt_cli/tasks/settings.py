"""The settings of a task, validated once. Torch is not needed to read them."""

from __future__ import annotations

from dataclasses import dataclass

from ttt_cli.core.area import Area
from ttt_cli.core.errors import UsageError, printable


@dataclass(frozen=True)
class TaskSettings:
    """What is asked of the main head, and how sure it has to be.

    task: a name in TASKS.
    largest_count: instance: how many objects a frame has at most, the most certain ones (COCO: 100).
    shown_score: instance: objects below this score are kept in instances.json, for metrics, but not drawn.
    object_threshold: panoptic: queries that are less sure of their class give no segment (Mask2Former: 0.8).
    overlap_threshold: panoptic: nor do those that others leave less than this share of their mask (Mask2Former: 0.8).
    crop: colorization: what part of the frames is colored: "auto" leaves out the dark borders of old films, "none"
        nothing, WxH+X+Y says it in pixels.
    title_cards: colorization: they are told from pictures, and left gray.
    """

    task: str = "semantic"
    largest_count: int = 100
    shown_score: float = 0.5
    object_threshold: float = 0.8
    overlap_threshold: float = 0.8
    crop: str = "auto"
    title_cards: bool = True

    def __post_init__(self) -> None:
        if self.largest_count < 1:
            raise UsageError(f"largest_count must be at least 1, not {self.largest_count}")
        for name in ("shown_score", "object_threshold", "overlap_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} must be within 0 and 1, not {getattr(self, name)}")
        if self.crop not in ("auto", "none") and Area.parse(self.crop) is None:
            raise UsageError(f"crop must be auto, none or WxH+X+Y such as 640x480+10+0, not {printable(self.crop)!r}")
