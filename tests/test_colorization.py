"""The task colorization: what the model sees, what it outputs, and how that is scored."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import COLOR, noise_frames, picture, save_frames, video_of
from shared_data import shared
from torch import Tensor
from torch.nn import functional
from torchmetrics.image.fid import FrechetInceptionDistance

from ttt_cli.adaptation.online import Adapter, adapt
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.cli import main
from ttt_cli.core.area import Area
from ttt_cli.core.color import colored, gray_of, lab_of
from ttt_cli.core.errors import TttvError, UsageError
from ttt_cli.core.frame import Frame
from ttt_cli.core.labels import Chroma, Picture
from ttt_cli.datasets.degrade import degraded, parse_degradation
from ttt_cli.datasets.old_film import old_film
from ttt_cli.datasets.stream import Stream
from ttt_cli.metrics import perceptual
from ttt_cli.metrics.color import HIGHEST_PSNR, ColorMetric, colorfulness
from ttt_cli.metrics.table import metric_from_json
from ttt_cli.model.opening import open_weights
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.run.overrides import Overrides, TaskOverrides
from ttt_cli.run.request import RunRequest
from ttt_cli.run.runner import run_video
from ttt_cli.run.settings import resolve
from ttt_cli.tasks.colorization import ColorizationTask
from ttt_cli.tasks.settings import TaskSettings
from ttt_cli.video import ffmpeg
from ttt_cli.video.reader import open_video
from ttt_cli.video.transforms import for_model

Capture = pytest.CaptureFixture[str]
CPU = torch.device("cpu")


def test_true_chroma_gives_the_picture_back() -> None:
    image = picture()
    small = functional.interpolate(lab_of(image)[None, 1:], size=(32, 48), mode="area")[0]
    near, gray = (
        float((result.float() - image).abs().mean()) for result in (colored(image, Chroma(small)), gray_of(image))
    )
    assert near < gray / 5
    assert torch.equal(colored(image, Chroma(torch.zeros(2, 16, 24))), gray_of(image))


def test_beyond_its_area_a_picture_is_gray() -> None:
    image, area = picture(), Area(8, 16, 40, 56)
    chroma = Chroma(torch.full((2, 10, 14), 30.0), area)
    colors, gray = colored(image, chroma), gray_of(image)
    assert not torch.equal(area.of(colors), area.of(gray))
    area.of(colors)[:] = area.of(gray)
    assert torch.equal(colors, gray)


def test_better_colors_have_a_better_score() -> None:
    image = picture()
    truth = functional.interpolate(lab_of(image)[None, 1:], size=(16, 24), mode="area")[0]
    scores = []
    for share in (0.0, 0.5, 1.0):
        metric = ColorMetric()
        for _ in range(2):
            metric.update(Chroma(truth * share), Picture(image))
        scores.append(metric.compute())
    assert scores[0].pooled < scores[1].pooled < scores[2].pooled
    assert scores[0].details["SSIM"] < scores[2].details["SSIM"] <= 1
    assert scores[0].details["SSIM"] == pytest.approx(scores[2].details["SSIM of gray"])
    assert scores[0].pooled == pytest.approx(scores[2].details["PSNR of gray"])
    assert scores[0].details["colorfulness"] == pytest.approx(0, abs=0.5)
    assert scores[2].details["colorfulness of the truth"] == pytest.approx(colorfulness(image.float()))
    assert scores[1].details["flicker"] == 0
    assert scores[1].pooled == scores[1].paper < HIGHEST_PSNR


def test_flicker_is_the_change_of_chroma() -> None:
    metric = ColorMetric()
    for value in (0.0, 3.0, -1.0):
        metric.update(Chroma(torch.full((2, 16, 24), value)), Picture(picture()))
    assert metric.compute().details["flicker"] == pytest.approx((3 + 4) / 2 * 2**0.5)


def test_the_model_sees_no_color() -> None:
    torch.manual_seed(0)
    model = TwoHeadedModel(COLOR, 0)
    task = ColorizationTask(())
    frames = noise_frames(3, (64, 96))
    gray = [dataclasses.replace(frame, image=gray_of(frame.image)) for frame in frames]
    chroma = []
    for input_frames in (frames, gray):
        adapter = Adapter(model, task, AdaptationSettings(), ReconstructionSettings(), CPU)
        video = for_model(video_of(input_frames), 360, task.preprocess)
        chroma.append([result.prediction.at_size((64, 96)) for result in adapt(video, adapter)])
    for colored_input, gray_input in zip(*chroma, strict=True):
        assert isinstance(colored_input, Chroma) and isinstance(gray_input, Chroma)
        assert colored_input.ab.shape == (2, 16, 24)
        assert torch.equal(colored_input.ab, gray_input.ab)


def test_the_film_keeps_its_lightness(color_weights: Path, tmp_path: Path) -> None:
    frames = save_frames([gray_of(picture())] * 3, tmp_path / "frames")
    arguments = ["colorize", str(frames), "--weights", str(color_weights)]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["frames.jsonl", "overlay.mp4", "run.json"]
    written = next(open_video(str(tmp_path / "out" / "overlay.mp4")).frames()).image
    difference = (lab_of(written)[0] - lab_of(gray_of(picture()))[0]).abs()
    assert float(difference.mean()) < 2, "but for the video's own compression"


def test_options_of_colorize(color_weights: Path, tmp_path: Path, capsys: Capture) -> None:
    frames = save_frames([picture(seed) for seed in range(3)], tmp_path / "frames")

    def colorize(*arguments: str, saturation: str = "1000") -> tuple[dict[str, Any], Tensor]:
        """The tiny model's chroma is almost zero, so it is amplified."""
        out = tmp_path / "-".join(["out", saturation, *arguments])
        command = ["colorize", str(frames), "--weights", str(color_weights), "--out", str(out), "--json"]
        assert main([*command, "--saturation", saturation, *arguments]) == 0
        return json.loads(capsys.readouterr().out), next(open_video(str(out / "overlay.mp4")).frames()).image

    plain, image = colorize()
    assert plain["settings"]["adaptation"]["method"] == "online" and plain["metrics"] is None
    assert "--gray-first" in plain["warnings"][0]
    assert lab_of(image)[1:].abs().mean() > 1
    _, gray = colorize(saturation="0")
    assert lab_of(gray)[1:].abs().mean() < 1
    _, part = colorize("--crop", "40x32+8+16")
    outside = lab_of(part)[1:]
    assert outside[:, 20:44, 12:44].abs().mean() > 1
    assert outside[:, :, 60:].abs().mean() < 1, "but for the video's own compression"
    smooth, _ = colorize("--smooth", "--gray-first", "--method", "joint")
    assert smooth["settings"]["adaptation"]["method"] == "joint+smoothing"
    assert smooth["warnings"] == ColorMetric.missing_metrics()
    assert list(smooth["metrics"]["methods"]) == ["joint+smoothing"]
    _, beside = colorize("--compare")
    assert beside.shape[-1] >= 2 * image.shape[-1]


