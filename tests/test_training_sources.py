"""The data sets of stills for training: small copies in their exact layouts, what can be wrong, and real data."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from label_fixtures import (
    CLASSES,
    HEIGHT,
    LEFT,
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
from shared_data import shared

from ttt_cli.core.classes import VOID
from ttt_cli.core.errors import TttvError, UsageError
from ttt_cli.training.matching import mask_targets
from ttt_cli.training.sources import SOURCES, StillsSource, load_split
from ttt_cli.training.stills import KEPT_BYTES, Memory, Pool, Split, Still, Stills


def save_numbers(path: Path, values: np.ndarray) -> None:
    """A PNG of 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint16)).save(path)


def make_camvid(root: Path) -> Path:
    save_frames(root / "images", 2)
    for number in range(2):
        save_array(root / "labels" / f"{number:06d}.png", regions(3, 8, 11))
    return root


def make_pennfudan(root: Path) -> Path:
    save_frames(root / "images", 1)
    save_array(root / "labels" / "000000.png", regions(0, 1, 0))
    return root


def make_pictures(root: Path) -> Path:
    save_frames(root, 2)
    return root


def make_cityscapes(root: Path) -> Path:
    """Road (7), a car (26) or a group of cars, and the own car (1), which is void: one picture a city."""
    for split, city in (("train", "ulm"), ("train", "aachen"), ("val", "bonn")):
        stem = f"{city}_000000_000019"
        save_frames(root / "leftImg8bit" / split / city, 1)
        picture = root / "leftImg8bit" / split / city / "000000.png"
        picture.rename(picture.with_name(f"{stem}_leftImg8bit.png"))
        car = 26 if city == "ulm" else 26003
        save_array(root / "gtFine" / split / city / f"{stem}_gtFine_labelIds.png", regions(7, 26, 1))
        save_numbers(root / "gtFine" / split / city / f"{stem}_gtFine_instanceIds.png", regions(7, car, 1))
    return root


def make_ade20k(root: Path) -> Path:
    names = ["wall", "building, edifice", *(f"class{number}, thing" for number in range(3, 151))]
    for split, number in (("training", 2), ("validation", 1)):
        save_frames(root / "images" / split, number, ".jpg")
        for index in range(number):
            save_array(root / "annotations" / split / f"{index:06d}.png", regions(0, 1, 150))
    table = "".join(f"{number}\t0.1\t1\t1\t{name}\n" for number, name in enumerate(names, 1))
    (root / "objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tName\n" + table)
    return root


def make_whole_coco(root: Path) -> Path:
    """COCO with its splits: of the two pictures of `make_coco` one is labeled, with a crowd and two objects."""
    make_coco(root)
    (root / "images").rename(root / "train2017")
    (root / "annotations" / "instances.json").rename(root / "annotations" / "instances_train2017.json")
    return root


def make_coco_panoptic(root: Path) -> Path:
    save_frames(root / "val2017", 2, ".jpg")
    save_array(root / "annotations" / "panoptic_val2017" / "000001.png", channels(regions(7, 70000, 300)))
    segments = [
        {"id": 7, "category_id": 1, "iscrowd": 0},
        {"id": 70000, "category_id": 1, "iscrowd": 1},
        {"id": 300, "category_id": 187, "iscrowd": 0},
    ]
    content = {
        "images": [{"id": 1, "file_name": "000001.jpg", "height": HEIGHT, "width": WIDTH}],
        "annotations": [{"image_id": 1, "file_name": "000001.png", "segments_info": segments}],
        "categories": [{"id": 1, "name": "person", "isthing": 1}, {"id": 187, "name": "sky", "isthing": 0}],
    }
    write_json(root / "annotations" / "panoptic_val2017.json", content)
    return root


MAKE: dict[str, Callable[[Path], Path]] = {
    "camvid": make_camvid,
    "pennfudan": make_pennfudan,
    "cityscapes": make_cityscapes,
    "coco": make_whole_coco,
    "coco-panoptic": make_coco_panoptic,
    "ade20k": make_ade20k,
    "folder": make_folder,
    "pictures": make_pictures,
}


def split_of(kind: str, root: Path, split: str = "train") -> Split:
    return load_split([StillsSource(kind, root.name, split=split)], root.parent)


