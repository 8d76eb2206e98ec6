"""The labeled data sets: small copies in their exact layouts, what can be wrong with them, and real data."""

from __future__ import annotations

import json
import re
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from label_fixtures import (
    HEIGHT,
    MIDDLE,
    WIDTH,
    change_json,
    channels,
    make_coco,
    make_folder,
    make_panoptic_folder,
    regions,
    save_array,
    save_frames,
    write_json,
)
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from shared_data import shared

from ttt_cli.core.classes import CAMVID, VOID, Class
from ttt_cli.core.coco_classes import COCO_INSTANCE, COCO_PANOPTIC, color_of
from ttt_cli.core.errors import TttvError, UsageError
from ttt_cli.core.labels import ClassMap, Instance, Instances, Labels, PanopticMap, Segment, decode
from ttt_cli.datasets import DATASETS, coco_videos, json_file, open_streams
from ttt_cli.datasets.davis import CLASSES_2016
from ttt_cli.datasets.kitti_step import KITTI_STEP, SEQUENCES
from ttt_cli.datasets.stream import Stream, StreamRequest
from ttt_cli.video.settings import InputSettings


def request(truth: Path, task: str, **options: Any) -> StreamRequest:
    options = {"images": None, "wanted": InputSettings(), **options}
    return StreamRequest(truth, task=task, **options)


def labels_of(stream: Stream) -> list[Labels | None]:
    return [stream.truth(frame.name) for frame in stream.video.frames()]


def panoptic_of(stream: Stream) -> PanopticMap:
    truth = stream.truth("000000")
    assert isinstance(truth, PanopticMap)
    return truth


def semantic_of(stream: Stream) -> np.ndarray:
    truth = stream.truth("000000")
    assert isinstance(truth, ClassMap) and truth.ids.dtype == torch.uint8
    return truth.ids.numpy()


def instances_of(stream: Stream) -> tuple[Instance, ...]:
    truth = stream.truth("000000")
    assert isinstance(truth, Instances)
    return truth.objects


def shown(instances: tuple[Instance, ...]) -> list[tuple[int, bool, int]]:
    """Class, whether it is a crowd, and number of pixels of each instance."""
    return [(instance.class_id, instance.is_crowd, int(decode(instance.mask).sum())) for instance in instances]


# CamVid


def make_camvid(folder: Path) -> Path:
    """A road with a car of 120 pixels, a car of 16, and a row of void; the last frame has no label."""
    save_frames(folder / "images", 3, ".jpg")
    ids = np.full((HEIGHT, WIDTH), 3)
    ids[10:20, 10:22] = ids[30:34, 30:34] = 8
    ids[0] = 11
    for number in range(2):
        save_array(folder / "labels" / f"{number:06d}.png", ids)
    return folder


def test_camvid_objects_are_connected_components_of_some_size(tmp_path: Path) -> None:
    drive = make_camvid(tmp_path / "drive")
    (stream,) = open_streams("camvid", request(drive, "panoptic"))
    truth = panoptic_of(stream)
    assert [(segment.class_id, segment.is_crowd) for segment in truth.segments] == [(3, False), (8, True), (8, False)]
    car = next(segment.id for segment in truth.segments if segment.class_id == 8 and not segment.is_crowd)
    assert int((truth.ids == car).sum()) == 120 and bool((truth.ids[10:20, 10:22] == car).all())
    assert int((truth.ids == 0).sum()) == WIDTH
    assert truth.ids.dtype == torch.int32
    assert stream.truth("000002") is None

    (stream,) = open_streams("camvid", request(drive, "instance"))
    assert shown(instances_of(stream)) == [(8, True, 16), (8, False, 120)]
    (stream,) = open_streams("camvid", request(drive, "semantic"))
    classes = semantic_of(stream)
    assert (classes == 8).sum() == 136 and (classes[0] == VOID).all() and stream.classes == CAMVID


def test_two_objects_of_a_class_are_two_segments(tmp_path: Path) -> None:
    drive = make_camvid(tmp_path / "drive")
    save_array(drive / "labels" / "000000.png", regions(9, 3, 9))
    (stream,) = open_streams("camvid", request(drive, "panoptic"))
    assert [segment.class_id for segment in panoptic_of(stream).segments] == [3, 9]
    save_array(drive / "labels" / "000000.png", np.where(np.arange(WIDTH) % 20 < 10, regions(9, 9, 9), 3))
    assert [segment.class_id for segment in panoptic_of(stream).segments] == [3, 9, 9, 9, 9]


