"""mIoU by the two protocols of the field: the paper's (per frame, then averaged) and the pooled one."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from ttt_cli.tasks.classes import VOID


@dataclass
class SemanticMetric:
    """Confusion counts of one or many videos.

    Protocol "pooled": one confusion matrix over every pixel of every frame. Protocol "paper": the IoU of the classes
    that occur in a frame (in label or prediction) is averaged for that frame, the frames are averaged over a video,
    and videos count by their number of frames, which makes it the mean over all frames.
    """

    classes: int
    confusion: Tensor = field(init=False)
    frame_miou: list[float] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.confusion = torch.zeros(self.classes, self.classes, dtype=torch.int64)

    def update(self, class_map: Tensor, truth: Tensor) -> None:
        """Counts one frame. class_map, truth: uint8 (H, W); truth 255 is ignored.

        Raises ValueError where sizes differ.
        """
        if class_map.shape != truth.shape:
            raise ValueError(f"prediction {tuple(class_map.shape)} and label {tuple(truth.shape)} differ in size")
        counts = multiclass_confusion_matrix(
            class_map.long().cpu(), truth.long().cpu(), num_classes=self.classes, ignore_index=VOID, validate_args=False
        )
        self.confusion += counts
        self.frame_miou.append(_mean_of_defined(_iou(counts)))

    def __iadd__(self, other: SemanticMetric) -> SemanticMetric:
        self.confusion += other.confusion
        self.frame_miou += other.frame_miou
        return self

    def class_iou(self) -> list[float]:
        """Pooled IoU of every class in percent; NaN for a class that occurs in neither label nor prediction."""
        return [float(value) * 100 for value in _iou(self.confusion)]

    def compute(self) -> dict[str, float]:
        """mIoU in percent by both protocols; NaN where nothing was scored."""
        frames = torch.tensor(self.frame_miou, dtype=torch.float64)
        return {
            "miou_pooled": _mean_of_defined(_iou(self.confusion)) * 100,
            "miou_paper": float(frames.nanmean()) * 100 if len(frames) else float("nan"),
            "frames_scored": float(len(frames)),
        }


def _iou(confusion: Tensor) -> Tensor:
    hits = confusion.diagonal().double()
    return hits / (confusion.sum(dim=0) + confusion.sum(dim=1) - hits)


def _mean_of_defined(iou: Tensor) -> float:
    return float(iou.nanmean())
