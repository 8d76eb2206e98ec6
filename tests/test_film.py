"""Old films: title cards and borders stay gray and are not trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import picture, save_frames, video_of
from shared_data import shared
from torch import Tensor

from ttt_cli.cli import main
from ttt_cli.core.area import Area
from ttt_cli.core.color import gray_of
from ttt_cli.core.errors import UsageError
from ttt_cli.core.frame import Frame
from ttt_cli.core.labels import Chroma
from ttt_cli.model.opening import open_weights
from ttt_cli.run.overrides import AdaptationOverrides, Overrides, TaskOverrides
from ttt_cli.run.request import RunRequest
from ttt_cli.run.runner import run_video
from ttt_cli.run.settings import resolve
from ttt_cli.run.steps import Step
from ttt_cli.tasks.film import is_title_card, picture_area
from ttt_cli.video.reader import open_video

Capture = pytest.CaptureFixture[str]
CPU = torch.device("cpu")
BORDERED = Area(8, 16, 48, 64)


def title_card() -> Tensor:
    image = torch.zeros(3, 64, 96, dtype=torch.uint8)
    image[:, 24:28, 16:80] = 230
    return image


def bordered(seed: int = 0) -> Tensor:
    """uint8 (3, 64, 96): a picture with a black border."""
    image = torch.zeros(3, 64, 96, dtype=torch.uint8)
    BORDERED.of(image)[:] = BORDERED.of(picture(seed)).clamp(min=90)
    return image


def frames_of(images: list[Tensor]) -> list[Frame]:
    return [Frame(index, f"{index:06d}", index / 10, image) for index, image in enumerate(images)]


def test_letters_on_ink_are_a_title_card() -> None:
    assert is_title_card(title_card()) and is_title_card(torch.zeros(3, 64, 96, dtype=torch.uint8))
    assert is_title_card((title_card().float() / 2).to(torch.uint8)), "fading"
    assert not is_title_card(picture()) and not is_title_card(bordered())


def test_the_picture_is_found_within_its_border() -> None:
    video = video_of(frames_of([title_card()] * 30 + [bordered(seed) for seed in range(30)]))
    assert picture_area(video, "auto") == BORDERED
    assert picture_area(video, "none") is None
    assert picture_area(video, "40x32+2+4") == Area(4, 2, 32, 40)
    assert picture_area(video_of(frames_of([picture()])), "auto") is None
    assert picture_area(video_of(frames_of([title_card()])), "auto") is None
    with pytest.raises(UsageError, match="96x64 pixels only"):
        picture_area(video, "97x64+0+0")


def test_real_film() -> None:
    video = open_video(shared("data/clips/lumiere.mp4"))
    assert [frame.index for frame in video.frames() if is_title_card(frame.image)] == list(range(202))
    area = picture_area(video, "auto")
    assert area is not None
    for found, true in zip(area, (39, 44, 281, 394), strict=True):
        assert abs(found - true) <= 4


def test_borders_and_title_cards_stay_gray(color_weights: Path, tmp_path: Path) -> None:
    source = save_frames([title_card()] * 2 + [bordered(seed) for seed in range(3)], tmp_path / "film")
    weights = open_weights(str(color_weights))
    overrides = Overrides(task=TaskOverrides(task="colorization"), adaptation=AdaptationOverrides(cuts="reset"))
    settings = resolve(weights, None, overrides, CPU)
    steps: list[Step] = []
    report = run_video(
        RunRequest(str(source), weights, settings, CPU, tmp_path / "out"), lambda video, done: None, steps.append
    ).report

    assert [step.result.loss is None for step in steps] == [True, True, False, False, False]
    for step in steps:
        assert isinstance(step.labels, Chroma) and step.labels.area == BORDERED
        assert bool(step.labels.ab.any()) == (step.result.loss is not None)
    assert report.gray_frames == 2 and report.cuts == [2]
    assert len(report.warnings) == 1 and "own colors are not used" in report.warnings[0]


def test_a_film_of_title_cards_plays_and_is_reported(color_weights: Path, tmp_path: Path) -> None:
    source = save_frames([title_card()] * 3, tmp_path / "cards")
    out = tmp_path / "out"
    arguments = ["colorize", str(source), "--weights", str(color_weights)]
    assert main([*arguments, "--out", str(out)]) == 0
    (warning,) = json.loads((out / "run.json").read_text())["warnings"]
    assert "looks like a title card" in warning
    assert len(list(open_video(str(out / "overlay.mp4")).frames())) == 3


def test_any_color_video_can_be_evaluated(color_weights: Path, tmp_path: Path, capsys: Capture) -> None:
    for name in ("b", "a"):
        (tmp_path / "videos").mkdir(exist_ok=True)
        save_frames([picture(seed) for seed in range(3)], tmp_path / "videos" / name)
    arguments = ["eval", "--dataset", "color-video", "--gt", str(tmp_path / "videos"), "--weights", str(color_weights)]
    assert main([*arguments, "--out", str(tmp_path / "out"), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["score"] == "PSNR" and content["unit"] == "dB"
    joint = next(row for row in content["summary"] if row["method"] == "joint" and row["stream"] == "all")
    assert 0 < joint["pooled"] < 100 and joint["details"]["flicker"] > 0
    assert [record["stream"] for record in content["records"]][:3] == ["a", "b", "all"]


def test_a_film_without_colors_has_no_psnr(color_weights: Path, tmp_path: Path, capsys: Capture) -> None:
    films = tmp_path / "films"
    films.mkdir()
    save_frames([gray_of(bordered(seed)) for seed in range(3)], films / "Repas de bébé")
    save_frames([picture()], films / "holiday")
    arguments = ["eval", "--dataset", "lumiere", "--gt", str(films), "--weights", str(color_weights)]
    assert main([*arguments, "--seeds", "2", "--out", str(tmp_path / "out"), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    row = content["summary"][-1]
    assert row["stream"] == "Baby's Meal" and row["pooled"] is None and row["details"]["SSIM"] is None
    assert row["details"]["flicker"] > 0 and row["details_deviation"]["flicker"] > 0
    assert row["deviation"] is None and row["details_deviation"]["SSIM"] is None
    assert content["records"][-1]["frames_scored"] == 0 and "nan" not in (tmp_path / "out" / "metrics.tex").read_text()
    assert main(["report", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert f"{row['details']['flicker']:.3f} ± " in page and "at a glance" not in page
    capsys.readouterr()
    strange, missing, length = content["warnings"][:3]
    assert "1 of 2 videos are none" in strange and "9 of the ten films are missing" in missing
    assert "lasts 0 s, Baby's Meal 41 s" in length

    (films / "Repas de bébé").rename(films / "lunch")
    assert main([*arguments, "--out", str(tmp_path / "other")]) == 1
    assert "has none of the ten films" in capsys.readouterr().err