def stills_of(kind: str, root: Path, split: str = "train") -> list[Still]:
    return list(split_of(kind, root, split).trained.stills)


def named(split: Split, still: Still) -> list[tuple[str, int]]:
    """The name and the number of pixels of each mask."""
    things = frozenset(index for index, class_ in enumerate(split.classes) if class_.is_thing)
    classes, masks = mask_targets(still, things)
    return [(split.classes[index].name, int(mask.sum())) for index, mask in zip(classes.tolist(), masks, strict=True)]


def test_the_layout_of_every_data_set_is_tested() -> None:
    assert set(SOURCES) == set(MAKE)


@pytest.mark.parametrize("kind", MAKE)
def test_every_data_set_gives_stills_of_one_form(tmp_path: Path, kind: str) -> None:
    part = "val" if kind == "coco-panoptic" else "train"
    split = split_of(kind, MAKE[kind](tmp_path / "data"), part)
    assert len(split.trained.stills) > 0
    for still in split.trained.stills:
        size = still.image.shape[-2:]
        assert (still.image.dtype, still.image.shape[0]) == (torch.uint8, 3)
        assert (still.classes.dtype, still.classes.shape) == (torch.uint8, size)
        assert (still.instances.dtype, still.instances.shape) == (torch.int32, size)
        assert ((still.classes == VOID) | (still.classes < len(split.classes))).all()


def test_cityscapes(tmp_path: Path) -> None:
    split = split_of("cityscapes", make_cityscapes(tmp_path / "city"))
    assert len(split.classes) == 19 and sum(class_.is_thing for class_ in split.classes) == 8
    aachen, ulm = split.trained.stills
    assert (aachen.name, ulm.name) == ("aachen_000000_000019", "ulm_000000_000019")
    assert named(split, aachen) == [("road", 20 * HEIGHT), ("car", 900)]
    assert named(split, ulm) == [("road", 20 * HEIGHT)], "a group of cars is no object"
    assert (ulm.classes[MIDDLE] == 13).all() and (ulm.classes[:, 60:] == VOID).all()
    (bonn,) = stills_of("cityscapes", tmp_path / "city", "val")
    assert bonn.name == "bonn_000000_000019"


def test_cityscapes_copies_with_train_ids_alone(tmp_path: Path) -> None:
    root = make_cityscapes(tmp_path / "city")
    for path in root.glob("gtFine/*/*/*.png"):
        path.unlink()
        save_array(path.with_name(path.name.rpartition("_")[0] + "_labelTrainIds.png"), regions(0, 13, 255))
    split = split_of("cityscapes", root)
    assert named(split, split.trained.stills[1]) == [("road", 20 * HEIGHT), ("car", 900)]


def test_ade20k(tmp_path: Path) -> None:
    split = split_of("ade20k", make_ade20k(tmp_path / "ADEChallengeData2016"))
    assert [class_.name for class_ in split.classes[:3]] == ["wall", "building", "class3"]
    assert len(split.classes) == 150 and not any(class_.is_thing for class_ in split.classes)
    (first, _), (validated,) = split.trained.stills, stills_of("ade20k", tmp_path / "ADEChallengeData2016", "val")
    for still in (first, validated):
        assert (still.classes.numpy() == regions(VOID, 0, 149)).all()


def test_ade20k_without_names_numbers_its_classes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make_ade20k(tmp_path / "ade")
    (root / "objectInfo150.txt").unlink()
    assert [class_.name for class_ in split_of("ade20k", root).classes] == [str(number) for number in range(1, 151)]
    (record,) = caplog.records
    assert "objectInfo150.txt: there is no such file, so classes are numbered" in record.getMessage()


