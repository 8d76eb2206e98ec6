"""mIoU, PQ and AP by both protocols, against plain counts and the reference implementations."""

from __future__ import annotations

import contextlib
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from shared_data import shared
from torchmetrics.classification import MulticlassJaccardIndex

from ttt_cli.core.labels import Chroma, ClassMap, Instance, Instances, PanopticMap, Picture, Segment, encode
from ttt_cli.metrics.base import Metric
from ttt_cli.metrics.instance import InstanceMetric
from ttt_cli.metrics.panoptic import PanopticMetric
from ttt_cli.metrics.semantic import SemanticMetric
from ttt_cli.metrics.table import METRICS, metric_from_json


def plain_iou(prediction: torch.Tensor, truth: torch.Tensor, classes: int) -> list[float]:
    known = truth != 255
    ious = []
    for index in range(classes):
        predicted, labeled = (prediction == index) & known, (truth == index) & known
        union = int((predicted | labeled).sum())
        if union:
            ious.append(int((predicted & labeled).sum()) / union)
    return ious


def random_maps(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, 4, (20, 30), generator=generator, dtype=torch.uint8)
    prediction = torch.where(torch.rand(20, 30, generator=generator) < 0.6, truth, torch.tensor(1, dtype=torch.uint8))
    truth[torch.rand(20, 30, generator=generator) < 0.2] = 255
    return prediction, truth


def test_both_protocols_agree_with_a_plain_count() -> None:
    maps = [random_maps(seed) for seed in range(3)]
    metric = SemanticMetric("abcdef")
    for prediction, truth in maps:
        metric.update(ClassMap(prediction), ClassMap(truth))
    pooled = plain_iou(torch.cat([p for p, _ in maps]), torch.cat([t for _, t in maps]), 6)
    frames = [plain_iou(prediction, truth, 6) for prediction, truth in maps]
    scores = metric.compute()
    assert scores.pooled == pytest.approx(100 * sum(pooled) / len(pooled), abs=1e-9)
    expected = sum(sum(scores_of_frame) / len(scores_of_frame) for scores_of_frame in frames) / 3
    assert scores.paper == pytest.approx(100 * expected, abs=1e-9)
    assert len(metric.frame_scores) == 3


def test_miou_agrees_with_torchmetrics() -> None:
    prediction, truth = random_maps(0)
    metric = SemanticMetric("abcd")
    metric.update(ClassMap(prediction), ClassMap(truth))
    reference = MulticlassJaccardIndex(num_classes=4, ignore_index=255)
    assert metric.compute().pooled == pytest.approx(100 * float(reference(prediction.long(), truth.long())), abs=1e-4)


def test_merging_two_videos_equals_one_pass() -> None:
    whole, first, second = (SemanticMetric("abcd") for _ in range(3))
    for seed in range(4):
        prediction, truth = (ClassMap(ids) for ids in random_maps(seed))
        whole.update(prediction, truth)
        (first if seed < 2 else second).update(prediction, truth)
    first += second
    assert first.as_json() == whole.as_json()
    assert first.compute() == whole.compute()


def test_sizes_that_differ_are_refused() -> None:
    prediction, truth = (ClassMap(torch.zeros(4, width, dtype=torch.uint8)) for width in (4, 5))
    with pytest.raises(ValueError, match="differ in size"):
        SemanticMetric("abc").update(prediction, truth)


def panoptic_map(folder: Path, annotation: dict[str, Any], places: dict[int, int]) -> PanopticMap:
    picture = np.array(Image.open(folder / annotation["file_name"])).astype(np.int32)
    ids = torch.from_numpy(picture[..., 0] + 256 * picture[..., 1] + 65536 * picture[..., 2])
    segments = [
        Segment(segment["id"], places[segment["category_id"]], is_crowd=bool(segment.get("iscrowd")))
        for segment in annotation["segments_info"]
    ]
    return PanopticMap(ids, tuple(segments))


def test_pq_is_that_of_the_official_implementation() -> None:
    folder = shared("golden/panoptic")
    truth, predicted = (json.loads((folder / name).read_text()) for name in ("gt.json", "pred.json"))
    expected = json.loads((folder / "expected_pq.json").read_text())
    ids = [category["id"] for category in truth["categories"]]
    places = {id: index for index, id in enumerate(ids)}
    things = frozenset(index for index, category in enumerate(truth["categories"]) if category["isthing"])
    metric = PanopticMetric([str(id) for id in ids], things)
    for annotation in truth["annotations"]:
        (predicted_annotation,) = [
            prediction for prediction in predicted["annotations"] if prediction["image_id"] == annotation["image_id"]
        ]
        metric.update(
            panoptic_map(folder / "pred", predicted_annotation, places), panoptic_map(folder / "gt", annotation, places)
        )
    scores = metric.compute()
    for name, found in (
        ("All", {"pq": scores.pooled, "sq": scores.details["SQ"], "rq": scores.details["RQ"]}),
        ("Things", {"pq": scores.details["PQ things"]}),
        ("Stuff", {"pq": scores.details["PQ stuff"]}),
    ):
        for key, value in found.items():
            assert value / 100 == pytest.approx(expected[name][key], abs=1e-9)
    for id, of_class in expected["per_class"].items():
        value = scores.by_class[id]
        # The official table has 0 for a class that does not occur.
        assert (0 if math.isnan(value) else value / 100) == pytest.approx(of_class["pq"], abs=1e-9)


def regions(rows: list[list[int]], classes: dict[int, int], crowds: tuple[int, ...] = ()) -> PanopticMap:
    segments = tuple(Segment(id, class_id, is_crowd=id in crowds) for id, class_id in classes.items())
    return PanopticMap(torch.tensor(rows, dtype=torch.int32), segments)


