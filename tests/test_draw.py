from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ttt_cli.core.classes import CAMVID, VOID, Class
from ttt_cli.core.errors import TttvError
from ttt_cli.draw.overlay import classes_in, overlay, palette_png, side_by_side

GRAY = torch.full((3, 120, 160), 100, dtype=torch.uint8)


def test_camvid_has_its_eleven_classes() -> None:
    assert [entry.name for entry in CAMVID if entry.is_thing] == ["car", "pedestrian", "bicyclist"]
    assert len({entry.color for entry in CAMVID}) == len(CAMVID) == 11


def test_pixels_are_tinted_and_void_is_left_alone() -> None:
    ids = torch.zeros(120, 160, dtype=torch.uint8)
    ids[:, 80:] = VOID
    drawn = overlay(GRAY, ids, CAMVID, alpha=0.5, legend=frozenset())
    assert drawn.shape == (120, 160, 3) and drawn.dtype == np.uint8
    assert drawn[10, 10].tolist() == [114, 114, 114]
    assert drawn[10, 100].tolist() == [100, 100, 100]
    assert (drawn[10, 79] > 150).all(), "the border is light"
    assert torch.equal(GRAY, torch.full((3, 120, 160), 100, dtype=torch.uint8)), "the frame is not drawn into"


@pytest.mark.parametrize(("alpha", "expected"), [(0.0, [100, 100, 100]), (1.0, [128, 0, 0])])
def test_alpha(alpha: float, expected: list[int]) -> None:
    drawn = overlay(GRAY, torch.ones(120, 160, dtype=torch.uint8), CAMVID, alpha=alpha, legend=frozenset())
    assert drawn[10, 10].tolist() == expected


def test_legend_lists_the_classes_of_the_frame_or_the_requested_classes() -> None:
    image, ids = torch.zeros(3, 360, 480, dtype=torch.uint8), torch.ones(360, 480, dtype=torch.uint8)

    def has(drawn: np.ndarray, id: int) -> bool:
        return bool((drawn == np.array(CAMVID[id].color)).all(axis=2).any())

    plain = overlay(image, ids, CAMVID)
    assert has(plain, 1) and not has(plain, 3)
    more = overlay(image, ids, CAMVID, legend=frozenset({1, 3}))
    assert has(more, 1) and has(more, 3)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (20, 300), (300, 20), (90, 120)])
def test_small_frames_and_many_classes(size: tuple[int, int]) -> None:
    classes = [Class(f"class number {number}", (number, number, number), False) for number in range(200)]
    ids = torch.arange(size[0] * size[1]).remainder(200).to(torch.uint8).reshape(size)
    assert overlay(torch.zeros(3, *size, dtype=torch.uint8), ids, classes).shape == (*size, 3)


def test_classes_in_leaves_void_out() -> None:
    assert classes_in(torch.tensor([[0, 3], [VOID, 3]], dtype=torch.uint8)) == {0, 3}


def test_side_by_side_keeps_both_and_labels_them() -> None:
    left, right = np.full((60, 100, 3), 50, np.uint8), np.full((60, 100, 3), 90, np.uint8)
    joined = side_by_side(left, right, ("before", "after \u2192"))
    assert joined.shape == (60, 200, 3)
    assert (joined[40:, :99] == 50).all() and (joined[40:, 101:] == 90).all()
    assert joined[:30, :99].max() > 200 and joined[:30, 101:].max() > 200
    assert side_by_side(left[:4, :6], right[:4, :6], ("a long label", "b")).shape == (4, 12, 3)


def test_palette_png_holds_ids_and_colors(tmp_path: Path) -> None:
    ids = torch.tensor([[0, 1, 10], [2, 3, VOID]], dtype=torch.uint8)
    palette_png(tmp_path / "a.png", ids, [entry.color for entry in CAMVID])
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "P" and np.array_equal(np.array(image), ids.numpy())
        colors = np.array(image.convert("RGB"))
    assert tuple(colors[0, 1]) == CAMVID[1].color and colors[1, 2].tolist() == [0, 0, 0]


def test_palette_png_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(TttvError, match=r"a\.png: cannot be written"):
        palette_png(tmp_path / "missing" / "a.png", torch.zeros(2, 2, dtype=torch.uint8), [])
    if Path("/dev/full").exists():
        (tmp_path / "a.png").symlink_to("/dev/full")
        with pytest.raises(TttvError, match=r"a\.png: cannot be written"):
            palette_png(tmp_path / "a.png", torch.zeros(2, 2, dtype=torch.uint8), [])


def test_overlay_is_fast() -> None:
    image = torch.randint(0, 256, (3, 360, 480), dtype=torch.uint8)
    ids = torch.arange(360)[:, None].div(33, rounding_mode="floor").expand(360, 480).to(torch.uint8).contiguous()
    overlay(image, ids, CAMVID)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        overlay(image, ids, CAMVID)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.1  # About 0.01 on an idle laptop core; the machines that run this are busy.
