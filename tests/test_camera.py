"""Changes to training pictures that another camera could have made."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from conftest import picture
from torch import Generator

from ttt_cli.training.augmentation import Augmentation, augment, draw_view
from ttt_cli.training.camera import CHANGES, Camera, seen_by_camera
from ttt_cli.training.stills import Still

ALWAYS = Camera(share=1.0, each=1.0)


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_changes_the_picture_and_keeps_its_form(change) -> None:  # type: ignore[no-untyped-def]
    image = picture()
    changed = change(image, ALWAYS, np.random.default_rng(0))
    assert changed.shape == image.shape
    assert changed.dtype == torch.uint8
    assert not torch.equal(changed, image)
    assert torch.equal(changed, change(image, ALWAYS, np.random.default_rng(0)))


def test_only_a_share_of_the_pictures_is_changed() -> None:
    generator, image = Generator().manual_seed(0), picture()
    camera = Camera(share=0.5, each=1.0)
    same = sum(torch.equal(seen_by_camera(image, camera, generator), image) for _ in range(60))
    assert 15 < same < 45
    before = generator.get_state()
    assert torch.equal(seen_by_camera(image, Camera(), generator), image)
    assert torch.equal(generator.get_state(), before)


def test_augmentation_shows_what_the_camera_saw() -> None:
    image = picture()
    nothing = torch.zeros(image.shape[-2:], dtype=torch.uint8)
    still = Still("still", image, nothing, nothing.int())
    plain = Augmentation(crop_height=64, crop_width=96, smallest_scale=1.0, largest_scale=1.0, color=0.0)
    same = augment(still, plain, draw_view(plain, Generator().manual_seed(1))).image
    assert torch.equal(same.sort().values, image.float().sort().values)
    dark = Camera(share=1.0, each=1.0, stops=(4.0, 4.0), noise=(1.0, 1.0))
    settings = dataclasses.replace(plain, camera=dark)
    changed = augment(still, settings, draw_view(settings, Generator().manual_seed(1))).image
    assert changed.mean() < 0.6 * image.float().mean()
