"""detectron2's own evaluators beside ours, on the same predictions and labels."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor
from torch.nn import functional

from ttt_cli.core.classes import VOID
from ttt_cli.core.errors import TttvError, UsageError
from ttt_cli.core.labels import ClassMap, Instances, Labels, decode

TASKS = ("semantic", "instance")
_numbers = count()


class DetectronEvaluation:
    """One pass, scored by detectron2: SemSegEvaluator for the task semantic, COCOEvaluator for instance.

    names: of the classes. Raises UsageError for other tasks, TttvError if detectron2 is not installed.
    """

    def __init__(self, task: str, names: Sequence[str]) -> None:
        if task not in TASKS:
            raise UsageError(f"the evaluators of detectron2 are for the tasks {' and '.join(TASKS)}, not for {task}")
        try:
            import detectron2.evaluation as theirs
        except ImportError as error:
            raise TttvError("detectron2 is not installed; the README says how to, or leave out --evaluator") from error
        logging.getLogger("detectron2").setLevel(logging.ERROR)
        self._theirs: Any = theirs
        self._names = tuple(names)
        self._objects: list[tuple[Instances, Instances]] = []
        self._labeled = np.zeros((0, 0), dtype=int)
        self._classes = self._class_evaluator() if task == "semantic" else None

    def update(self, prediction: Labels, truth: Labels) -> None:
        """Counts one frame; of both kinds of labels, ClassMap or Instances, whichever the task has."""
        if self._classes is None:
            self._objects.append((Instances.expect(prediction), Instances.expect(truth)))
            return
        self._labeled = ClassMap.expect(truth).ids.numpy().astype(int)
        chosen = functional.one_hot(ClassMap.expect(prediction).ids.long(), len(self._names)).movedim(-1, 0)
        self._classes.process([{"file_name": "frame"}], [{"sem_seg": chosen}])

    def compute(self) -> dict[str, float]:
        """All that the evaluator reports, in percent, by its names for it."""
        with contextlib.redirect_stdout(io.StringIO()):
            if self._classes is not None:
                return _plain(self._classes.evaluate()["sem_seg"])
            with TemporaryDirectory() as folder:
                evaluator = self._object_evaluator(Path(folder) / "truth.json")
                for number, (prediction, _) in enumerate(self._objects):
                    evaluator.process([{"image_id": number}], [{"instances": _their_instances(prediction)}])
                results = evaluator.evaluate()
        return _plain(results["segm"]) if "segm" in results else {}

    def _class_evaluator(self) -> Any:
        from detectron2.data import DatasetCatalog

        # It looks labels up by the name of a file. There is one name, and `_labeled` are the labels of the frame.
        name = self._data_set(stuff_classes=list(self._names), ignore_label=VOID)
        DatasetCatalog.register(name, lambda: [{"file_name": "frame", "sem_seg_file_name": "label"}])
        evaluator = self._theirs.SemSegEvaluator(
            name, distributed=False, sem_seg_loading_fn=lambda file, dtype: self._labeled.copy()
        )
        evaluator.reset()
        return evaluator

    def _object_evaluator(self, path: Path) -> Any:
        frames = [truth for _, truth in self._objects]
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
        content = {
            "images": [{"id": number, "height": t.size[0], "width": t.size[1]} for number, t in enumerate(frames)],
            # pycocotools reads a match with number 0 as none.
            "annotations": [{"id": number, **annotation} for number, annotation in enumerate(annotations, start=1)],
            "categories": [{"id": number, "name": name} for number, name in enumerate(self._names)],
        }
        path.write_text(json.dumps(content))
        name = self._data_set(thing_classes=list(self._names), json_file=str(path))
        evaluator = self._theirs.COCOEvaluator(name, tasks=("segm",), distributed=False)
        evaluator.reset()
        return evaluator

    @staticmethod
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


def _plain(scores: dict[str, Any]) -> dict[str, float]:
    return {name: float(score) for name, score in scores.items()}
