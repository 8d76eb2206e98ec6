"""Corruptions of frames, `tttv eval --degrade`, streams of segments, and the recipes that list them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import error_of, noise_frames, video_of
from shared_data import shared
from shift_recipes import groups_of, open_stream, read_shifts, read_streams
from test_eval import drives, make_drive
from torch import Tensor

from ttt_cli.cli import main
from ttt_cli.core.errors import TttvError, UsageError
from ttt_cli.core.frame import Frame
from ttt_cli.core.labels import ClassMap
from ttt_cli.datasets.changes import Segment, joined
from ttt_cli.datasets.corruptions import CORRUPTIONS, DEVELOPMENT, SEVERITIES, SUITE
from ttt_cli.datasets.corruptions.layers import convolved, fractal, line_kernel
from ttt_cli.datasets.degrade import PLAIN, degraded, faded_in, parse_degradation
from ttt_cli.datasets.stream import Stream
from ttt_cli.video.reader import open_video

RECIPES = Path(__file__).parents[1] / "recipes"
SHIFTS = RECIPES / "shifts.toml"

NEW_IN_EVERY_FRAME = ("gaussian-noise", "shot-noise", "impulse-noise", "speckle-noise")
FALLING = ("snow", "rain")

# Mean absolute differences grow only within these severities. Saturation is lowered, then raised; water, then mud, is
# on the lens; ice takes the place of a picture that gets darker; there is as much fog in 3 as in 4, of other clouds.
GROWING = {
    "saturate": ((1, 2), (3, 4, 5)),
    "spatter": ((1, 2, 3), (4, 5)),
    "frost": ((1, 2, 3),),
    "fog": ((1, 2, 3), (2, 4, 5)),
}


CLOUDS = torch.stack([fractal(480, 1.5, f"channel {number}")[:360] for number in range(3)])


def picture() -> Tensor:
    """Colored clouds with the detail of a photograph, at the size that constants are for: uint8 RGB (3, 360, 480)."""
    return (CLOUDS * 255).to(torch.uint8)


def corrupted(name: str, severity: int = 3, index: int = 0) -> Tensor:
    return CORRUPTIONS[name](picture(), index, severity)


def difference(one: Tensor, other: Tensor) -> float:
    return float((one.float() - other.float()).abs().mean())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_is_a_function_of_picture_index_and_severity(name: str) -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    for severity in SEVERITIES:
        image = picture()
        result = CORRUPTIONS[name](image, 7, severity)
        assert result.shape == image.shape and result.dtype == torch.uint8 and result.is_contiguous()
        assert torch.equal(image, picture()), "the frame itself is not to change"
        assert torch.equal(result, CORRUPTIONS[name](image, 7, severity))
        assert not torch.equal(result, image)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("size", [(32, 200), (70, 33), (720, 400)])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_pictures_of_any_size(name: str, size: tuple[int, int]) -> None:
    for severity in (1, 5):
        assert CORRUPTIONS[name](torch.full((3, *size), 90, dtype=torch.uint8), 3, severity).shape == (3, *size)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_grows_with_its_severity(name: str) -> None:
    for severities in GROWING.get(name, (tuple(SEVERITIES),)):
        differences = [difference(corrupted(name, severity), picture()) for severity in severities]
        assert differences == sorted(differences) and differences[0] < differences[-1]


def test_less_of_the_picture_is_left_as_ice_grows() -> None:
    other = 255 - picture()
    left = [
        difference(corrupted("frost", severity), CORRUPTIONS["frost"](other, 0, severity)) for severity in SEVERITIES
    ]
    assert left == sorted(left, reverse=True) and left[-1] < left[0]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_what_changes_from_frame_to_frame(name: str) -> None:
    first, second = corrupted(name, index=0), corrupted(name, index=1)
    if name in NEW_IN_EVERY_FRAME:
        share = difference(first, second) / difference(first, picture())
        assert share > 0.9, "two frames should be as far apart as each is from the clean one"
    elif name in FALLING:
        assert not torch.equal(first, second)
    elif name == "fog":
        later = corrupted(name, index=20)
        assert 0 <= difference(first, second) < 0.1 * difference(first, picture())
        assert difference(first, later) > difference(first, second)
    else:
        assert torch.equal(first, second)


@pytest.mark.parametrize("name", FALLING)
def test_what_falls_is_the_same_some_pixels_lower(name: str) -> None:
    black = torch.zeros(3, 360, 480, dtype=torch.uint8)
    first, second = (CORRUPTIONS[name](black, index, 3)[0].float() for index in (0, 1))

    def likeness(shift: tuple[int, int]) -> float:
        return float(torch.corrcoef(torch.stack([first.roll(shift, (0, 1)).flatten(), second.flatten()]))[0, 1])

    fall = {"snow": (11, 4), "rain": (97, 17)}[name]
    assert likeness(fall) > 0.4
    assert likeness(fall) > 2 * abs(likeness((-fall[0], -fall[1])))


@pytest.mark.parametrize("name", ["defocus-blur", "motion-blur", "zoom-blur"])
def test_blur_leaves_things_where_their_labels_are(name: str) -> None:
    image = torch.zeros(3, 181, 181, dtype=torch.uint8)
    image[:, 86:95, 86:95] = 255
    light = CORRUPTIONS[name](image, 0, 3)[0].double()
    places = torch.arange(181).double()
    for dimension in (0, 1):
        assert abs(float((light.sum(dim=1 - dimension) * places).sum() / light.sum()) - 90) < 0.5


def test_fourier_convolution_repeats_the_edge() -> None:
    kernel = line_kernel(torch.ones(5).numpy(), 30)
    assert float(kernel.sum()) == pytest.approx(1)
    assert torch.allclose(convolved(torch.ones(1, 20, 30), kernel), torch.ones(1, 20, 30), atol=1e-5)


def test_the_groups_have_nothing_in_common() -> None:
    assert len(SUITE) == 15 and not set(SUITE) & set(DEVELOPMENT)
    assert not set(CORRUPTIONS) & set(PLAIN)
    assert set(CORRUPTIONS.values()) == {*SUITE.values(), *DEVELOPMENT.values()}


def test_a_degradation_can_come_on_the_way(clip: Path) -> None:
    video = open_video(clip)
    degradation = parse_degradation("fog:3")
    frames = list(faded_in(video, degradation, 0.2, 0.6).frames())
    clear = [frame.image for frame in video.frames()]
    changed = [
        float((frame.image.float() - image.float()).abs().mean()) for frame, image in zip(frames, clear, strict=True)
    ]
    assert changed[:2] == [0, 0] and 0 < changed[2] < changed[3] < changed[4]
    assert torch.equal(frames[-1].image, degradation.change(list(video.frames())[-1]))


def test_a_degradation_is_a_name_and_a_severity() -> None:
    assert parse_degradation("fog").title == parse_degradation("fog:3").title == "fog:3"
    assert parse_degradation("fog:5").file_name == "fog-5"
    assert parse_degradation("low-light").title == "low-light"
    frame = Frame(4, "4", 0.0, picture())
    assert torch.equal(parse_degradation("jpeg:2").change(frame), corrupted("jpeg", 2))
    assert torch.equal(parse_degradation("shot-noise").change(frame), corrupted("shot-noise", 3, index=4))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("smog", "'smog' is unknown; known: low-light, old-film, gaussian-noise, .*, posterize"),
        ("fog:6", "severity of fog must be one of 1, 2, 3, 4, 5, not '6'"),
        ("fog:", "severity of fog must be one of 1, 2, 3, 4, 5, not ''"),
        ("fog:٣", "severity of fog must be"),
        ("low-light:3", "low-light has no severities"),
        ("old-film:", "old-film has no severities"),
        ("", "'' is unknown"),
    ],
)
def test_a_wrong_degradation_is_a_usage_error(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_degradation(text)


def test_the_command_degrades(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_drive(tmp_path / "drive")
    monkeypatch.chdir(tmp_path)
    arguments = ["eval", "--dataset", "camvid", "--gt", "drive", "--weights", str(tiny_weights), "--method", "joint"]
    assert main([*arguments, "--degrade", "fog", "--videos"]) == 0
    assert "drive fog:3: mIoU" in capsys.readouterr().out
    folder = Path("runs/eval-camvid-fog-3")
    assert {row["stream"] for row in json.loads((folder / "metrics.json").read_text())["summary"]} == {"drive fog:3"}
    assert [path.name for path in folder.glob("*.mp4")] == ["drive fog-3-joint.mp4"]
    assert main([*arguments, "--degrade", "fog:9"]) == 2
    assert "severity of fog" in error_of(capsys)


def test_labels_and_clean_frames_are_kept(tmp_path: Path) -> None:
    (stream,) = drives(make_drive(tmp_path / "drive"))
    foggy = degraded(stream, parse_degradation("fog:3"))
    assert foggy.truth is stream.truth and foggy.name == f"{stream.name} fog:3"
    for before, after in zip(stream.video.frames(), foggy.video.frames(), strict=True):
        assert after.clean is not None and torch.equal(after.clean, before.image)


def test_a_stream_is_joined_of_segments() -> None:
    frames = noise_frames(4)
    truths = {frame.name: ClassMap(torch.full((48, 64), frame.index).numpy()) for frame in frames}
    stream = Stream("drive", (), video_of(frames), truths.get)
    segments = [Segment(0, 1), Segment(2, 3, "impulse-noise:5"), Segment(3, 2, "low-light"), Segment(1, 0)]
    result = joined(stream, segments)
    shown = list(result.video.frames())
    assert [frame.name for frame in shown] == [f"{position:06d}" for position in (0, 1, 2, 3, 3, 2, 1, 0)]
    assert [frame.index for frame in shown] == list(range(8))
    assert [frame.seconds for frame in shown] == [index / 10 for index in range(8)]
    assert result.video.length == 8
    assert [frame.clean is not None for frame in shown] == [False] * 2 + [True] * 4 + [False] * 2
    assert torch.equal(shown[2].image, CORRUPTIONS["impulse-noise"](frames[2].image, 2, 5)), "the new index is the seed"
    assert all(torch.equal(frame.image, frames[int(frame.name)].image) for frame in (*shown[:2], *shown[6:]))
    assert result.truth(shown[4].name) is truths["000003"]

    few = joined(stream, segments, every=3)
    assert [frame.index for frame in few.video.frames()] == [0, 3, 6]
    assert few.video.length == 3 and few.video.fps == stream.video.fps / 3
    assert [frame.index for frame in joined(stream, segments, 3, max_frames=2).video.frames()] == [0, 3]
    with pytest.raises(TttvError, match="drive: has no frame 4, only 4 frames"):
        list(joined(stream, [Segment(3, 4)]).video.frames())
    with pytest.raises(UsageError, match="is unknown"):
        joined(stream, [Segment(0, 1, "smog")])


def test_the_suite_has_every_corruption_twice_and_means_for_its_groups() -> None:
    recipes = read_streams(SHIFTS)
    assert {recipe.degrade for recipe in recipes} == {
        "",
        "low-light",
        *(f"{name}:{severity}" for name in SUITE for severity in (3, 5)),
    }
    assert {recipe.family for recipe in recipes} == {"noise", "blur", "weather", "digital", "light", "real"}
    groups = groups_of(recipes)
    assert len(groups["all"]) == len({recipe.name for recipe in recipes}) == len(recipes) == 34
    assert sorted(groups["seen"] + groups["never seen"]) == sorted(groups["all"])
    assert "night" in groups["seen"] and "changing" in groups["never seen"]
    assert groups_of(read_streams(RECIPES / "streams.toml")).keys() == {"all"}


def test_some_streams_of_a_recipe() -> None:
    assert [recipe.name for recipe in read_streams(SHIFTS, ["fog:5", "day"])] == ["day", "fog:5"]
    with pytest.raises(UsageError, match=r"has no stream 'fog:4'; known: day; drive"):
        read_streams(SHIFTS, ["fog:4"])


def test_settings_are_tuned_on_the_development_group_only() -> None:
    shifts = read_shifts(RECIPES / "development.toml")
    assert list(shifts) == [f"{name}:{severity}" for name in DEVELOPMENT for severity in (3, 5)]


def test_every_stream_of_the_suite_opens() -> None:
    data = shared("data")
    for recipe in read_streams(SHIFTS):
        stream = open_stream(recipe, data, every=50)
        frame = next(stream.video.frames())
        assert frame.image.shape == (3, 360, 480) and stream.name == recipe.name
        assert stream.truth(frame.name) is not None
    (changing,) = read_streams(SHIFTS, ["changing"])
    stream = open_stream(changing, data, every=40)
    assert [frame.index for frame in stream.video.frames()] == [0, 40, 80, 120, 160]
    assert [frame.clean is not None for frame in stream.video.frames()] == [False, False, True, True, False]
    assert open_stream(changing, data).video.length == 200
