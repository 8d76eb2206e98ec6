"""detectron2's own evaluators beside ours, on the same predictions and labels."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from torch import Tensor
from torch.nn import functional

from ttt_cli.core.classes import VOID, Class
from ttt_cli.core.errors import TttvError, UsageError
from ttt_cli.core.labels import ClassMap, Instances, Labels, PanopticMap, decode

_numbers = count()


class _Scorer(ABC):
    """One evaluator of detectron2. theirs: the module detectron2.evaluation."""

    def __init__(self, theirs: Any, classes: Sequence[Class]) -> None:
        self.theirs, self.classes = theirs, tuple(classes)
        self.names = [kind.name for kind in classes]

    @abstractmethod
    def update(self, prediction: Labels, truth: Labels) -> None:
        """Counts one frame."""

    @abstractmethod
    def compute(self) -> dict[str, Any]:
        """The scores by their names; what is printed on the way is not shown."""


class _Classes(_Scorer):
    """SemSegEvaluator."""

    def __init__(self, theirs: Any, classes: Sequence[Class]) -> None:
        from detectron2.data import DatasetCatalog

        super().__init__(theirs, classes)
        # It looks labels up by the name of a file. There is one name, and `labeled` are the labels of the frame.
        self.labeled = np.zeros((0, 0), dtype=int)
        name = _data_set(stuff_classes=self.names, ignore_label=VOID)
        DatasetCatalog.register(name, lambda: [{"file_name": "frame", "sem_seg_file_name": "label"}])
        self.evaluator = theirs.SemSegEvaluator(
            name, distributed=False, sem_seg_loading_fn=lambda file, dtype: self.labeled.copy()
        )
        self.evaluator.reset()

    def update(self, prediction: Labels, truth: Labels) -> None:
        self.labeled = ClassMap.expect(truth).ids.numpy().astype(int)
        chosen = functional.one_hot(ClassMap.expect(prediction).ids.long(), len(self.classes)).movedim(-1, 0)
        self.evaluator.process([{"file_name": "frame"}], [{"sem_seg": chosen}])

    def compute(self) -> dict[str, Any]:
        scores: dict[str, Any] = self.evaluator.evaluate()["sem_seg"]
        return scores


class _Objects(_Scorer):
    """COCOEvaluator."""

    def __init__(self, theirs: Any, classes: Sequence[Class]) -> None:
        super().__init__(theirs, classes)
        self.frames: list[tuple[Instances, Instances]] = []

    def update(self, prediction: Labels, truth: Labels) -> None:
        self.frames.append((Instances.expect(prediction), Instances.expect(truth)))

    def compute(self) -> dict[str, Any]:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "truth.json"
            path.write_text(json.dumps(self._truth()))
            name = _data_set(thing_classes=self.names, json_file=str(path))
            evaluator = self.theirs.COCOEvaluator(name, tasks=("segm",), distributed=False)
            evaluator.reset()
            for number, (prediction, _) in enumerate(self.frames):
                evaluator.process([{"image_id": number}], [{"instances": _their_instances(prediction)}])
            results: dict[str, dict[str, Any]] = evaluator.evaluate()
        return results.get("segm", {})

    def _truth(self) -> dict[str, Any]:
        frames = [truth for _, truth in self.frames]
        annotations = [
            {
                "image_id": number,
                "category_id": found.class_id,
                "segmentation": {**found.mask, "counts": found.mask["counts"].decode()},
                "area": float(coco_mask.area(found.mask)),
                "bbox": coco_mask.toBbox(found.mask).tolist(),
                "iscrowd": int(found.is_crowd),
            }
            for number, truth in enumerate(frames)
            for found in truth.objects
        ]
        return {
            "images": [{"id": number, "height": t.size[0], "width": t.size[1]} for number, t in enumerate(frames)],
            # pycocotools reads a match with number 0 as none.
            "annotations": [{"id": number, **annotation} for number, annotation in enumerate(annotations, start=1)],
            "categories": [{"id": number, "name": name} for number, name in enumerate(self.names)],
        }


class _Regions(_Scorer):
    """COCOPanopticEvaluator. Raises TttvError if panopticapi, which it calls, is not installed."""

    def __init__(self, theirs: Any, classes: Sequence[Class]) -> None:
        try:
            import panopticapi.evaluation  # noqa: F401
        except ImportError as error:
            raise TttvError(
                "the panoptic evaluator of detectron2 needs panopticapi; run python -m pip install "
                "'git+https://github.com/cocodataset/panopticapi.git', or leave out --evaluator"
            ) from error
        super().__init__(theirs, classes)
        self.name = _data_set(thing_dataset_id_to_contiguous_id={}, stuff_dataset_id_to_contiguous_id={})
        self.evaluator = theirs.COCOPanopticEvaluator(self.name)
        self.evaluator.reset()
        self.labels: list[bytes] = []
        self.annotations: list[dict[str, Any]] = []

    def update(self, prediction: Labels, truth: Labels) -> None:
        from panopticapi.utils import id2rgb

        predicted, labeled = PanopticMap.expect(prediction), PanopticMap.expect(truth)
        number = len(self.labels)
        named = {"image_id": number, "file_name": f"{number}.png"}
        found = [{"id": segment.id, "category_id": segment.class_id} for segment in predicted.segments]
        self.evaluator.process([named], [{"panoptic_seg": (predicted.ids, found)}])
        there = [
            {
                "id": segment.id,
                "category_id": segment.class_id,
                "area": int((labeled.ids == segment.id).sum()),
                "iscrowd": int(segment.is_crowd),
            }
            for segment in labeled.segments
        ]
        self.annotations.append({**named, "segments_info": there})
        with io.BytesIO() as file:
            Image.fromarray(id2rgb(labeled.ids.numpy())).save(file, format="PNG")
            self.labels.append(file.getvalue())

    def compute(self) -> dict[str, Any]:
        """Nothing if there are only things or only stuff, since panopticapi takes the mean of both."""
        from detectron2.data import MetadataCatalog

        kinds = [
            {"id": number, "name": kind.name, "isthing": int(kind.is_thing)} for number, kind in enumerate(self.classes)
        ]
        with TemporaryDirectory() as folder:
            path = Path(folder) / "truth.json"
            path.write_text(json.dumps({"annotations": self.annotations, "categories": kinds}))
            for annotation, label in zip(self.annotations, self.labels, strict=True):
                (Path(folder) / annotation["file_name"]).write_bytes(label)
            MetadataCatalog.get(self.name).set(panoptic_json=str(path), panoptic_root=folder)
            try:
                scores: dict[str, Any] = self.evaluator.evaluate()["panoptic_seg"]
            except ZeroDivisionError:
                return {}
        return scores


SCORERS: dict[str, type[_Scorer]] = {"semantic": _Classes, "instance": _Objects, "panoptic": _Regions}


class DetectronEvaluation:
    """One pass, scored by detectron2: SemSegEvaluator, COCOEvaluator or COCOPanopticEvaluator, whichever the task has.

    Raises UsageError for other tasks, TttvError if detectron2 is not installed, or panopticapi for panoptic.
    """

    def __init__(self, task: str, classes: Sequence[Class]) -> None:
        if task not in SCORERS:
            raise UsageError(f"the evaluators of detectron2 are for the tasks {', '.join(SCORERS)}, not for {task}")
        try:
            import detectron2.evaluation as theirs
        except ImportError as error:
            raise TttvError(
                "detectron2 is not installed; docs/models.md says how to, or leave out --evaluator"
            ) from error
        logging.getLogger("detectron2").setLevel(logging.ERROR)
        self._scorer = SCORERS[task](theirs, classes)

    def update(self, prediction: Labels, truth: Labels) -> None:
        """Counts one frame; both labels are of the kind that the task has."""
        self._scorer.update(prediction, truth)

    def compute(self) -> dict[str, float]:
        """All that the evaluator reports, in percent, by its names for it."""
        with contextlib.redirect_stdout(io.StringIO()):
            return {name: float(score) for name, score in self._scorer.compute().items()}


def _data_set(**metadata: Any) -> str:
    """The name of a new data set that detectron2 knows this of."""
    from detectron2.data import MetadataCatalog

    name = f"tttv_{next(_numbers)}"
    MetadataCatalog.get(name).set(**metadata)
    return name


def _their_instances(prediction: Instances) -> Any:
    from detectron2.structures import BitMasks
    from detectron2.structures import Instances as TheirInstances

    masks = [decode(found.mask) for found in prediction.objects]
    stacked: Tensor = torch.from_numpy(np.stack(masks)) if masks else torch.zeros(0, *prediction.size)
    return TheirInstances(
        prediction.size,
        pred_masks=stacked.bool(),
        pred_boxes=BitMasks(stacked).get_bounding_boxes(),
        scores=torch.tensor([found.score for found in prediction.objects]),
        pred_classes=torch.tensor([found.class_id for found in prediction.objects], dtype=torch.int64),
    )