def test_the_score_is_of_the_colors_shown(color_weights: Path, tmp_path: Path, capsys: Capture) -> None:
    frames = save_frames([picture(seed) for seed in range(2)], tmp_path / "frames")
    command = ["colorize", str(frames), "--weights", str(color_weights), "--method", "joint", "--gray-first", "--json"]
    colorfulness_of, shown = {}, {}
    for arguments in ((), ("--saturation", "1"), ("--saturation", "0"), ("--set", "task.saturation=1000")):
        out = tmp_path / "-".join(["out", *arguments])
        assert main([*command, "--out", str(out), *arguments]) == 0
        content = json.loads(capsys.readouterr().out)
        saturation = content["settings"]["task"]["saturation"]
        details = content["metrics"]["methods"]["joint"]["details"]
        colorfulness_of[saturation] = details["colorfulness"]
        shown[saturation] = float(lab_of(next(open_video(str(out / "overlay.mp4")).frames()).image)[1:].abs().mean())
    assert list(colorfulness_of) == [TaskSettings.saturation, 1.0, 0.0, 1000.0]
    assert colorfulness_of[0.0] == pytest.approx(0, abs=0.5) and shown[0.0] < 1
    assert colorfulness_of[1000.0] > colorfulness_of[TaskSettings.saturation] and shown[1000.0] > 1


