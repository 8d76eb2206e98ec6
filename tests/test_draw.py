"""Pictures can be read: colors differ, the video stays visible, and nothing covers it."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np
import palette as palette_benchmark
import pytest
import torch
from palette import ciede2000, lab, nearest
from PIL import Image
from torch import Tensor

from ttt_cli.core.cityscapes_classes import CITYSCAPES
from ttt_cli.core.classes import CAMVID, VOID, Class
from ttt_cli.core.errors import TttvError
from ttt_cli.core.labels import Chroma, ClassMap, Instance, Instances, encode
from ttt_cli.draw.drawing import Drawing, Pane
from ttt_cli.draw.legend import Legend
from ttt_cli.draw.lift import Lift
from ttt_cli.draw.overlay import overlay, palette_png, shares_of
from ttt_cli.draw.paint import paint
from ttt_cli.draw.palette import distinct
from ttt_cli.draw.text import BRIGHT, DARK, FAINT, shortened
from ttt_cli.draw.timeline import MOST_BARS, ROWS, Moment, Timeline
from ttt_cli.draw.tracks import Tracks
from ttt_cli.video.settings import OutputSettings

GRAY = torch.full((3, 120, 160), 100, dtype=torch.uint8)


def halves(left: int, right: int) -> Tensor:
    """A class map of GRAY's size with a class on each side."""
    ids = torch.full((120, 160), left, dtype=torch.uint8)
    ids[:, 80:] = right
    return ids