@pytest.mark.parametrize("make", [make_coco, make_whole_coco])
def test_coco_objects(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    split = split_of("coco", make(tmp_path / "coco"))
    (still,) = split.trained.stills
    assert still.name == "b" and [class_.name for class_ in split.classes] == ["dog", "unicorn"]
    assert sorted(named(split, still)) == [("dog", 150), ("dog", 200)], "the third annotation is a crowd"


def test_where_objects_overlap_the_smaller_one_is_on_top(tmp_path: Path) -> None:
    root = make_coco(tmp_path / "coco")

    def overlap(content: dict[str, list[dict[str, object]]]) -> None:
        small, large = content["annotations"][:2]
        small.update(iscrowd=0, segmentation=[[10, 10, 20, 10, 20, 20, 10, 20]], category_id=3)
        large.update(iscrowd=0, segmentation=[[0, 0, 40, 0, 40, 40, 0, 40]])
        content["annotations"] = [small, large]

    change_json(root / "annotations" / "instances.json", overlap)
    split = split_of("coco", root)
    assert named(split, split.trained.stills[0]) == [("dog", 1500), ("unicorn", 100)]


def test_coco_panoptic(tmp_path: Path) -> None:
    split = split_of("coco-panoptic", make_coco_panoptic(tmp_path / "coco"), "val")
    (still,) = split.trained.stills
    assert named(split, still) == [("person", 20 * HEIGHT), ("sky", WIDTH * HEIGHT - 20 * HEIGHT - 900)]
    assert (still.classes[MIDDLE] == VOID).all()


def test_a_folder_of_class_ids_and_one_of_panoptic_labels(tmp_path: Path) -> None:
    ids = split_of("folder", make_folder(tmp_path / "ids"))
    (still,) = ids.trained.stills
    assert named(ids, still) == [("lawn", 20 * HEIGHT), ("hen", 900)]
    panoptic = split_of("folder", make_panoptic_folder(tmp_path / "panoptic"))
    (still,) = panoptic.trained.stills
    assert still.name == "000001" and panoptic.classes == ids.classes
    assert named(panoptic, still) == [("lawn", 20 * HEIGHT), ("hen", 900)]
    assert (still.classes[LEFT] == 0).all()


def test_sources_must_agree_on_their_classes(tmp_path: Path) -> None:
    make_folder(tmp_path / "hens")
    make_folder(tmp_path / "more")
    change_json(tmp_path / "more" / "classes.json", lambda content: content[0].update(color=[1, 2, 3]))
    make_pictures(tmp_path / "unlabeled")
    sources = [StillsSource("pictures", "unlabeled"), StillsSource("folder", "hens"), StillsSource("folder", "more")]
    assert [class_.name for class_ in load_split(sources, tmp_path).classes] == [entry["name"] for entry in CLASSES]
    make_camvid(tmp_path / "drive")
    with pytest.raises(TttvError, match="drive and hens: are labeled with different classes"):
        load_split([StillsSource("folder", "hens"), StillsSource("camvid", "drive")], tmp_path)


def test_a_split_can_be_held_out_whole(tmp_path: Path) -> None:
    make_cityscapes(tmp_path / "city")
    sources = [
        StillsSource("cityscapes", "city"),
        StillsSource("cityscapes", "city", split="val", share=0, held_out=1),
    ]
    split = load_split(sources, tmp_path)
    assert len(split.trained.stills) == 2
    assert {name: [still.name for still in stills] for name, stills in split.held_out.items()} == {
        "city val": ["bonn_000000_000019"]
    }


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (StillsSource("kitti", "drive"), "kind 'kitti' is unknown; known: camvid, "),
        (StillsSource("camvid", "drive", split="val"), "camvid has no split 'val'; it has: train"),
        (StillsSource("camvid", "drive", share=0, held_out=1), "nothing to train on"),
    ],
)
def test_what_the_recipe_cannot_ask_for(tmp_path: Path, source: StillsSource, message: str) -> None:
    make_camvid(tmp_path / "drive")
    with pytest.raises(UsageError, match=message):
        load_split([source], tmp_path)


def test_holding_out_must_leave_something(tmp_path: Path) -> None:
    make_camvid(tmp_path / "drive")
    with pytest.raises(TttvError, match="drive: held_out = 1 and gap = 1 leave none of 2 stills"):
        load_split([StillsSource("camvid", "drive", held_out=1, gap=1)], tmp_path)