def test_saturation_is_a_factor_on_the_prediction() -> None:
    torch.manual_seed(0)
    model = TwoHeadedModel(COLOR, 0).eval()
    with torch.no_grad():
        features = model.encode(gray_of(picture())[None])
        plain, strong = (
            ColorizationTask((), TaskSettings(saturation=factor)).predict(model, features).chroma
            for factor in (1.0, 2.0)
        )
    assert torch.equal(strong, 2 * plain) and float(plain.abs().max()) > 0
    with pytest.raises(UsageError, match="saturation must not be negative"):
        TaskSettings(saturation=-1.0)


def test_ten_bits_and_interlaced(color_weights: Path, tmp_path: Path) -> None:
    source = shared("data/broken_videos/torchcodec_h265_10bits.mp4")
    arguments = ["colorize", str(source), "--weights", str(color_weights), "--max-frames", "2"]
    assert main([*arguments, "--out", str(tmp_path / "deep")]) == 0
    woven = tmp_path / "interlaced.mp4"
    encode = "-f lavfi -i testsrc=size=96x64:rate=10:duration=0.4 -vf tinterlace=interleave_top -flags +ildct+ilme"
    assert ffmpeg.run([*encode.split(), ffmpeg.file_url(woven)])[0] == 0
    arguments = ["colorize", str(woven), "--weights", str(color_weights), "--gray-first"]
    assert main([*arguments, "--out", str(tmp_path / "woven")]) == 0
    assert json.loads((tmp_path / "woven" / "run.json").read_text())["frames"] > 0


def test_the_colors_of_the_input_can_be_the_truth(color_weights: Path, tmp_path: Path) -> None:
    frames = save_frames([picture(seed) for seed in range(3)], tmp_path / "frames")
    weights = open_weights(str(color_weights))
    settings = resolve(weights, None, Overrides(task=TaskOverrides(task="colorization")), CPU)
    request = RunRequest(str(frames), weights, settings, CPU, tmp_path / "out", gray_first=True)
    finished = run_video(request, lambda video, done: None, lambda step: None)
    scores = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert scores["score"] == "PSNR" and scores["unit"] == "dB" and scores["frames_without_label"] == 0
    assert 5 < scores["methods"]["online"]["pooled"] < HIGHEST_PSNR
    assert finished.report.warnings == ColorMetric.missing_metrics()


def test_methods_and_tasks_that_do_not_fit_are_refused(
    clip: Path, color_weights: Path, tiny_weights: Path, capsys: Capture
) -> None:
    for arguments, message in (
        (
            ["--weights", str(color_weights), "--task", "semantic"],
            "weights colors are for colorization, not for the task semantic",
        ),
        (["--weights", str(tiny_weights), "--task", "colorization"], "not for the task colorization"),
        (["--weights", str(color_weights), "--task", "colorization", "--method", "tent"], "a color has none"),
    ):
        assert main(["segment", str(clip), *arguments]) == 2
        assert message in capsys.readouterr().err


def test_old_film_is_blind_to_red_and_the_same_for_the_same_seed() -> None:
    image = picture()
    film = old_film(image, 3)
    assert film.shape == image.shape and torch.equal(film[0], film[2])
    assert torch.equal(film, old_film(image, 3)) and not torch.equal(film, old_film(image, 4))
    red, blue = torch.zeros(3, 32, 32), torch.zeros(3, 32, 32)
    red[0] = blue[2] = 255
    assert old_film(red, 0).float().mean() < old_film(blue, 0).float().mean() / 2