def test_frames_may_be_elsewhere(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_camvid(tmp_path / "labeled" / name)
        (tmp_path / "labeled" / name / "images").rename(tmp_path / name)
    single = request(tmp_path / "labeled" / "a", "semantic", images=tmp_path / "a")
    both = request(tmp_path / "labeled", "semantic", images=tmp_path)
    assert [stream.video.path.name for stream in open_streams("camvid", single)] == ["a"]
    assert [(stream.name, stream.video.path.name) for stream in open_streams("camvid", both)] == [
        ("a", "a"),
        ("b", "b"),
    ]
    # One folder of frames cannot belong to two drives, although the names of the frames are the same.
    with pytest.raises(TttvError, match="no such file or folder"):
        open_streams("camvid", request(tmp_path / "labeled", "semantic", images=tmp_path / "a"))


# COCO panoptic


def make_coco_video(root: Path, video: str = "bar", split: str = "val", frames: int = 2) -> Path:
    """A person, a crowd of people (or whatever is in MIDDLE), and an ignored region; the last row is not a segment."""
    save_frames(root / "images" / video, frames)
    ids = regions(7, 70000, 300)
    ids[-1] = 0
    for number in range(frames):
        save_array(root / "panoptic_images" / video / f"{number:06d}.png", channels(ids))
    segments = [
        {"id": 7, "category_id": 1, "iscrowd": 0},
        {"id": 70000, "category_id": 1, "iscrowd": 1},
        {"id": 300, "category_id": 255, "iscrowd": 0},
    ]
    content = {
        "images": [
            {"id": 50 + number, "file_name": f"{number:06d}.jpg", "height": HEIGHT, "width": WIDTH}
            for number in range(frames)
        ],
        "annotations": [
            {"image_id": 50 + number, "file_name": f"{number:06d}.png", "segments_info": segments}
            for number in range(frames)
        ],
    }
    write_json(root / "annotations" / split / f"{video}.json", content)
    return root


def test_the_categories_are_those_of_coco() -> None:
    official = json.loads(shared("golden/panoptic/gt.json").read_text())["categories"]
    assert len(COCO_PANOPTIC) == 133
    assert {
        category["id"]: Class(category["name"], tuple(category["color"]), bool(category["isthing"]))
        for category in official
    } == COCO_PANOPTIC
    assert list(COCO_PANOPTIC) == [category["id"] for category in official]
    assert [entry.is_thing for entry in COCO_PANOPTIC.values()] == [True] * 80 + [False] * 53


def test_coco_videos(tmp_path: Path) -> None:
    root = make_coco_video(tmp_path)
    (stream,) = open_streams("coco-videos", request(root, "panoptic"))
    truth = panoptic_of(stream)
    assert (stream.name, stream.video.name, stream.warnings) == ("bar", "bar", ())
    assert stream.classes == tuple(COCO_PANOPTIC.values())
    assert truth.segments == (Segment(1, 0), Segment(2, 0, is_crowd=True))
    expected = regions(1, 2, 0)
    expected[-1] = 0
    assert (truth.ids.numpy() == expected).all()

    (stream,) = open_streams("coco-videos", request(root / "annotations", "instance", split="val"))
    assert len(stream.classes) == 80 and stream.classes[0].name == "person"
    assert shown(instances_of(stream)) == [(0, False, 20 * (HEIGHT - 1)), (0, True, 900)]

    (stream,) = open_streams("coco-videos", request(root, "semantic"))
    classes = semantic_of(stream)
    assert (classes[:-1, :20] == 0).all() and (classes[MIDDLE] == VOID).all() and (classes[-1] == VOID).all()


def test_coco_videos_scores_each_tenth_of_the_first_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_coco_video(tmp_path, frames=23)

    def scored(**options: Any) -> list[str]:
        (stream,) = open_streams("coco-videos", request(root, "instance", **options))
        return [frame.name for frame in stream.video.frames() if stream.truth(frame.name) is not None]

    assert scored() == ["000000", "000010", "000020"]
    assert scored(every=7) == ["000000", "000007", "000014", "000021"]
    assert scored(wanted=InputSettings(start=0.5)) == ["000010", "000020"]
    assert len(scored(every=1)) == 23
    monkeypatch.setattr(coco_videos, "SCORED_FRAMES", 20)
    assert scored() == ["000000", "000010"]


def test_coco_videos_splits_and_places(tmp_path: Path) -> None:
    root = make_coco_video(tmp_path / "a", "bar")
    (root / "images" / "bar").rename(tmp_path / "frames")
    moved = request(root, "panoptic", images=tmp_path / "frames")
    assert [stream.name for stream in open_streams("coco-videos", moved)] == ["bar"]

    root = make_coco_video(tmp_path / "b", "paris", split=".")
    make_coco_video(tmp_path / "b", "bar", split="train")
    (root / "annotations" / "val").mkdir()
    write_json(root / "annotations" / "val" / "bar.json", json.loads((root / "annotations/train/bar.json").read_text()))
    (root / "annotations" / "._bar.json").write_bytes(b"left by macOS")
    names = {None: ["bar train", "bar val", "paris"], "val": ["bar"]}
    for split, expected in names.items():
        streams = open_streams("coco-videos", request(root, "panoptic", split=split))
        assert [stream.name for stream in streams] == expected


def test_a_coco_file_may_have_its_own_categories(tmp_path: Path) -> None:
    root = make_coco_video(tmp_path)
    categories = [{"id": 255, "name": "sky"}, {"id": 1, "name": "person", "isthing": 1, "color": [1, 2, 3]}]
    categories[0] |= {"isthing": 0}
    categories.append({"id": 9, "name": "road", "isthing": 0})
    change_json(root / "annotations/val/bar.json", lambda content: content.update(categories=categories))
    (stream,) = open_streams("coco-videos", request(root, "panoptic"))
    assert stream.classes[:2] == (Class("sky", color_of("sky", 0), False), Class("person", (1, 2, 3), True))
    assert [(segment.class_id, segment.is_crowd) for segment in panoptic_of(stream).segments] == [
        (1, False),
        (0, False),
        (1, True),
    ]
    (stream,) = open_streams("coco-videos", request(root, "instance"))
    assert [entry.name for entry in stream.classes] == ["sky", "person"]
    assert [instance.class_id for instance in instances_of(stream)] == [1, 1]


def test_labels_that_miss_something_are_counted(tmp_path: Path) -> None:
    root = make_coco_video(tmp_path, frames=5)
    for name in ("images/bar/000000.png", "images/bar/000003.png", "panoptic_images/bar/000004.png"):
        (root / name).unlink()
    (stream,) = open_streams("coco-videos", request(root, "instance", every=1))
    assert [truth is not None for truth in labels_of(stream)] == [True, True, False]
    frames, pngs = stream.warnings
    assert "bar.json: labels without a frame" in frames and frames.endswith("2 of 5 left out")
    assert "bar.json: labels without a PNG" in pngs and pngs.endswith("1 of 3 left out")


# KITTI-STEP


def make_kitti(root: Path, sequences: tuple[str, ...] = ("0002",), split: str = "val") -> Path:
    """A person, a car, a crowd of cars, a rider with a number (riders should have none), and void."""
    for name in sequences:
        save_frames(root / "images" / split / name, 2)
        label = np.zeros((HEIGHT, WIDTH, 3), int)
        label[:10] = (11, 1, 2)
        label[10:20] = (13, 0, 5)
        label[20:30] = (13, 0, 0)
        label[30:40] = (12, 0, 3)
        label[40:44] = (12, 0, 0)
        label[44:] = (255, 9, 9)
        save_array(root / "panoptic_maps" / split / name / "000000.png", label)
    return root


def test_kitti_step(tmp_path: Path) -> None:
    root = make_kitti(tmp_path)
    (stream,) = open_streams("kitti-step", request(root, "panoptic"))
    truth = panoptic_of(stream)
    assert [(segment.class_id, segment.is_crowd) for segment in truth.segments] == [
        (11, False),
        (12, False),
        (13, True),
        (13, False),
    ]
    rows = np.repeat([1, 4, 3, 2, 2, 0], [10, 10, 10, 10, 4, 4])
    assert (truth.ids.numpy() == rows[:, None]).all()
    assert stream.truth("000001") is None
    assert (stream.name, stream.classes, stream.video.length) == ("0002", KITTI_STEP, 2)
    assert len(KITTI_STEP) == 19 and [index for index, entry in enumerate(KITTI_STEP) if entry.is_thing] == [11, 13]

    (stream,) = open_streams("kitti-step", request(root, "instance"))
    assert shown(instances_of(stream)) == [(11, False, 640), (13, True, 640), (13, False, 640)]
    (stream,) = open_streams("kitti-step", request(root, "semantic"))
    rows = np.repeat([11, 13, 12, VOID], [10, 20, 14, 4])
    assert (semantic_of(stream) == rows[:, None]).all()


def test_kitti_step_counts_missing_drives(tmp_path: Path) -> None:
    make_kitti(tmp_path, ("0002", "0018", "0042"))
    make_kitti(tmp_path, SEQUENCES["train"], "train")
    first, second = open_streams("kitti-step", request(tmp_path, "semantic"))
    assert (first.name, second.name, second.warnings) == ("0002", "0018", ())
    (warning,) = first.warnings
    assert "drives of the split val that are not on disk: 7 of 9 left out" in warning
    streams = open_streams("kitti-step", request(tmp_path, "semantic", split="train"))
    assert [stream.name for stream in streams] == list(SEQUENCES["train"]) and streams[0].warnings == ()


def test_the_splits_are_the_papers() -> None:
    text = shared("METHOD.md").read_text()
    for split, start in (("val", "validation set: "), ("train", "test set: ")):
        (listed,) = re.findall(start + r"((?:\d{4} ?)+)", text)
        assert SEQUENCES[split] == tuple(listed.split())


# COCO's stills


def test_coco_stills(tmp_path: Path) -> None:
    first, second = open_streams("coco", request(make_coco(tmp_path), "instance"))
    assert [(stream.name, stream.video.size, stream.video.length) for stream in (first, second)] == [
        ("a", (WIDTH, HEIGHT), 1),
        ("b", (HEIGHT, WIDTH), 1),
    ]
    assert first.truth("a") == Instances((), (WIDTH, HEIGHT)) and first.truth("b") is None
    (frame,) = second.video.frames()
    truth = second.truth(frame.name)
    assert isinstance(truth, Instances)
    assert shown(truth.objects) == [(0, False, 200), (0, True, 4), (0, False, 200)]
    assert decode(truth.objects[0].mask)[10:20, 10:20].all() and decode(truth.objects[0].mask)[30:40, 30:40].all()
    assert decode(truth.objects[1].mask)[10:14, 0].all()
    assert decode(truth.objects[2].mask)[5:15, 10:30].all()
    assert first.classes == (Class("dog", (0, 226, 252), True), Class("unicorn", color_of("unicorn", 1), True))
    assert first.warnings == ()


def test_run_lengths_in_text_are_read_as_coco_writes_them(tmp_path: Path) -> None:
    root = make_coco(tmp_path)
    random = np.random.default_rng(0)
    masks = [random.random((HEIGHT, WIDTH)) < share for share in (0.0, 0.01, 0.5, 1.0)]
    masks.append(np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)) % 37 < 30)
    codes = [coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"].decode() for mask in masks]

    def change(content: Any) -> None:
        content["annotations"] = [
            {"id": n, "image_id": 2, "category_id": 3, "segmentation": {"size": [HEIGHT, WIDTH], "counts": code}}
            for n, code in enumerate(codes)
        ]

    change_json(root / "annotations/instances.json", change)
    first, second = open_streams("coco", request(root / "annotations/instances.json", "instance"))
    truth = second.truth("b")
    assert isinstance(truth, Instances)
    assert all((decode(instance.mask) == mask).all() for instance, mask in zip(truth.objects, masks[1:], strict=True))
    (warning,) = first.warnings
    assert warning.endswith("instances.json: objects whose mask has no area: 1 of 5 left out")


def test_pictures_that_are_missing_are_counted(tmp_path: Path) -> None:
    root = make_coco(tmp_path)
    (root / "images" / "a.jpg").rename(tmp_path / "a.jpg")
    (stream,) = open_streams("coco", request(root, "instance"))
    (warning,) = stream.warnings
    assert stream.name == "b" and warning.endswith("1 of 2 left out")
    (stream,) = open_streams("coco", request(root, "instance", images=tmp_path))
    assert stream.name == "a"


# DAVIS


def make_davis(root: Path, frames: str = "images", labels: str = "labels") -> Path:
    save_frames(root / frames / "dog", 3)
    save_array(root / labels / "dog" / "000000.png", regions(0, 255, 0))
    save_array(root / labels / "dog" / "000001.png", regions(0, 0, 0))
    palette = Image.fromarray(regions(2, 1, 0).astype(np.uint8), "P")
    palette.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    palette.save(root / labels / "dog" / "000002.png")
    return root


@pytest.mark.parametrize(
    ("frames", "labels"),
    [("images", "labels"), ("JPEGImages/480p", "Annotations/480p"), ("JPEGImages", "Annotations")],
)
def test_davis(tmp_path: Path, frames: str, labels: str) -> None:
    (stream,) = open_streams("davis", request(make_davis(tmp_path, frames, labels), "instance"))
    assert stream.name == "dog" and stream.classes == (Class("dog", (0, 226, 252), True),)
    one_object, no_object, two_objects = labels_of(stream)
    assert isinstance(one_object, Instances)
    assert isinstance(no_object, Instances)
    assert isinstance(two_objects, Instances)
    everything = HEIGHT * WIDTH
    assert shown(one_object.objects) == [(0, False, 900), (0, True, everything - 900)]
    assert decode(one_object.objects[0].mask)[MIDDLE].all() and not decode(one_object.objects[1].mask)[MIDDLE].any()
    assert shown(no_object.objects) == [(0, True, everything)]
    assert shown(two_objects.objects) == [
        (0, False, 900),
        (0, False, 20 * HEIGHT),
        (0, True, everything - 900 - 20 * HEIGHT),
    ]


def test_davis_classes_of_a_user_win_over_the_table(tmp_path: Path) -> None:
    root = make_davis(tmp_path)
    for name in ("cows", "goat", "my-cat"):
        for kind in ("images", "labels"):
            shutil.copytree(root / kind / "dog", root / kind / name)
    assert [stream.name for stream in open_streams("davis", request(root, "instance"))] == ["cows", "dog"]
    (root / "classes.csv").write_text("sequence,class,why\ncows,,several\ndog,wolf,howls\nmy-cat,cat\n")
    dog, cat = open_streams("davis", request(root, "instance"))
    assert [(stream.name, stream.classes[0].name) for stream in (dog, cat)] == [("dog", "wolf"), ("my-cat", "cat")]
    assert dog.warnings == (f"{root / 'classes.csv'}: has no class for, and so left out: cows, goat",)
    assert cat.warnings == ()


def test_davis_classes_are_those_of_coco() -> None:
    assert set(CLASSES_2016.values()) <= {kind.name for kind in COCO_INSTANCE}


# A user's folder


def test_a_folder_of_class_ids(tmp_path: Path) -> None:
    (stream,) = open_streams("folder", request(make_folder(tmp_path / "hens"), "semantic"))
    assert stream.name == "hens"
    assert stream.classes == (Class("lawn", (0, 200, 0), False), Class("hen", (200, 100, 0), True))
    assert (semantic_of(stream) == regions(0, 1, VOID)).all()
    assert stream.truth("000001") is None


def test_folders_with_panoptic_labels(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_panoptic_folder(tmp_path / name)
        (tmp_path / name / "classes.json").rename(tmp_path / "classes.json")
    streams = open_streams("folder", request(tmp_path, "panoptic"))
    assert [(stream.name, stream.video.name) for stream in streams] == [("a", "a"), ("b", "b")]
    nothing, truth = labels_of(streams[1])
    assert nothing is None and isinstance(truth, PanopticMap)
    assert truth.segments == (Segment(1, 0), Segment(2, 1)) and (truth.ids.numpy() == regions(1, 2, 0)).all()
    assert [entry.name for entry in streams[0].classes] == ["lawn", "hen"]
    stream = open_streams("folder", request(tmp_path, "instance"))[0]
    _, instances = labels_of(stream)
    assert isinstance(instances, Instances) and shown(instances.objects) == [(1, False, 900)]


# What can go wrong


def test_requested_data_must_exist(tmp_path: Path) -> None:
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("magic", {"task": "semantic"}, "known: camvid, coco-videos, kitti-step, coco, davis, folder"),
        ("coco", {"task": "semantic"}, "no labels for the task 'semantic'; it has them for: instance"),
        ("camvid", {"task": "colorize\x1b"}, r"'colorize\\\\x1b'; it has them for: semantic, instance, panoptic"),
        ("kitti-step", {"task": "semantic", "split": "test"}, "no split 'test'; known: val, train"),
        ("davis", {"task": "instance", "split": "val"}, "no split 'val'; there are none"),
        ("davis", {"task": "instance", "every": 0}, "1 or more"),
    ]
    for name, options, message in wrong:
        with pytest.raises(UsageError, match=message):
            open_streams(name, request(tmp_path, **options))


def test_labels_are_read_only_when_needed(tmp_path: Path) -> None:
    made = {"kitti-step": make_kitti, "coco-videos": make_coco_video, "davis": make_davis, "camvid": make_camvid}
    for name, make in made.items():
        root = make(tmp_path / name)
        for path in [path for path in root.rglob("*.png") if "images" not in path.relative_to(root).parts]:
            path.write_bytes(b"no PNG")
        (stream,) = open_streams(name, request(root, "instance"))
        with pytest.raises(TttvError, match="is not a label image that can be read"):
            stream.truth("000000")


def png(width: int, height: int, depth: int, kind: int, rows: bytes) -> bytes:
    """A PNG with any header and data."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(rows)) if rows else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


JSON, PNG = "annotations/val/bar.json", "panoptic_images/bar/000000.png"

Spoil = Callable[[Path], None]


def in_json(change: Callable[[Any], Any], path: str = JSON) -> Spoil:
    return lambda root: change_json(root / path, change)


def in_file(path: str, content: bytes) -> Spoil:
    def spoil(root: Path) -> None:
        (root / path).write_bytes(content)

    return spoil


def in_segment(**values: Any) -> Spoil:
    return in_json(lambda content: content["annotations"][0]["segments_info"][0].update(values))


def in_object(**values: Any) -> Spoil:
    return in_json(lambda content: content["annotations"][0].update(values), INSTANCES)


def polygon(*numbers: Any) -> Spoil:
    return in_object(segmentation=[list(numbers)])


def runs(counts: Any, height: int = HEIGHT) -> Spoil:
    return in_object(segmentation={"size": [height, WIDTH], "counts": counts})


def all_gone(folder: str) -> Spoil:
    def spoil(root: Path) -> None:
        for number, path in enumerate(sorted((root / folder).iterdir())):
            path.rename(path.with_name(f"other{number}{path.suffix}"))

    return spoil


def palette_label(root: Path) -> None:
    Image.fromarray(regions(0, 1, 2).astype(np.uint8), "P").save(root / PNG)


INSTANCES = "annotations/instances.json"
PACKED = coco_mask.encode(np.zeros((HEIGHT, WIDTH), np.uint8, order="F"))["counts"].decode()
LABEL = "labels/dog/000000.png"
MAP = "panoptic_maps/val/0002/000000.png"
UP = "leads out of its folder"

BAD: list[tuple[str, str, Spoil, str]] = [
    (
        "coco-videos",
        "truncated",
        lambda root: (root / JSON).write_bytes((root / JSON).read_bytes()[:200]),
        "is cut off",
    ),
    ("coco-videos", "no-json", in_file(JSON, b"\xff\x00 video"), "no JSON"),
    ("coco-videos", "empty", in_file(JSON, b""), "no JSON"),
    ("coco-videos", "nested", in_file(JSON, b"[" * 200_000), "no JSON"),
    ("coco-videos", "list", in_file(JSON, b"[1]"), "a COCO file must be an object, not"),
    (
        "coco-videos",
        "numbers",
        in_json(lambda content: content.update(images=[1])),
        "each of the images must be an obj",
    ),
    ("coco-videos", "no-images", in_json(lambda content: content.pop("images")), "'images' is missing"),
    ("coco-videos", "nothing", in_json(lambda content: content.update(annotations=[])), "has no annotations"),
    (
        "coco-videos",
        "instances",
        in_json(lambda content: content.update(annotations=[{"segmentation": []}])),
        "is COCO instances, where COCO panoptic is wanted",
    ),
    ("coco-videos", "image-id", in_json(lambda content: content["images"].pop(0)), "has no image 50"),
    ("coco-videos", "category", in_segment(category_id=12), "has no category 12"),
    ("coco-videos", "category-text", in_segment(category_id="1"), "'category_id' must be a whole number, not '1'"),
    ("coco-videos", "true", in_segment(id=True), "'id' must be a whole number, not True"),
    ("coco-videos", "crowd", in_segment(iscrowd=2), "'iscrowd' must be true or false"),
    ("coco-videos", "void-segment", in_segment(id=0), "or one with 0"),
    ("coco-videos", "same-segment", in_segment(id=300), "two segments with the id 300"),
    ("coco-videos", "unknown-id", in_segment(id=8), "holds the id 7, which is no segment of it in .*bar.json"),
    (
        "coco-videos",
        "absent-id",
        in_json(lambda content: content["annotations"][0]["segments_info"].append({"id": 9, "category_id": 1})),
        "has no pixel of the segment 9, which is in .*bar.json",
    ),
    (
        "coco-videos",
        "two-annotations",
        in_json(lambda content: content["annotations"].append(content["annotations"][0])),
        "two annotations of the image 50",
    ),
    (
        "coco-videos",
        "two-images",
        in_json(lambda content: content["images"].append({**content["images"][0], "id": 99})),
        "two images of one id or one name",
    ),
    (
        "coco-videos",
        "size",
        in_json(lambda content: content["images"][0].update(height=47)),
        f"says that 000000.jpg is 64x47, but .*bar is {WIDTH}x{HEIGHT}",
    ),
    *(
        (
            "coco-videos",
            f"climbs-{number}",
            in_json(lambda content, name=name: content["annotations"][0].update(file_name=name)),
            UP,
        )
        for number, name in enumerate(("../bar/000000.png", "/etc/passwd", "C:\\x.png", "C:x.png", "..\\x", "a\0b", ""))
    ),
    ("coco-videos", "no-frame", all_gone("images/bar"), "labels without a frame in .*: all 2"),
    ("coco-videos", "no-png", all_gone("panoptic_images/bar"), "labels without a PNG in .*: all 2"),
    ("coco-videos", "palette", palette_label, "is P, bit depth 1; must be RGB"),
    ("coco-videos", "gray", lambda root: save_array(root / PNG, regions(7, 0, 0)), "is L, bit depth 8; must be RGB"),
    (
        "coco-videos",
        "16-bit",
        in_file(PNG, png(WIDTH, HEIGHT, 16, 2, bytes(HEIGHT * (1 + 6 * WIDTH)))),
        "is RGB, bit depth 16; must be RGB",
    ),
    ("coco-videos", "half", in_file(PNG, png(WIDTH, HEIGHT, 8, 2, bytes(1000))), "can be read"),
    ("coco-videos", "no-data", in_file(PNG, png(WIDTH, HEIGHT, 8, 2, b"")), "can be read"),
    ("coco-videos", "bomb", in_file(PNG, png(60_000, 60_000, 8, 2, bytes(9))), "decompression bomb"),
    ("coco-videos", "label-size", lambda root: save_array(root / PNG, np.zeros((9, 8, 3))), "is 8x9, but its frame is"),
    (
        "coco",
        "panoptic",
        in_json(lambda c: c.update(annotations=[{"segments_info": []}]), INSTANCES),
        "is COCO panoptic",
    ),
    ("coco", "no-categories", in_json(lambda c: c.pop("categories"), INSTANCES), "'categories' is missing"),
    ("coco", "one-name", in_json(lambda c: c["categories"][1].update(name="dog"), INSTANCES), "one class 'dog'"),
    ("coco", "one-category", in_json(lambda c: c["categories"][1].update(id=18), INSTANCES), "with the id 18"),
    ("coco", "color", in_json(lambda c: c["categories"][1].update(color=[1, 2, 256]), INSTANCES), "0 to 255"),
    ("coco", "category", in_object(category_id=1), "has no category 1"),
    ("coco", "same-id", in_object(id=1), "two annotations with the id 1"),
    ("coco", "climbs", in_json(lambda c: c["images"][0].update(file_name="../images/b.jpg"), INSTANCES), UP),
    ("coco", "size", in_json(lambda c: c["images"][0].update(width=47), INSTANCES), "says that b.jpg is 47x48"),
    ("coco", "gone", all_gone("images"), "pictures that are not in .*: all 2"),
    ("coco", "odd", polygon(1, 2, 3, 4, 5, 6, 7), "must be a list of x, y"),
    ("coco", "letters", polygon(1, 2, 3, 4, 5, "6"), "must be a list of x, y"),
    ("coco", "far", polygon(1, 2, 3, 4, 5, 1e9), "has a point at 1000000000.0"),
    ("coco", "nan", polygon(1, 2, 3, 4, 5, float("nan")), "has a point at nan"),
    ("coco", "huge", polygon(1, 2, 3, 4, 5, 10**400), "has a point at 1000"),
    ("coco", "no-mask", in_json(lambda c: c["annotations"][1].pop("segmentation"), INSTANCES), "has no segmentation"),
    ("coco", "rle-size", runs([HEIGHT * WIDTH], height=47), "of \\[47, 64\\] rows and columns"),
    ("coco", "rle-short", runs([5, 5]), "do not add up"),
    ("coco", "rle-long", runs([5, 10**30]), "do not add up"),
    ("coco", "rle-negative", runs([-1, HEIGHT * WIDTH + 1]), "do not add up"),
    ("coco", "rle-text", runs("öö"), "do not add up"),
    ("coco", "rle-more", runs(PACKED + "ö"), "do not add up"),
    ("coco", "rle-cut", runs(PACKED + "o"), "do not add up"),
    ("coco", "rle-endless", runs("o" * 50), "do not add up"),
    ("coco", "rle-missing", runs(None), "'counts' must be a list"),
    ("kitti-step", "class", lambda root: save_array(root / MAP, np.full((HEIGHT, WIDTH, 3), 19)), "holds the id 19"),
    ("kitti-step", "gray", lambda root: save_array(root / MAP, regions(1, 2, 3)), "must be RGB"),
    ("kitti-step", "gone", lambda root: (root / "panoptic_maps/val/0002").rename(root / "0002"), "all 9"),
    ("davis", "rgb", lambda root: save_array(root / LABEL, channels(regions(1, 2, 3))), "0 and 255 in gray"),
    ("davis", "gray-ids", lambda root: save_array(root / LABEL, regions(0, 1, 2)), "0 and 255 in gray"),
    ("davis", "no-class", in_file("classes.csv", b"sequence,class\ndog,\n"), "a class for one of: dog; write the line"),
    ("davis", "no-column", in_file("classes.csv", b"sequence,kind\ndog,dog\n"), "'sequence,class' as its first line"),
    ("davis", "table", in_file("classes.csv", b"\xff\xfe"), "classes.csv: cannot be read"),
    ("davis", "no-labels", lambda root: (root / "labels/dog").rename(root / "dog"), "has no folders of labels"),
    ("folder", "id", lambda root: save_array(root / "labels/000000.png", regions(0, 1, 2)), "holds the id 2"),
    ("folder", "no-classes", lambda root: (root / "classes.json").unlink(), "classes.json: cannot be read"),
    ("folder", "no-class", in_file("classes.json", b"[]"), "has 0 classes"),
    (
        "folder",
        "thing",
        in_json(lambda c: c[0].update(is_thing="no"), "classes.json"),
        "'is_thing' must be true or false",
    ),
    (
        "folder",
        "color",
        in_json(lambda c: c[0].update(color="red"), "classes.json"),
        "three numbers from 0 to 255, not 'red'",
    ),
    ("folder", "no-images", lambda root: (root / "images").rename(root / "frames"), "has no folder images/"),
]

MAKE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "coco-videos": (make_coco_video, "panoptic"),
    "coco": (make_coco, "instance"),
    "kitti-step": (make_kitti, "panoptic"),
    "davis": (make_davis, "instance"),
    "folder": (make_folder, "semantic"),
}


@pytest.mark.parametrize(
    ("dataset", "spoil", "message"), [pytest.param(*b[::2], b[3], id="-".join(b[:2])) for b in BAD]
)
def test_bad_input_is_one_line_that_names_the_file(tmp_path: Path, dataset: str, spoil: Spoil, message: str) -> None:
    make, task = MAKE[dataset]
    root = make(tmp_path / "data")
    for stream in open_streams(dataset, request(root, task, every=1)):
        labels_of(stream)
    spoil(root)
    with pytest.raises(TttvError, match=message) as caught:
        for stream in open_streams(dataset, request(root, task, every=1)):
            labels_of(stream)
    line = str(caught.value)
    assert line.isprintable() and line.startswith(str(tmp_path)) and caught.value.exit_code == 1


def test_huge_json_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_file, "LARGEST_BYTES", 100)
    with pytest.raises(TttvError, match=r"instances.json: has \d+ bytes, more than 100; split it"):
        open_streams("coco", request(make_coco(tmp_path), "instance"))


# Real data


def test_the_layout_of_every_data_set_is_tested() -> None:
    elsewhere = {"camvid", "color-video", "lumiere"}  # In test_eval.py and test_film.py.
    assert set(DATASETS) == {*MAKE, *elsewhere}


def test_real_davis() -> None:
    streams = open_streams("davis", request(shared("data/davis16"), "instance", every=20))
    assert {stream.name: stream.classes[0].name for stream in streams}["car-shadow"] == "car"
    assert len(streams) == 6
    dog = next(stream for stream in streams if stream.name == "dog")
    label = np.array(Image.open(shared("data/davis16/labels/dog/00020.png")))
    truth = dog.truth("00020")
    assert isinstance(truth, Instances) and len(truth.objects) == 2 and truth.objects[1].is_crowd
    inside, around = (decode(instance.mask) for instance in truth.objects)
    assert (inside == (label > 0)).all() and (around == (label == 0)).all()
    assert dog.truth("00021") is None


def test_real_coco_masks_are_those_of_pycocotools(tmp_path: Path) -> None:
    path = shared("data/coco_small/annotations/instances.json")
    coco = COCO(path)
    numbers = sorted(coco.imgs)[::40]
    crowds = [annotation["image_id"] for annotation in coco.anns.values() if annotation["iscrowd"]]
    chosen = sorted({*numbers, *crowds[:3]})
    few = {
        "images": coco.loadImgs(chosen),
        "annotations": coco.loadAnns(coco.getAnnIds(chosen)),
        "categories": coco.dataset["categories"],
    }
    write_json(tmp_path / "instances.json", few)
    streams = open_streams("coco", request(tmp_path, "instance", images=path.parents[1] / "images"))
    assert [stream.name for stream in streams] == [Path(coco.imgs[number]["file_name"]).stem for number in chosen]
    assert streams[0].classes == tuple(COCO_PANOPTIC.values())[:80]
    categories = [category["id"] for category in coco.dataset["categories"]]
    for number, stream in zip(chosen, streams, strict=True):
        labels, expected = stream.truth(stream.name), coco.loadAnns(coco.getAnnIds(number))
        assert isinstance(labels, Instances)
        truth = labels.objects
        assert [categories[instance.class_id] for instance in truth] == [entry["category_id"] for entry in expected]
        assert [instance.is_crowd for instance in truth] == [bool(entry["iscrowd"]) for entry in expected]
        for instance, entry in zip(truth, expected, strict=True):
            assert (decode(instance.mask) == coco.annToMask(entry)).all()
    assert sum(annotation["iscrowd"] for annotation in few["annotations"]) >= 3


def test_real_coco_panoptic(tmp_path: Path) -> None:
    golden = json.loads(shared("golden/panoptic/gt.json").read_text())
    for image, annotation in zip(golden["images"], golden["annotations"], strict=True):
        root = tmp_path / str(image["id"])
        save_array(root / "images" / image["file_name"], np.zeros((image["height"], image["width"], 3)))
        write_json(root / "panoptic.json", {**golden, "images": [image], "annotations": [annotation]})
        shutil.copytree(shared("golden/panoptic/gt"), root / "panoptic")
        (stream,) = open_streams("folder", request(root, "panoptic"))
        truth = stream.truth(Path(image["file_name"]).stem)
        assert isinstance(truth, PanopticMap)
        categories = list(COCO_PANOPTIC)
        found = [
            (int((truth.ids == segment.id).sum()), categories[segment.class_id], int(segment.is_crowd))
            for segment in truth.segments
        ]
        listed = [(entry["area"], entry["category_id"], entry["iscrowd"]) for entry in annotation["segments_info"]]
        assert sorted(found) == sorted(listed)


def test_real_camvid() -> None:
    folder = shared("data/camvid/video_0016E5_15hz")
    truths = []
    for task in ("semantic", "panoptic", "instance"):
        (stream,) = open_streams("camvid", request(folder, task, wanted=InputSettings(max_frames=1)))
        (frame,) = stream.video.frames()
        truths.append(stream.truth(frame.name))
    classes, panoptic, instances = truths
    assert isinstance(classes, ClassMap) and isinstance(panoptic, PanopticMap) and isinstance(instances, Instances)
    derived = panoptic.class_map()
    differs = classes.ids != derived
    assert (derived[differs] == VOID).all() and 0 < int(differs.sum()) < 1000
    assert len(instances.objects) == sum(CAMVID[segment.class_id].is_thing for segment in panoptic.segments) > 1
    assert min(pixels for _, _, pixels in shown(instances.objects)) >= 20