Spoil = Callable[[Path], object]
BAD: list[tuple[str, Spoil, str]] = [
    ("camvid", lambda root: (root / "labels" / "000001.png").unlink(), "000001.png: there is no such file; complete"),
    ("camvid", lambda root: shutil.rmtree(root / "images"), "images: no such folder of training images"),
    ("camvid", lambda root: save_array(root / "labels/000001.png", np.zeros((3, 3))), "is 3x3, but its frame is 64x48"),
    ("camvid", lambda root: (root / "images/000001.png").write_bytes(b""), "000001.png: is not an image"),
    ("pictures", lambda root: [path.unlink() for path in root.iterdir()], "has no pictures in it"),
    ("cityscapes", lambda root: shutil.rmtree(root / "leftImg8bit"), "train: has no CITY/NAME_leftImg8bit.png in it"),
    ("cityscapes", lambda root: shutil.rmtree(root / "gtFine"), "labelTrainIds.png: there is no such file"),
    ("coco", lambda root: (root / "train2017/b.jpg").unlink(), "b.jpg: there is no such file"),
    ("coco", lambda root: shutil.rmtree(root / "annotations"), "instances_train2017.json: cannot be read"),
    (
        "ade20k",
        lambda root: (root / "objectInfo150.txt").write_text("wall\nsky\n"),
        "no table with columns Idx and Name",
    ),
    ("ade20k", lambda root: (root / "objectInfo150.txt").write_text("Idx\tName\n1\twall\n"), "name the classes 1 to"),
    (
        "ade20k",
        lambda root: save_array(root / "annotations/training/000001.png", regions(0, 151, 0)),
        "holds the id 151",
    ),
    ("folder", lambda root: shutil.rmtree(root / "labels"), "labels: has no label PNGs named like the pictures"),
    ("folder", lambda root: (root / "classes.json").unlink(), "classes.json: cannot be read"),
]


@pytest.mark.parametrize(("kind", "spoil", "message"), [pytest.param(*bad, id=f"{bad[0]} {bad[2]}") for bad in BAD])
def test_bad_input_is_one_line_that_names_the_file(tmp_path: Path, kind: str, spoil: Spoil, message: str) -> None:
    root = MAKE[kind](tmp_path / "data")
    stills_of(kind, root)
    spoil(root)
    with pytest.raises(TttvError, match=message) as caught:
        stills_of(kind, root)
    line = str(caught.value)
    assert line.isprintable() and line.startswith(str(tmp_path)) and "--gt" not in line


def test_stills_are_read_when_they_are_asked_for_and_kept_while_there_is_room() -> None:
    asked: list[int] = []

    def reader(number: int) -> Callable[[], Still]:
        def read() -> Still:
            asked.append(number)
            ids = torch.zeros(4, 4, dtype=torch.uint8)
            return Still(str(number), torch.full((3, 4, 4), number, dtype=torch.uint8), ids, ids.int())

        return read

    size = 4 * 4 * (3 + 1 + 4)
    stills = Stills(Memory(2 * size), [reader(number) for number in range(4)])
    assert len(stills) == 4 and asked == []
    for _ in range(2):
        assert [int(still.image.max()) for still in stills] == [0, 1, 2, 3]
    assert asked == [0, 1, 2, 3, 2, 3]
    assert Memory().room_bytes == KEPT_BYTES


def test_statistics_of_very_many_stills_are_those_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ttt_cli.training.stills.LARGEST_SAMPLE", 4)

    def still(number: int) -> Still:
        ids = torch.full((4, 4), number % 2, dtype=torch.uint8)
        return Still(str(number), torch.zeros(3, 4, 4, dtype=torch.uint8), ids, ids.int())

    pool = Pool(Stills(Memory()))
    pool.add([lambda number=number: still(number) for number in range(9)], 1.0)  # type: ignore[misc]
    assert [still.name for still in pool.sample()] == ["0", "3", "6"]
    assert pool.pixel_share(2).tolist() == pytest.approx([2 / 3, 1 / 3])


def test_real_coco_objects() -> None:
    split = split_of("coco", shared("data/coco_small"))
    assert len(split.classes) == 80 and len(split.trained.stills) == 255, "three pictures have no objects"
    still = split.trained.stills[100]
    assert still.image.shape[-2:] == still.classes.shape
    objects = int(still.instances.unique().count_nonzero())
    assert 0 < objects == len(named(split, still))
    assert ((still.classes == VOID) == (still.instances == 0)).all()