def test_degraded_colors_are_scored_by_the_clean_ones() -> None:
    video = video_of([Frame(index, str(index), index / 10, picture(index)) for index in range(2)])
    stream = degraded(Stream("film", (), video, lambda name: None), parse_degradation("old-film"))
    for clean, frame in zip(video.frames(), for_model(stream.video, 32, gray_of).frames(), strict=True):
        assert not torch.equal(frame.whole().image, clean.image)
        assert torch.equal(ColorizationTask(()).truth_of(frame, stream.truth).image, clean.image)


class Dots(torch.nn.Module):
    """Stands in for Inception: 8 numbers and 5 logits of a picture."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        small = functional.adaptive_avg_pool2d(images.float(), (2, 2)).flatten(1) / 255
        return small[:, :8], 4 * small[:, 3:8]


class Difference(torch.nn.Module):
    """Stands in for LPIPS."""

    def forward(self, found: Tensor, true: Tensor) -> Tensor:
        return (found - true).abs().mean()


def test_networks_score_what_they_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual, "_alexnet", Difference)
    monkeypatch.setattr(perceptual, "_inception", Dots)
    truths = [picture(seed) for seed in range(12)]
    chroma = [functional.interpolate(lab_of(truth)[None, 1:], size=(32, 48), mode="area")[0] for truth in truths]
    whole, halves, gray = ColorMetric(), [ColorMetric(), ColorMetric()], ColorMetric()
    for index, (image, ab) in enumerate(zip(truths, chroma, strict=True)):
        for metric, share in ((whole, 1.0), (halves[index // 6], 1.0), (gray, 0.0)):
            metric.update(Chroma(ab * share), Picture(image))
    good, bad = whole.compute().details, gray.compute().details
    assert good["LPIPS"] < bad["LPIPS"] and good["FID"] < bad["FID"] and good["IS"] >= bad["IS"] >= 1
    found = torch.cat([Dots()(colored(image, Chroma(ab))[None])[0] for image, ab in zip(truths, chroma, strict=True)])
    true = torch.cat([Dots()(image[None])[0] for image in truths])
    reference = FrechetInceptionDistance(feature=perceptual._Stored(8))
    reference.update(found, real=False)
    reference.update(true, real=True)
    assert good["FID"] == pytest.approx(float(reference.compute()), rel=0.05)

    merged = metric_from_json(json.loads(json.dumps(halves[0].as_json())))
    merged += halves[1]
    assert merged.compute().details["FID"] == pytest.approx(good["FID"])


def test_absent_networks_are_named_with_their_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    lines = ColorMetric.missing_metrics()
    assert lines[0].startswith("LPIPS is left out: put https://") and str(tmp_path / "checkpoints") in lines[0]
    assert lines[1].startswith("FID and IS are left out: ")
    metric = ColorMetric()
    metric.update(Chroma(torch.zeros(2, 16, 24)), Picture(picture()))
    scores = metric.compute()
    assert math.isnan(scores.details["LPIPS"]) and "FID" not in scores.details and scores.pooled > 0


def test_a_damaged_network_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / perceptual.ALEXNET).write_bytes(b"not a network")
    perceptual._alexnet.cache_clear()
    with pytest.raises(TttvError, match="is not the network that it should be"):
        perceptual.lpips(picture(), picture())
    perceptual._alexnet.cache_clear()


@pytest.mark.parametrize("image", [torch.zeros(3, 5, 36), torch.full((3, 34, 3), 128.0), torch.full((3, 64, 96), 3.0)])
def test_tiny_dark_and_constant_frames(image: Tensor, color_weights: Path, tmp_path: Path) -> None:
    frames = save_frames([image.to(torch.uint8)] * 3, tmp_path / "frames")
    config = tmp_path / "all.toml"
    config.write_text("[task]\ntitle_cards = false\n")
    arguments = ["colorize", str(frames), "--weights", str(color_weights)]
    assert main([*arguments, "--config", str(config), "--out", str(tmp_path / "out")]) == 0
    assert len(list(open_video(str(tmp_path / "out" / "overlay.mp4")).frames())) == 3
