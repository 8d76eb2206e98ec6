"""Average precision of objects, computed by pycocotools, whose evaluation imports matplotlib: not before it is used."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pycocotools import mask as coco_mask

from ttt_cli.core.labels import Instance, Instances, Labels
from ttt_cli.metrics.base import Metric, Scores, mean_of_known

if TYPE_CHECKING:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

AREAS = ("all", "small", "medium", "large")

Matches = dict[str, Any]
"""The result of COCOeval for one class and range of areas in one frame, as plain lists."""


class InstanceMetric(Metric):
    """AP averaged over IoU 0.50 .. 0.95, as in COCO."""

    key: ClassVar[str] = "ap"
    title: ClassVar[str] = "AP"

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(names)
        self.frames: list[dict[str, Matches]] = []
        """Matches of every frame by "class area". With them frames can be pooled without their masks."""

    def update(self, prediction: Labels, truth: Labels) -> None:
        """Counts one frame of Instances. Only the 100 most certain predicted objects of each class count."""
        predicted, labeled = Instances.expect(prediction).objects, Instances.expect(truth).objects
        sizes = {tuple(instance.mask["size"]) for instance in (*predicted, *labeled)}
        if len(sizes) > 1:
            raise ValueError(f"masks of objects differ in size: {sizes}")
        evaluator = self._evaluator(_coco(predicted, len(self.names)), _coco(labeled, len(self.names)))
        with contextlib.redirect_stdout(io.StringIO()):
            evaluator.evaluate()
        frame = {}
        for index, result in enumerate(evaluator.evalImgs):
            if result is not None:
                frame[f"{index // len(AREAS)} {index % len(AREAS)}"] = _plain(result)
        self.frames.append(frame)
        self.frame_scores.append(mean_of_known(self._precision([frame])[..., 0]) / 100)

    def __iadd__(self, other: InstanceMetric) -> InstanceMetric:
        self.frames += other.frames
        self.frame_scores += other.frame_scores
        return self

    def compute(self) -> Scores:
        """AP by both protocols; AP50, AP75, and AP by size: below 32 x 32 pixels, up to 96 x 96, and larger."""
        precision = self._precision(self.frames)
        by_class = {name: mean_of_known(precision[:, :, index, 0]) for index, name in enumerate(self.names)}
        details = {"AP50": mean_of_known(precision[0, :, :, 0]), "AP75": mean_of_known(precision[5, :, :, 0])}
        details |= {f"AP {area}": mean_of_known(precision[..., index]) for index, area in enumerate(AREAS) if index}
        return Scores(pooled=mean_of_known(precision[..., 0]), paper=self.paper(), by_class=by_class, details=details)

    def counts(self) -> dict[str, Any]:
        return {"frames": self.frames}

    @classmethod
    def from_counts(cls, content: dict[str, Any]) -> InstanceMetric:
        metric = cls(content["names"])
        metric.frames = list(content["frames"])
        return metric

    def _evaluator(self, prediction: COCO, truth: COCO) -> COCOeval:
        from pycocotools.cocoeval import COCOeval

        evaluator = COCOeval(truth, prediction, "segm")
        evaluator.params.catIds = list(range(len(self.names)))
        evaluator.params.imgIds = [1]
        return evaluator

    def _precision(self, frames: list[dict[str, Matches]]) -> np.ndarray:
        """Percent, (IoU thresholds, recalls, K, areas); NaN if there is no object to find."""
        evaluator = self._evaluator(_coco((), len(self.names)), _coco((), len(self.names)))
        evaluator.params.imgIds = list(range(len(frames)))
        evaluator._paramsEval = evaluator.params
        evaluator.evalImgs = [
            _restored(frame.get(f"{index} {area}"))
            for index in range(len(self.names))
            for area in range(len(AREAS))
            for frame in frames
        ]
        with contextlib.redirect_stdout(io.StringIO()):
            evaluator.accumulate()
        precision: np.ndarray = evaluator.eval["precision"][..., -1]
        return np.where(precision < 0, np.nan, precision * 100)


def _coco(instances: tuple[Instance, ...], classes: int) -> COCO:
    """The objects of one frame in the form of pycocotools. Ids begin at 1, because it reads a match with 0 as none."""
    from pycocotools.coco import COCO

    height, width = instances[0].mask["size"] if instances else (0, 0)
    coco = COCO()
    coco.dataset = {
        "images": [{"id": 1, "height": height, "width": width}],
        "categories": [{"id": index} for index in range(classes)],
        "annotations": [
            {
                "id": number,
                "image_id": 1,
                "category_id": instance.class_id,
                "segmentation": instance.mask,
                "area": float(coco_mask.area(instance.mask)),
                "iscrowd": int(instance.is_crowd),
                "score": instance.score,
            }
            for number, instance in enumerate(instances, start=1)
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _plain(result: Any) -> Matches:
    """Matched and ignored detections become one bit for each of the ten IoU thresholds."""
    bits = 1 << np.arange(len(result["dtMatches"]))[:, None]
    return {
        "scores": list(result["dtScores"]),
        "matched": ((result["dtMatches"] > 0) * bits).sum(axis=0).tolist(),
        "ignored": ((result["dtIgnore"] > 0) * bits).sum(axis=0).tolist(),
        "truth_ignored": np.asarray(result["gtIgnore"], dtype=int).tolist(),
    }


def _restored(matches: Matches | None) -> Any:
    if matches is None:
        return None
    bits = 1 << np.arange(10)[:, None]
    return {
        "dtScores": matches["scores"],
        "dtMatches": (np.array(matches["matched"], dtype=int)[None] & bits) > 0,
        "dtIgnore": (np.array(matches["ignored"], dtype=int)[None] & bits) > 0,
        "gtIgnore": np.array(matches["truth_ignored"]),
    }
