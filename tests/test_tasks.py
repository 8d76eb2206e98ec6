"""Instance and panoptic segmentation: reading the queries, following objects, drawing and writing them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import noise_frames
from PIL import Image
from pycocotools.coco import COCO
from shared_data import shared

from ttt_cli.adaptation.methods import METHODS, check_defined
from ttt_cli.cli import main
from ttt_cli.core.classes import VOID, Class
from ttt_cli.core.errors import UsageError
from ttt_cli.core.exposure import exposure_matched
from ttt_cli.core.labels import ClassMap, Instance, Instances, Labels, PanopticMap, Segment, decode, encode
from ttt_cli.draw.paint import object_color, paint
from ttt_cli.draw.tracks import FRAMES_REMEMBERED, Tracks
from ttt_cli.model.opening import open_weights
from ttt_cli.model.queries import MaskQueries
from ttt_cli.run.folder import RunFolder
from ttt_cli.run.label_files import FORMATS, check_formats, label_files
from ttt_cli.tasks.instance import MASKS_AT_ONCE, InstanceTask
from ttt_cli.tasks.panoptic import PanopticTask
from ttt_cli.tasks.settings import TASK_NAMES, TaskSettings
from ttt_cli.tasks.table import TASKS

Capture = pytest.CaptureFixture[str]
CLASSES = (Class("sky", (0, 0, 250), False), Class("car", (0, 250, 0), True), Class("road", (90, 90, 90), False))
CAR = frozenset({1})
SIZE = (32, 48)


def queries_of(*found: tuple[int, float, tuple[slice, slice]], logit: float = 8.0) -> MaskQueries:
    """A query for each (class, probability, place at stride 4); class 3 is "no object"."""
    class_logits = torch.zeros(1, len(found), 4)
    mask_logits = torch.full((1, len(found), SIZE[0] // 4, SIZE[1] // 4), -logit)
    for index, (class_id, probability, place) in enumerate(found):
        class_logits[0, index] = torch.full((4,), (1 - probability) / 3).log()
        class_logits[0, index, class_id] = torch.tensor(probability).log()
        mask_logits[0, index][place] = logit
    return MaskQueries(class_logits, mask_logits, (), torch.zeros(1, 1, 1, 1), SIZE)


TOP, LEFT, RIGHT, ALL = (
    (slice(0, 4), slice(None)),
    (slice(4, 8), slice(0, 4)),
    (slice(4, 8), slice(8, 12)),
    (slice(None), slice(None)),
)


def box(top: int, left: int, height: int = 8, width: int = 8) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def test_the_settings_know_every_task() -> None:
    assert tuple(TASKS) == TASK_NAMES


def test_instances_are_things_in_order_of_score() -> None:
    task = InstanceTask(CLASSES, TaskSettings(largest_count=2))
    prediction = task.postprocess(queries_of((1, 0.6, LEFT), (0, 0.99, TOP), (1, 0.9, RIGHT), (3, 0.9, ALL)))
    instances = prediction.at_size(SIZE).objects
    assert [instance.class_id for instance in instances] == [1, 1]
    # Class score times the mean of the mask's sigmoid, which is nearly 1 for these logits.
    assert [instance.score for instance in instances] == pytest.approx([0.9, 0.6], abs=1e-3)
    assert decode(instances[0].mask)[20, 40] and not decode(instances[0].mask)[20, 4]
    assert prediction.present() == CAR
    assert InstanceTask(CLASSES).postprocess(queries_of((1, 0.4, LEFT))).present() == frozenset()


def test_a_blurred_mask_lowers_the_score_of_an_object() -> None:
    (sharp,) = InstanceTask(CLASSES).postprocess(queries_of((1, 0.9, LEFT))).at_size(SIZE).objects
    (blurred,) = InstanceTask(CLASSES).postprocess(queries_of((1, 0.9, LEFT), logit=0.5)).at_size(SIZE).objects
    assert blurred.score == pytest.approx(0.9 * torch.tensor(0.5).sigmoid().item(), abs=1e-5)
    assert blurred.score < sharp.score


def test_masks_in_several_chunks_are_all_there() -> None:
    places = [(1, 0.5 + index / 100, (slice(0, 2), slice(index, index + 1))) for index in range(MASKS_AT_ONCE + 3)]
    instances = InstanceTask(CLASSES).postprocess(queries_of(*places)).at_size((64, 96)).objects
    assert len(instances) == MASKS_AT_ONCE + 3
    assert instances[0].mask["size"] == [64, 96]
    assert all(decode(instance.mask).any() for instance in instances)


def test_panoptic_shares_out_the_pixels() -> None:
    task = PanopticTask(CLASSES)
    sure = queries_of((2, 0.9, ALL), (1, 0.95, LEFT), (1, 0.96, RIGHT), (0, 0.99, TOP), (0, 0.5, LEFT))
    regions = PanopticTask(CLASSES, TaskSettings(overlap_threshold=0.1)).postprocess(sure).at_size(SIZE)
    assert sorted(segment.class_id for segment in regions.segments) == [0, 1, 1, 2]
    assert sorted(torch.unique(regions.ids).tolist()) == sorted(segment.id for segment in regions.segments)
    classes = regions.class_map()
    assert (classes[:14] == 0).all() and (classes[18:, :14] == 1).all() and (classes[18:, 18:30] == 2).all()
    assert regions.ids[20, 4] != regions.ids[20, 40], "two cars are two segments"
    # The road keeps a sixth of its mask, less than the 0.8 that Mask2Former requires.
    assert {segment.class_id for segment in task.postprocess(sure).at_size(SIZE).segments} == {0, 1}


def test_regions_of_one_stuff_class_are_one_segment() -> None:
    regions = PanopticTask(CLASSES).postprocess(queries_of((2, 0.9, LEFT), (2, 0.85, RIGHT))).at_size(SIZE)
    (road,) = regions.segments
    assert road.score == pytest.approx(0.9)
    assert regions.ids[20, 4] == regions.ids[20, 40] == road.id
    assert regions.ids[0, 0] == 0


def test_panoptic_without_any_sure_query_is_empty() -> None:
    prediction = PanopticTask(CLASSES).postprocess(queries_of((1, 0.5, LEFT)))
    regions = prediction.at_size(SIZE)
    assert regions.segments == () and not regions.ids.any()
    assert prediction.present() == frozenset()


def test_classes_can_be_left_out_of_any_labels() -> None:
    objects = (Instance(1, encode(box(0, 0))), Instance(2, encode(box(0, 0))))
    assert Instances(objects, SIZE).of_classes(CAR) == Instances(objects[:1], SIZE)
    regions = PanopticMap(torch.tensor([[1, 2]]), (Segment(1, 1), Segment(2, 0))).of_classes(CAR)
    assert isinstance(regions, PanopticMap)
    assert regions.ids.tolist() == [[1, 0]] and regions.segments == (Segment(1, 1),)
    assert torch.equal(ClassMap(torch.tensor([[0, 1, VOID]])).of_classes(CAR).ids, torch.tensor([[VOID, 1, VOID]]))


def numbers(tracks: Tracks, *masks: np.ndarray, class_id: int = 1) -> list[int]:
    labels = tracks.numbered(Instances(tuple(Instance(class_id, encode(mask)) for mask in masks), SIZE))
    assert isinstance(labels, Instances)
    return [instance.number for instance in labels.objects]


def test_objects_keep_their_number_as_they_move() -> None:
    tracks = Tracks(CAR, 0.5)
    assert numbers(tracks, box(0, 0), box(20, 30)) == [1, 2]
    assert numbers(tracks, box(20, 33), box(2, 1)) == [2, 1], "whatever order they come in"
    assert numbers(tracks, box(20, 35), box(10, 10)) == [2, 3]
    assert numbers(tracks, box(20, 35), class_id=2) == [4], "another class is another object"


def test_a_hidden_object_is_remembered_for_a_while() -> None:
    tracks = Tracks(CAR, 0.5)
    assert numbers(tracks, box(0, 0)) == [1]
    for _ in range(FRAMES_REMEMBERED - 1):
        tracks.numbered(Instances((), SIZE))
    assert numbers(tracks, box(0, 0)) == [1]
    for _ in range(FRAMES_REMEMBERED):
        tracks.numbered(Instances((), SIZE))
    assert numbers(tracks, box(0, 0)) == [2]


def test_panoptic_things_are_followed_and_stuff_is_not() -> None:
    tracks = Tracks(CAR, 0.5)
    ids = torch.zeros(SIZE, dtype=torch.int32)
    ids[:16], ids[16:] = 1, 2
    for _ in range(2):
        labels = tracks.numbered(PanopticMap(ids, (Segment(1, 0), Segment(2, 1))))
        assert isinstance(labels, PanopticMap)
        assert [segment.number for segment in labels.segments] == [0, 1]


def test_unsure_objects_are_kept_but_neither_followed_nor_drawn() -> None:
    objects = (Instance(1, encode(box(0, 0)), 0.9), Instance(1, encode(box(20, 20)), 0.1))
    labels = Tracks(CAR, 0.5).numbered(Instances(objects, SIZE))
    assert isinstance(labels, Instances)
    assert [instance.number for instance in labels.objects] == [1, 0]
    drawn = paint(labels, CLASSES, 0.5)
    assert [tag.text for tag in drawn.tags] == ["car 90%"]
    assert drawn.ids[4, 4] < VOID and drawn.ids[24, 24] == VOID
    assert paint(Instances((), SIZE), CLASSES, 0.5).ids.shape == SIZE


def test_an_object_is_painted_in_the_color_of_its_number() -> None:
    far, near = Instance(1, encode(box(0, 0)), 0.6, number=7), Instance(1, encode(box(4, 4)), 0.9, number=2)
    drawn = paint(Instances((near, far), SIZE), CLASSES, 0.5)
    of_class = CLASSES[1].color
    assert drawn.colors[drawn.ids[0, 0]].color == object_color(of_class, 7)
    assert drawn.colors[drawn.ids[6, 6]].color == object_color(of_class, 2), "the surer object lies on top"
    assert len({object_color(of_class, number) for number in range(1, 11)}) == 10


def write_all(folder: Path, task: str, labels: list[Labels]) -> RunFolder:
    folder.mkdir()
    run = RunFolder(folder)
    run.unfinished.mkdir(parents=True)
    files = label_files(task, list(FORMATS[task]), run, CLASSES)
    for frame, frame_labels in zip(noise_frames(len(labels), SIZE), labels, strict=True):
        for file in files:
            file.write(frame, frame_labels)
    for file in files:
        file.close()
    return run


def test_coco_results_load_in_pycocotools(tmp_path: Path) -> None:
    first = (Instance(1, encode(box(0, 0)), 0.9, number=1), Instance(1, encode(box(8, 8)), 0.4))
    run = write_all(tmp_path / "run", "instance", [Instances(objects, SIZE) for objects in (first, (), first[:1])])
    truth = COCO(str(run.coco))
    results = truth.loadRes(str(run.instances))
    assert sorted(truth.imgs) == [0, 1, 2] and truth.cats[1]["name"] == "car"
    assert [result["image_id"] for result in results.anns.values()] == [0, 0, 2]
    assert np.array_equal(results.annToMask(results.anns[2]), box(8, 8))
    assert results.anns[1]["bbox"] == [0, 0, 8, 8] and results.anns[1]["track_id"] == 1


def test_coco_panoptic_passes_the_official_checks(tmp_path: Path) -> None:
    ids = torch.zeros(SIZE, dtype=torch.int32)
    ids[:16], ids[20:] = 1, 300
    regions = PanopticMap(ids, (Segment(1, 0), Segment(300, 1, number=2)))
    empty = PanopticMap(torch.zeros_like(ids), ())
    run = write_all(tmp_path / "run", "panoptic", [regions, empty])
    content = json.loads(run.panoptic_json.read_text())
    assert [image["id"] for image in content["images"]] == [0, 1]
    assert [annotation["image_id"] for annotation in content["annotations"]] == [0, 1]
    for annotation in content["annotations"]:
        picture = np.array(Image.open(run.panoptic / annotation["file_name"])).astype(int)
        ids_in_picture = picture[..., 0] + 256 * picture[..., 1] + 65536 * picture[..., 2]
        listed = {segment["id"]: segment["area"] for segment in annotation["segments_info"]}
        counts = dict(zip(*(part.tolist() for part in np.unique(ids_in_picture, return_counts=True)), strict=True))
        counts.pop(0)
        assert counts == listed
    assert {segment["category_id"] for segment in content["annotations"][0]["segments_info"]} <= {0, 1, 2}


def test_kitti_step_has_class_and_number_in_its_channels(tmp_path: Path) -> None:
    ids = torch.zeros(SIZE, dtype=torch.int32)
    ids[:16], ids[20:] = 1, 2
    run = write_all(tmp_path / "run", "panoptic", [PanopticMap(ids, (Segment(1, 2), Segment(2, 1, number=259)))])
    picture = np.array(Image.open(run.kitti_step / "000000.png"))
    assert picture[0, 0].tolist() == [2, 0, 0]
    assert picture[30, 0].tolist() == [1, 1, 3]
    assert picture[17, 0].tolist() == [VOID, 0, 0]


def test_formats_of_another_task_are_refused() -> None:
    check_formats("panoptic", ["coco", "kitti-step"])
    with pytest.raises(UsageError, match="format 'kitti-step' is none of the task instance; known: coco"):
        check_formats("instance", ["kitti-step"])


@pytest.mark.parametrize("task", ["instance", "panoptic"])
def test_methods_that_need_a_confidence_for_each_pixel_are_refused(tiny_weights: Path, task: str) -> None:
    refused, weights = set(), open_weights(str(tiny_weights))
    for name in METHODS:
        try:
            check_defined(name, task, weights)
        except UsageError:
            refused.add(name)
    assert refused == {
        *("self-train", "self-train+cb", "online+self-train", "cotta"),
        *("majority-vote", "temporal-smoothing", "mirror"),
        "prepared",
    }
    with pytest.raises(UsageError, match="objects of several views"):
        check_defined("online+vote", task, weights)
    check_defined("self-train", "semantic", weights)


def test_methods_that_compare_features_need_weights_that_record_them(tiny_weights: Path) -> None:
    without = replace(open_weights(str(tiny_weights)), has_ordinary_features=False)
    for name in ("clamp", "align"):
        check_defined(name, "semantic", open_weights(str(tiny_weights)))
        with pytest.raises(UsageError, match=f"method {name}: weights tiny lack the features of ordinary pictures"):
            check_defined(name, "semantic", without)


def test_the_table_has_a_format_for_every_task() -> None:
    assert FORMATS.keys() == TASKS.keys()


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("instance", ["coco.json", "coco-fixed.json", "instances.json", "instances-fixed.json"]),
        (
            "panoptic",
            [
                *("masks", "masks-fixed", "panoptic", "panoptic-fixed"),
                *("panoptic.json", "panoptic-fixed.json"),
            ],
        ),
    ],
)
def test_the_command_writes_the_files_of_the_task(
    task: str, expected: list[str], tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames").mkdir()
    for frame in noise_frames(3):
        Image.fromarray(frame.image.permute(1, 2, 0).numpy()).save(tmp_path / "frames" / f"{frame.name}.png")
    arguments = ["segment", "frames", "--weights", str(tiny_weights), "--task", task, "--compare"]
    assert main(arguments) == 0
    out = tmp_path / "runs" / f"frames-online-{task}"
    assert sorted(path.name for path in out.iterdir()) == sorted([*expected, "frames.jsonl", "overlay.mp4", "run.json"])
    if task == "instance":
        assert COCO(str(out / "coco.json")).loadRes(str(out / "instances.json")).imgs.keys() == {0, 1, 2}
    assert main(arguments) == 1, "an earlier run is not overwritten"
    assert main([*arguments, "--overwrite", "--no-masks", "--no-labels", "--alpha", "0.3"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["frames.jsonl", "overlay.mp4", "run.json"]


def test_the_command_refuses_what_the_task_does_not_have(
    clip: Path, tiny_weights: Path, tmp_path: Path, capsys: Capture
) -> None:
    arguments = ["segment", str(clip), "--weights", str(tiny_weights), "--out", str(tmp_path / "out")]
    for more, message in (
        (["--task", "depth"], "task 'depth' is unknown; known: semantic, instance, panoptic"),
        (["--task", "panoptic", "--method", "self-train"], "method self-train is not defined for the task panoptic"),
        (["--alpha", "2"], "alpha must be within 0 and 1"),
    ):
        assert main([*arguments, *more]) == 2
        assert message in capsys.readouterr().err


def test_the_default_weights_find_objects_in_a_real_frame() -> None:
    """In a frame of the training drives, the largest car is one segment and one object."""
    from ttt_cli.model.opening import open_weights

    folder = shared("data/camvid/drive_Seq05VD_1hz")
    path = sorted((folder / "images").iterdir())[0]
    image = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)
    weights = open_weights("street")
    model = weights.load()
    seen = exposure_matched(image, weights.ordinary)
    with torch.no_grad():
        queries = model.decode(model.encode(seen[None]))
    regions = PanopticTask(weights.classes).postprocess(queries).at_size((360, 480))
    names = {weights.classes[segment.class_id].name for segment in regions.segments}
    assert {"road", "building", "sky"} <= names
    covered = (regions.ids > 0).float().mean()
    assert covered > 0.7