def contrast(first: tuple[int, int, int], second: tuple[int, int, int]) -> float:
    """The contrast of two colors, 1..21, by WCAG 2."""

    def luminance(color: tuple[int, int, int]) -> float:
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in color)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    brighter, darker = sorted((luminance(first), luminance(second)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def has(drawn: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool((drawn == np.array(color)).all(axis=2).any())


def test_camvid_has_its_eleven_classes() -> None:
    assert [kind.name for kind in CAMVID if kind.is_thing] == ["car", "pedestrian", "bicyclist"]
    assert len({kind.color for kind in CAMVID}) == len(CAMVID) == 11


# Pairs of Lab colors and their differences that Sharma, Wu and Dalal published to check implementations with.
@pytest.mark.parametrize(
    ("first", "second", "difference"),
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
        ((50, 0, 0), (50, -1, 2), 2.3669),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_ciede2000(first: tuple[float, ...], second: tuple[float, ...], difference: float) -> None:
    assert float(ciede2000(np.array(first), np.array(second))) == pytest.approx(difference, abs=1e-4)


def test_classes_can_be_told_apart_over_any_ground() -> None:
    grounds = palette_benchmark.GROUNDS.values()
    ours, official = (
        [nearest(classes, OutputSettings.alpha, ground)[0] for ground in grounds]
        for classes in (distinct(CAMVID), CAMVID)
    )
    assert min(ours) >= 20 > min(official)
    of_cityscapes = [nearest(distinct(CITYSCAPES), OutputSettings.alpha, ground)[0] for ground in grounds]
    assert min(of_cityscapes) >= 12 > min(nearest(CITYSCAPES, OutputSettings.alpha, ground)[0] for ground in grounds)
    assert lab(np.array([[255, 255, 255]]))[0, 0] == pytest.approx(100, abs=0.01)


def test_other_classes_keep_the_colors_of_their_data_set() -> None:
    classes = (*CAMVID, Class("zebra", (1, 2, 3), True))
    assert distinct(classes) == classes
    assert [kind.name for kind in distinct(CITYSCAPES)] == [kind.name for kind in CITYSCAPES]


def test_text_can_be_read() -> None:
    assert contrast(BRIGHT, DARK) > 12 and contrast(FAINT, DARK) > 7
    assert all(contrast(color, DARK) > 4.5 for color in ROWS.values())
    assert shortened("a long name of a class", 14, 80).endswith("...")
    assert shortened("car", 14, 80) == "car" and shortened("car", 14, 1) == ""


def test_pixels_are_tinted_and_outlined_and_void_is_left_alone() -> None:
    drawn = overlay(GRAY, halves(0, VOID), CAMVID, alpha=0.5)
    assert drawn.shape == (120, 160, 3) and drawn.dtype == np.uint8
    assert drawn[10, 10].tolist() == [114, 114, 114]
    assert drawn[10, 100].tolist() == [100, 100, 100]
    assert drawn[10, 79].tolist() == list(CAMVID[0].color), "regions are outlined in their own color"
    assert torch.equal(GRAY, torch.full((3, 120, 160), 100, dtype=torch.uint8)), "the frame is not drawn into"


@pytest.mark.parametrize(("alpha", "expected"), [(0.0, [100, 100, 100]), (1.0, [128, 0, 0])])
def test_alpha(alpha: float, expected: list[int]) -> None:
    drawn = overlay(GRAY, torch.ones(120, 160, dtype=torch.uint8), CAMVID, alpha=alpha)
    assert drawn[10, 10].tolist() == expected
    assert alpha or (overlay(GRAY, halves(0, 1), CAMVID, alpha=0.0) == 100).all(), "nor are there outlines"


def test_shares_leave_void_out() -> None:
    ids = torch.tensor([[0, 3], [VOID, 3]], dtype=torch.uint8)
    assert np.flatnonzero(shares_of(ids)).tolist() == [0, 3]
    assert shares_of(ids)[[0, 3]].tolist() == [0.25, 0.5] and shares_of(ids).sum() == 0.75


@pytest.mark.parametrize("layout", ["overlay", "compare", "panes"])
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (20, 300), (300, 20), (90, 120), (360, 480)])
def test_pictures_of_any_size_show_the_whole_frame(layout: str, size: tuple[int, int]) -> None:
    classes = [Class(f"class number {number}", (number, number, number), False) for number in range(200)]
    labels = ClassMap(torch.arange(size[0] * size[1]).remainder(200).to(torch.uint8).reshape(size))
    settings = OutputSettings(layout=layout, alpha=0.0, lift=False)  # type: ignore[arg-type]
    drawing = Drawing(classes, settings, 0.5, size, length=3)
    panes = [Pane("video", None), Pane("fixed", labels), Pane("adapted", labels)]
    shown = {"overlay": panes[2:], "compare": panes[1:], "panes": panes}[layout]
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    drawn = drawing.picture(image, shown, Moment(1.0, None, False))
    assert drawn.shape == (*drawing.size, 3) and drawn.dtype == np.uint8
    wide, high = size[1], size[0]
    top = next(row for row in range(len(drawn)) if np.array_equal(drawn[row, :wide].T, image.numpy()[:, 0]))
    for index in range(len(shown)):
        left = index * (wide + 2)
        assert np.array_equal(drawn[top : top + high, left : left + wide].transpose(2, 0, 1), image.numpy())


def test_the_legend_lists_classes_that_were_seen_and_keeps_its_size() -> None:
    image, size = torch.zeros(3, 360, 480, dtype=torch.uint8), (360, 480)
    drawing = Drawing(CAMVID, OutputSettings(lift=False, palette="official"), 0.5, size)
    first, second = (
        drawing.picture(image, [Pane("", ClassMap(torch.full(size, id, dtype=torch.uint8)))])[360:] for id in (1, 3)
    )
    assert has(first, CAMVID[1].color) and not has(first, CAMVID[3].color)
    assert has(second, CAMVID[1].color) and has(second, CAMVID[3].color)
    assert first.shape == second.shape
    plain = Drawing(CAMVID, OutputSettings(labels=False), 0.5, size)
    assert plain.size == size


def test_a_legend_without_room_for_all_shows_what_covers_most() -> None:
    classes = [Class(f"thing {number}", (number, 255 - number, 7), False) for number in range(100)]
    legend = Legend(classes, 320, 1000, 12, predictions=1)
    shares = np.linspace(0.0, 1.0, VOID)
    drawn = legend.draw([shares])
    shown = [kind for kind in classes if has(drawn, kind.color)]
    assert shown == classes[-len(shown) :] and 3 <= len(shown) < 30


def test_the_timeline_does_not_grow_and_shows_the_latest_values() -> None:
    known, unknown = Timeline(400, 12, 1000), Timeline(400, 12, None)
    for timeline in (known, unknown):
        for index in range(3 * MOST_BARS + 5):
            drawn = timeline.draw(Moment(1.0, 0.5, index % 2 == 0))
        assert drawn.shape == (timeline.height, 400, 3)
        assert len(timeline.state()["_bars"]) <= MOST_BARS
        assert sum(bar[0] for bar in timeline.state()["_bars"]) == 3 * MOST_BARS + 5
        assert all(has(drawn, color) for color in ROWS.values())
    longer = Timeline(400, 12, 10)
    for _ in range(45):
        longer.draw(Moment(0.0, None, False))
    assert sum(bar[0] for bar in longer.state()["_bars"]) == 45


def test_dark_frames_are_brightened_slowly_and_others_are_left_alone() -> None:
    lift = Lift()
    assert lift.lifted(GRAY) is GRAY
    dark = torch.full((3, 64, 64), 12, dtype=torch.uint8)
    values = [int(lift.lifted(dark)[0, 0, 0]) for _ in range(30)]
    assert values == sorted(values) and values[0] < 20 and values[-1] > 70
    again = Lift()
    again.resume(lift.state())
    assert torch.equal(again.lifted(dark), lift.lifted(dark))
    assert Lift().lifted(torch.zeros(3, 8, 8, dtype=torch.uint8)).max() == 0


def test_colors_fill_the_panes_of_a_film() -> None:
    drawing = Drawing((), OutputSettings(layout="compare"), 0.5, (120, 160))
    blue = Chroma(torch.stack([torch.zeros(4, 4), torch.full((4, 4), -60.0)]))
    drawn = drawing.picture(GRAY, [Pane("fixed", Chroma(torch.zeros(2, 4, 4))), Pane("adapted", blue)])
    assert drawn.shape == (*drawing.size, 3)
    left, right = drawn[-60, 80].astype(int), drawn[-60, 162 + 80].astype(int)
    assert abs(left - left.mean()).max() <= 2 and right[2] > right[0] + 60


def box(top: int, left: int, size: int = 20) -> Instance:
    mask = np.zeros((120, 160), bool)
    mask[top : top + size, left : left + size] = True
    return Instance(8, encode(mask), 0.9)


def test_an_object_has_one_color_in_both_panes() -> None:
    tracks, fixed_tracks = Tracks(frozenset({8}), 0.5), Tracks(frozenset({8}), 0.5, 1001)
    for shift in range(4):
        adapted = tracks.numbered(Instances((box(10, 10 + shift), box(60, 100)), (120, 160)))
        fixed = fixed_tracks.numbered(Instances((box(60, 101), box(11, 12 + shift), box(90, 20)), (120, 160)), adapted)
        assert isinstance(adapted, Instances) and isinstance(fixed, Instances)
        assert [instance.number for instance in adapted.objects] == [1, 2]
        assert [instance.number for instance in fixed.objects] == [2, 1, 1001]
    alone = fixed_tracks.numbered(Instances((box(60, 101), box(90, 20)), (120, 160)), Instances((), (120, 160)))
    assert isinstance(alone, Instances)
    assert [instance.number for instance in alone.objects] == [2, 1001], "what only the fixed model sees goes on"


def test_a_name_stands_on_what_is_seen_of_its_object() -> None:
    behind, before = box(20, 20, 60), box(20, 20, 45)
    drawn = paint(Instances((before, behind), (120, 160)), CAMVID, 0.5)
    for tag in drawn.tags:
        assert drawn.colors[int(drawn.ids[tag.y, tag.x])].color == tag.color
    assert len({(tag.x, tag.y) for tag in drawn.tags}) == 2
    hidden = paint(Instances((box(20, 20, 60), box(30, 30, 10)), (120, 160)), CAMVID, 0.5)
    assert len(hidden.tags) == 1, "an object that another one hides has no name"


def test_objects_have_shades_of_their_class() -> None:
    objects = tuple(box(0, 40 * index, 30) for index in range(4))
    numbered = Tracks(frozenset({8}), 0.5).numbered(Instances(objects, (120, 160)))
    colors = [kind.color for kind in paint(numbered, distinct(CAMVID), 0.5).colors[len(CAMVID) :]]
    assert len(set(colors)) == 4
    assert all(ciede2000(*lab(np.array(pair))) > 3 for pair in itertools.combinations(colors, 2))


def test_palette_png_holds_ids_and_colors(tmp_path: Path) -> None:
    ids = torch.tensor([[0, 1, 10], [2, 3, VOID]], dtype=torch.uint8)
    palette_png(tmp_path / "a.png", ids, [kind.color for kind in CAMVID])
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


def test_drawing_is_fast() -> None:
    image = torch.randint(0, 256, (3, 360, 480), dtype=torch.uint8)
    ids = torch.arange(360)[:, None].div(33, rounding_mode="floor").expand(360, 480).to(torch.uint8).contiguous()
    drawing = Drawing(CAMVID, OutputSettings(), 0.5, (360, 480))
    seconds = []
    for _ in range(6):
        started = time.perf_counter()
        drawing.picture(image, [Pane("", ClassMap(ids))])
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.1  # About 0.02 on an idle laptop core; the machines that run this are busy.