def test_pq_leaves_out_what_is_not_labeled() -> None:
    metric = PanopticMetric("ab", frozenset({1}))
    # Segment 2 of the prediction lies where nothing is labeled, segment 3 on a crowd of its class.
    predicted = regions([[1, 1, 2, 3]] * 4, {1: 0, 2: 1, 3: 1})
    metric.update(predicted, regions([[1, 1, 0, 9]] * 4, {1: 0, 9: 1}, crowds=(9,)))
    assert metric.compute().pooled == 100
    metric.update(predicted, regions([[1, 1, 1, 1]] * 4, {1: 0}))
    scores = metric.compute()
    # Half of the second frame's only segment is found, which is not a match: one wrong, one missed, and two wrong cars.
    assert scores.by_class == {"a": pytest.approx(50), "b": 0}
    assert scores.paper == pytest.approx((100 + 0) / 2)


def made_up(truth: COCO, generator: np.random.Generator) -> list[dict[str, Any]]:
    """Detections with random scores, made by shifting true masks; some have another class."""
    detections, categories = [], truth.getCatIds()
    for annotation in truth.anns.values():
        mask = truth.annToMask(annotation)
        for _ in range(int(generator.integers(0, 3))):
            shifted = np.roll(mask, generator.integers(-6, 7, 2), axis=(0, 1)).astype(bool)
            category = annotation["category_id"] if generator.random() < 0.8 else int(generator.choice(categories))
            detections.append(
                {
                    "image_id": annotation["image_id"],
                    "category_id": category,
                    "segmentation": encode(shifted),
                    "score": round(float(generator.random()), 4),
                }
            )
    return detections


def test_ap_is_that_of_pycocotools() -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        whole = COCO(str(shared("data/coco_small/annotations/instances.json")))
        images = [id for id in whole.getImgIds() if len(whole.getAnnIds(id)) > 0][:12]
        truth = COCO()
        annotations = [annotation for annotation in whole.anns.values() if annotation["image_id"] in images]
        truth.dataset = {
            "images": [whole.imgs[id] for id in images],
            "annotations": annotations,
            "categories": whole.dataset["categories"],
        }
        truth.createIndex()
        detections = made_up(truth, np.random.default_rng(0))
        reference = COCOeval(truth, truth.loadRes(detections), "segm")
        reference.evaluate()
        reference.accumulate()
        reference.summarize()

    places = {id: index for index, id in enumerate(truth.getCatIds())}
    halves = InstanceMetric([str(id) for id in places]), InstanceMetric([str(id) for id in places])
    for number, id in enumerate(images):
        labeled = [annotation for annotation in annotations if annotation["image_id"] == id]
        size = (truth.imgs[id]["height"], truth.imgs[id]["width"])
        found_objects = tuple(
            Instance(places[detection["category_id"]], detection["segmentation"], detection["score"])
            for detection in detections
            if detection["image_id"] == id
        )
        true_objects = tuple(
            Instance(
                places[annotation["category_id"]],
                encode(truth.annToMask(annotation)),
                is_crowd=bool(annotation["iscrowd"]),
            )
            for annotation in labeled
        )
        halves[number % 2].update(Instances(found_objects, size), Instances(true_objects, size))
    metric = halves[0]
    metric += halves[1]
    scores = metric_from_json(json.loads(json.dumps(metric.as_json()))).compute()
    names = ("AP50", "AP75", "AP small", "AP medium", "AP large")
    found = [scores.pooled, *(scores.details[name] for name in names)]
    assert [value / 100 for value in found] == pytest.approx(reference.stats[:6].tolist(), abs=1e-9)
    assert 0.05 < scores.pooled / 100 < 0.95


def test_ap_of_a_frame_without_objects_is_not_counted() -> None:
    mask = np.zeros((20, 20), bool)
    mask[5:15, 5:15] = True
    single, nothing = Instances((Instance(0, encode(mask)),), (20, 20)), Instances((), (20, 20))
    metric = InstanceMetric("ab")
    metric.update(single, single)
    metric.update(nothing, nothing)
    scores = metric.compute()
    assert scores.paper == pytest.approx(100) == scores.pooled
    assert math.isnan(metric.frame_scores[1]) and math.isnan(scores.by_class["b"])
    metric.update(single, nothing)
    assert metric.compute().pooled == pytest.approx(100), "a wrong object that is no surer than the right object"
    with pytest.raises(ValueError, match="differ in size"):
        metric.update(single, Instances((Instance(0, encode(np.ones((4, 4), bool))),), (4, 4)))


@pytest.mark.parametrize("key", list(METRICS))
def test_metrics_come_back_from_json(key: str) -> None:
    prediction, truth = random_maps(0)
    metric: Metric = PanopticMetric("abcd", frozenset({1})) if key == "pq" else METRICS[key]("abcd")
    if key == "miou":
        metric.update(ClassMap(prediction), ClassMap(truth))
    elif key == "psnr":
        metric.update(Chroma(torch.zeros(2, 3, 3)), Picture(torch.arange(300, dtype=torch.uint8).view(3, 10, 10) % 200))
    elif key == "pq":
        metric.update(regions([[1, 2]], {1: 1, 2: 0}), regions([[4, 4]], {4: 1}))
    else:
        found, labeled = Instance(1, encode(np.eye(9) > 0), 0.5), Instance(1, encode(np.eye(9) > 0))
        metric.update(Instances((found,), (9, 9)), Instances((labeled,), (9, 9)))
    again = metric_from_json(json.loads(json.dumps(metric.as_json())))
    assert json.dumps(again.as_json()) == json.dumps(metric.as_json())
    assert again.compute().pooled == metric.compute().pooled
    again += metric
    assert len(again.frame_scores) == 2
