"""Made-up labels of three regions, and small data sets in the layouts that several tests read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from conftest import noise_frames
from PIL import Image
from pycocotools import mask as coco_mask

HEIGHT, WIDTH = 48, 64

LEFT = np.s_[:, :20]
"""The first region of the made-up labels; the second is MIDDLE, the third is the rest."""
MIDDLE = np.s_[10:40, 20:50]


def save_frames(folder: Path, count: int, suffix: str = ".png") -> None:
    folder.mkdir(parents=True)
    for frame in noise_frames(count, (HEIGHT, WIDTH)):
        Image.fromarray(frame.image.permute(1, 2, 0).numpy()).save(folder / f"{frame.name}{suffix}")


def save_array(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


def regions(left: int, middle: int, rest: int) -> np.ndarray:
    """int64 (H, W): one value each for LEFT, MIDDLE and the rest."""
    values = np.full((HEIGHT, WIDTH), rest)
    values[LEFT], values[MIDDLE] = left, middle
    return values


def channels(values: np.ndarray) -> np.ndarray:
    """COCO panoptic: R + 256 G + 65536 B."""
    return np.stack([values & 255, values >> 8 & 255, values >> 16], axis=-1)


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def change_json(path: Path, change: Callable[[Any], Any]) -> None:
    content = json.loads(path.read_text())
    change(content)
    write_json(path, content)


CLASSES = [
    {"name": "lawn", "color": [0, 200, 0], "is_thing": False},
    {"name": "hen", "color": [200, 100, 0], "is_thing": True},
]


def make_coco(root: Path) -> Path:
    """Two pictures of different sizes, with masks in every format that COCO uses."""
    for name, size in (("b.jpg", (HEIGHT, WIDTH)), ("a.jpg", (WIDTH, HEIGHT))):
        save_array(root / "images" / name, np.zeros((*size, 3)))
    square = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    square[5:15, 10:30] = 1
    packed = coco_mask.encode(square)["counts"].decode()
    runs = [10, 4, HEIGHT * WIDTH - 14]
    polygons = [[1, 1, 9, 9], [10, 10, 20, 10, 20, 20, 10, 20], [30, 30, 40, 30, 40, 40, 30, 40]]
    masks = [polygons, {"size": [HEIGHT, WIDTH], "counts": runs}, {"size": [HEIGHT, WIDTH], "counts": packed}]
    content = {
        "images": [
            {"id": 2, "file_name": "b.jpg", "height": HEIGHT, "width": WIDTH},
            {"id": 1, "file_name": "a.jpg", "height": WIDTH, "width": HEIGHT},
        ],
        "annotations": [
            {"id": number, "image_id": 2, "category_id": 18, "iscrowd": int(number == 1), "segmentation": one}
            for number, one in enumerate(masks)
        ],
        "categories": [{"id": 18, "name": "dog"}, {"id": 3, "name": "unicorn"}],
    }
    write_json(root / "annotations" / "instances.json", content)
    return root


def make_folder(root: Path) -> Path:
    save_frames(root / "images", 2)
    save_array(root / "labels" / "000000.png", regions(0, 1, 255))
    write_json(root / "classes.json", CLASSES)
    return root


def make_panoptic_folder(root: Path) -> Path:
    save_frames(root / "images", 2)
    save_array(root / "panoptic" / "000001.png", channels(regions(1, 2, 0)))
    segments = [{"id": 1, "category_id": 0}, {"id": 2, "category_id": 1}]
    content = {
        "images": [{"id": 1, "file_name": "000001.png", "height": HEIGHT, "width": WIDTH}],
        "annotations": [{"image_id": 1, "file_name": "000001.png", "segments_info": segments}],
    }
    write_json(root / "panoptic.json", content)
    write_json(root / "classes.json", CLASSES)
    return root
