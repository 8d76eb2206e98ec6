"""A user's labels whose classes have other names, another order, or fewer classes than the weights know."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import error_of
from label_fixtures import make_panoptic_folder, regions, save_array, save_frames, write_json

from ttt_cli.cli import main
from ttt_cli.core.class_names import check_renames, differs, parse_renames, positions_in
from ttt_cli.core.classes import CAMVID, VOID, Class
from ttt_cli.core.errors import TttvError, UsageError
from ttt_cli.core.labels import Chroma, ClassMap, PanopticMap, Segment
from ttt_cli.datasets.folder import read_classes
from ttt_cli.metrics.base import Metric
from ttt_cli.metrics.panoptic import PanopticMetric
from ttt_cli.metrics.semantic import SemanticMetric
from ttt_cli.metrics.table import metric_from_json

Capture = pytest.CaptureFixture[str]
STREET = [kind.name for kind in CAMVID]


@pytest.mark.parametrize(
    ("label", "offered"),
    [
        ("sidewalk", "sidewalk=pavement"),
        ("Traffic-Sign", "'Traffic-Sign=sign symbol'"),
        ("person", "person=pedestrian"),
        ("cars", "cars=car"),
        ("Vegetation", "Vegetation=tree"),
    ],
)
def test_the_class_that_is_probably_meant_is_offered(label: str, offered: str) -> None:
    assert f"; did you mean --map {offered}? Otherwise name" in differs([label], STREET)


def test_nothing_is_offered_if_nothing_fits() -> None:
    message = differs(["hen"], STREET)
    assert "did you mean" not in message and "labeled with hen, which the weights do not know" in message
    assert "--map curb=void" in differs(["curb", "sidewalk"], STREET), "it can be left out if others are mapped"
    assert differs([f"street {number}" for number in range(9)] + ["cars"], STREET).count("=") == 5


def test_a_map_must_name_what_there_is() -> None:
    assert parse_renames(["sidewalk=pavement", " traffic sign = sign symbol"]) == {
        "sidewalk": "pavement",
        "traffic sign": "sign symbol",
    }
    for text in ("sidewalk", "sidewalk=", "=pavement"):
        with pytest.raises(UsageError, match="--map takes LABEL=WEIGHTS, such as sidewalk=pavement, not"):
            parse_renames([text])
    with pytest.raises(UsageError, match="--map walk=pavement: the labels have no such class; they have sidewalk"):
        check_renames({"walk": "pavement"}, ["sidewalk"], STREET)
    with pytest.raises(UsageError, match="and void; did you mean sidewalk=pavement"):
        check_renames({"sidewalk": "footpath"}, ["sidewalk"], STREET)


def test_positions() -> None:
    labeled = ["car", "sidewalk", "van", "curb"]
    assert positions_in(STREET, labeled, {"sidewalk": "pavement", "van": "car", "curb": "void"}) == [8, 4, 8, VOID]
    with pytest.raises(KeyError) as raised:
        positions_in(STREET, labeled, {"van": "car"})
    assert raised.value.args == ("sidewalk", "curb")


# classes.json


@pytest.mark.parametrize(
    "content",
    [
        ["lawn", "car"],
        [{"name": "lawn"}, {"name": "car"}],
        [{"id": 0, "name": "lawn", "isthing": 0}, {"id": 1, "name": "car", "supercategory": "vehicle", "isthing": 1}],
    ],
)
def test_classes_may_be_names_or_categories_as_coco_has_them(content: Any, tmp_path: Path) -> None:
    write_json(tmp_path / "classes.json", content)
    lawn, car = read_classes(tmp_path / "classes.json")
    assert (lawn.name, lawn.is_thing, car.name, car.is_thing) == ("lawn", False, "car", True)
    assert lawn.color != car.color


def test_what_classes_say_of_themselves_counts(tmp_path: Path) -> None:
    write_json(tmp_path / "classes.json", [{"name": "car", "color": [1, 2, 3], "is_thing": False}])
    assert read_classes(tmp_path / "classes.json") == (Class("car", (1, 2, 3), False),)
    write_json(tmp_path / "classes.json", [{"name": "car", "id": 1}])
    with pytest.raises(TttvError, match=r"class 0 of the list has the id 1; ids count from 0"):
        read_classes(tmp_path / "classes.json")


# Scores


def labeled_folder(root: Path, classes: Any, ids: np.ndarray) -> Path:
    """Two frames, the first with class ids (H, W)."""
    save_frames(root / "images", 2)
    save_array(root / "labels" / "000000.png", ids)
    write_json(root / "classes.json", classes)
    return root


def scores_of(folder: Path, weights: Path, *arguments: str) -> dict[str, Any]:
    out = folder.parent / f"scores-{folder.name}-{len(arguments)}"
    given = ["eval", "--dataset", "folder", "--gt", str(folder), "--weights", str(weights), "--method", "joint"]
    assert main([*given, "--out", str(out), *arguments]) == 0
    (record,) = json.loads((out / "metrics.json").read_text())["records"]
    assert isinstance(record, dict)
    return record


def test_renamed_and_reordered_labels_score_as_those_of_the_weights(tmp_path: Path, tiny_weights: Path) -> None:
    road, pavement, car = (STREET.index(name) for name in ("road", "pavement", "car"))
    own = labeled_folder(tmp_path / "own", STREET, regions(road, pavement, car))
    reordered = ["sidewalk", *(name for name in reversed(STREET) if name != "pavement")]
    ids = [reordered.index(name) for name in ("road", "sidewalk", "car")]
    other = labeled_folder(tmp_path / "other", reordered, regions(*ids))
    expected, found = (
        scores_of(own, tiny_weights),
        scores_of(other, tiny_weights, "--map", "sidewalk=pavement"),
    )
    assert found["by_class"] == expected["by_class"] and found["pooled"] == expected["pooled"]
    assert expected["by_class"]["car"] is not None


def test_classes_without_labels_have_no_score(tmp_path: Path, tiny_weights: Path) -> None:
    folder = labeled_folder(tmp_path / "own", ["car", "curb"], regions(0, 1, VOID))
    record = scores_of(folder, tiny_weights, "--map", "curb=void")
    assert {name for name, score in record["by_class"].items() if score is not None} == {"car"}
    assert record["pooled"] == record["by_class"]["car"]


def test_other_names_are_told_with_what_to_type(tmp_path: Path, tiny_weights: Path, capsys: Capture) -> None:
    folder = labeled_folder(tmp_path / "own", ["car", "sidewalk"], regions(0, 1, VOID))
    given = ["eval", "--dataset", "folder", "--gt", str(folder), "--weights", str(tiny_weights)]
    assert main(given) == 1
    assert "own: labeled with sidewalk, which the weights do not know; they know" in (error := error_of(capsys))
    assert "did you mean --map sidewalk=pavement?" in error
    assert main([*given, "--map", "kerb=void"]) == 2
    assert "the labels have no such class; they have car, sidewalk" in error_of(capsys)


def test_panoptic_labels_are_mapped_too(tmp_path: Path, tiny_weights: Path) -> None:
    folder = make_panoptic_folder(tmp_path / "hens")
    record = scores_of(folder, tiny_weights, "--task", "panoptic", "--map", "lawn=road", "--map", "hen=car")
    scored = {name for name, score in record["by_class"].items() if score is not None}
    assert scored == {"road", "car"}, "predictions of other classes are mistakes, but have no score of their own"


def test_a_run_is_scored_by_names(segment: Callable[..., int], tmp_path: Path, capsys: Capture) -> None:
    folder = labeled_folder(tmp_path / "own", ["sidewalk", "car"], regions(0, 1, VOID))
    given = [folder / "images", "--gt", folder / "labels", "--method", "joint", "--out", "out"]
    assert segment(*given) == 1
    assert "classes.json: labeled with sidewalk" in (error := error_of(capsys))
    assert "did you mean --map sidewalk=pavement?" in error
    assert segment(*given, "--map", "sidewalk=pavement", "--overwrite") == 0
    (scores,) = json.loads(Path("out/metrics.json").read_text())["methods"].values()
    assert {name for name, score in scores["by_class"].items() if score is not None} == {"pavement", "car"}
    assert json.loads(Path("out/run.json").read_text())["depends_on"]["map"] == {"sidewalk": "pavement"}
    assert scores_of(folder, tiny_weights_of(Path("out")), "--map", "sidewalk=pavement")["pooled"] == scores["pooled"]


def tiny_weights_of(run: Path) -> Path:
    return Path(json.loads((run / "run.json").read_text())["weights"]["path"])


def test_a_map_needs_labels_with_names(segment: Callable[..., int], tmp_path: Path, capsys: Capture) -> None:
    folder = labeled_folder(tmp_path / "own", ["car"], regions(0, 0, VOID))
    (folder / "classes.json").unlink()
    assert segment(folder / "images", "--map", "a=b", "--out", "out") == 2
    assert "--map is for labels: name their folder with --gt" in error_of(capsys)
    given = [folder / "images", "--gt", folder / "labels", "--map", "a=b", "--out", "other"]
    assert segment(*given) == 2
    assert "labels: --map needs a classes.json beside the labels" in error_of(capsys)


def class_maps(predicted: list[int], labeled: list[int]) -> tuple[ClassMap, ClassMap]:
    return ClassMap(torch.tensor([predicted], dtype=torch.uint8)), ClassMap(torch.tensor([labeled], dtype=torch.uint8))


def panoptic_maps(predicted: list[int], labeled: list[int]) -> tuple[PanopticMap, PanopticMap]:
    """Of one row of pixels, each class one segment."""
    rows = (torch.tensor([[1 + class_id for class_id in row]], dtype=torch.int32) for row in (predicted, labeled))
    segments = (tuple(Segment(1 + class_id, class_id) for class_id in sorted(set(row))) for row in (predicted, labeled))
    return tuple(PanopticMap(*part) for part in zip(rows, segments, strict=True))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("metric", "maps"),
    [(SemanticMetric("abc"), class_maps), (PanopticMetric("abc", frozenset()), panoptic_maps)],
)
def test_predicting_a_class_without_labels_is_only_wrong_for_the_others(
    metric: Metric, maps: Callable[..., Any]
) -> None:
    metric.unlabeled = frozenset([2])
    metric.update(*maps([0, 0, 0, 2, 1, 1, 1, 2], [0, 0, 0, 0, 1, 1, 1, 1]))
    for counted in (metric, metric_from_json(json.loads(json.dumps(metric.as_json())))):
        scores = counted.compute()
        assert scores.by_class["a"] == scores.by_class["b"] == scores.pooled == pytest.approx(75)
        assert math.isnan(scores.by_class["c"]) and scores.paper == pytest.approx(75)


def test_what_becomes_void_is_left_out() -> None:
    classes, _ = class_maps([0, 1, 2, VOID], [0])
    assert classes.renamed([7, VOID, 0]).ids.tolist() == [[7, VOID, 0, VOID]]
    regions_of, _ = panoptic_maps([0, 1, 2], [0])
    renamed = regions_of.renamed([7, VOID, 0])
    assert renamed.ids.tolist() == [[1, 0, 3]] and renamed.segments == (Segment(1, 7), Segment(3, 0))
    with pytest.raises(TypeError, match="Chroma has no classes"):
        Chroma(torch.zeros(2, 1, 1)).renamed([0])
