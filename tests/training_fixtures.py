"""A made-up drive to train on, and a recipe for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from conftest import TINY
from PIL import Image

from ttt_cli.training.augmentation import Augmentation
from ttt_cli.training.recipe import LookAheadSettings, Recipe, Schedule
from ttt_cli.training.sources import StillsSource


def make_drive(folder: Path) -> Path:
    """Six stills: sky above, road below, two cars on it."""
    for kind in ("images", "labels"):
        (folder / "drive" / kind).mkdir(parents=True)
    random = np.random.default_rng(0)
    for index in range(6):
        classes = np.zeros((80, 96), dtype=np.uint8)
        classes[40:] = 3
        classes[50:60, 10:30] = classes[50:60, 60:80] = 8
        classes[:4] = 11
        colors = np.array([[90, 130, 220], [100, 100, 100], [200, 30, 30]], dtype=np.uint8)
        image = colors[np.searchsorted([0, 3, 8], classes % 11)]
        image = (image + random.integers(0, 30, image.shape)).astype(np.uint8)
        Image.fromarray(image).save(folder / "drive" / "images" / f"{index:03d}.png")
        Image.fromarray(classes).save(folder / "drive" / "labels" / f"{index:03d}.png")
    return folder


def made_up_recipe(steps: int, look_ahead_steps: int = 0) -> Recipe:
    return Recipe(
        name="made-up",
        license="none",
        imagenet=False,
        sources=(StillsSource("camvid", "drive", held_out=2, gap=1),),
        model=TINY,
        augmentation=Augmentation(crop_height=64, crop_width=64),
        schedule=Schedule(steps=steps, batch=2, warmup_steps=2, learning_rate=2e-3, encoder_learning_rate=2e-3),
        look_ahead=LookAheadSettings(steps=look_ahead_steps),
    )
