"""`tttv eval`, the library function behind it, and the data sets."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import noise_frames, video_of
from PIL import Image
from shared_data import shared

from ttt_cli.adaptation import AdaptationSettings
from ttt_cli.cli import main
from ttt_cli.cli.evaluate import parse_seeds
from ttt_cli.datasets.camvid import camvid_streams
from ttt_cli.datasets.stream import Stream
from ttt_cli.errors import TttvError, UsageError
from ttt_cli.evaluation import Record, degraded, evaluate, summarise
from ttt_cli.io_settings import InputSettings
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.online import Adapter
from ttt_cli.reconstruction import ReconstructionSettings
from ttt_cli.tasks import semantic
from ttt_cli.tasks.classes import CAMVID, VOID

CPU = torch.device("cpu")
Capture = pytest.CaptureFixture[str]


def make_drive(folder: Path, frames: int = 3) -> Path:
    """A drive of CamVid's layout; the last frame has no label."""
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    for frame in noise_frames(frames):
        Image.fromarray(frame.image.permute(1, 2, 0).numpy()).save(folder / "images" / f"{frame.name}.jpg")
        if frame.index < frames - 1:
            ids = np.full((48, 64), 3, np.uint8)
            ids[0] = 11
            Image.fromarray(ids).save(folder / "labels" / f"{frame.name}.png")
    return folder


def run(model: TwoHeadedModel, streams: list[Stream], methods: list[str], seeds: list[int]) -> list[Record]:
    settings, reconstruction = AdaptationSettings(window=2), ReconstructionSettings()
    return list(evaluate(model, streams, methods, seeds, settings, reconstruction, 360, CPU))


def test_every_method_and_seed_on_every_stream(tiny_model: TwoHeadedModel, tmp_path: Path) -> None:
    for name in ("b", "a"):
        make_drive(tmp_path / name)
    streams = camvid_streams(tmp_path, InputSettings())
    records = run(tiny_model, streams, ["joint", "online"], [0, 1])
    passes = [(record.method, record.seed, record.stream) for record in records]
    expected = [("joint", None), ("online", 0), ("online", 1)]
    assert passes == [(method, seed, stream) for method, seed in expected for stream in ("a", "b", "all")]
    assert [record.frames for record in records[:3]] == [3, 3, 6]
    assert records[0].adapt_seconds < 0.001 < records[3].adapt_seconds

    summary = summarise(records)
    assert [(row.stream, row.method, row.seeds) for row in summary][-1] == ("all", "online", 2)
    assert summary[0].gain == 0
    assert summary[-1].time_ratio is not None
    assert summary[-1].time_ratio > 1


def test_the_model_is_right_where_the_label_is_its_own_prediction(tiny_model: TwoHeadedModel) -> None:
    frames = {frame.name: frame for frame in noise_frames(2)}

    def own(name: str) -> torch.Tensor:
        with torch.no_grad():
            queries = tiny_model.segment(tiny_model.encode(frames[name].image[None]))
        return semantic.postprocess(queries).class_map

    stream = Stream("own", CAMVID, video_of(list(frames.values())), own)
    (record,) = run(tiny_model, [stream], ["joint"], [0])
    assert record.miou_pooled == record.miou_paper == 100


def test_labels_can_not_reach_the_adapter(
    tiny_model: TwoHeadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stream,) = camvid_streams(make_drive(tmp_path / "drive"), InputSettings())
    events: list[str] = []
    step = Adapter.step
    monkeypatch.setattr(Adapter, "step", lambda *given: (events.append("step"), step(*given))[1])

    def truth(name: str) -> torch.Tensor | None:
        events.append("label")
        return stream.truth(name)

    watched = Stream(stream.name, stream.classes, stream.video, truth)
    (random,) = run(tiny_model, [watched], ["online"], [0])
    assert events == ["step", "label"] * 3

    other = Stream(stream.name, stream.classes, stream.video, lambda name: None)
    (unlabelled,) = run(tiny_model, [other], ["online"], [0])
    assert math.isnan(unlabelled.miou_pooled)
    assert not math.isnan(random.miou_pooled)


def test_low_light_darkens_frames_and_leaves_labels(tmp_path: Path) -> None:
    (stream,) = camvid_streams(make_drive(tmp_path / "drive"), InputSettings())
    dark = degraded(stream, "low-light")
    for before, after, again in zip(stream.video.frames(), dark.video.frames(), dark.video.frames(), strict=True):
        assert after.image.float().mean() < 0.5 * before.image.float().mean()
        assert torch.equal(after.image, again.image)
    assert dark.truth is stream.truth
    with pytest.raises(UsageError, match="known: low-light"):
        degraded(stream, "fog")


def test_the_label_after_the_last_class_is_void(tmp_path: Path) -> None:
    (stream,) = camvid_streams(make_drive(tmp_path / "drive"), InputSettings())
    truth = stream.truth("000000")
    assert truth is not None
    assert (truth[0] == VOID).all()
    assert (truth[1:] == 3).all()
    assert stream.truth("000002") is None


def test_a_folder_that_is_no_camvid(tmp_path: Path) -> None:
    with pytest.raises(TttvError, match="no such folder"):
        camvid_streams(tmp_path / "absent", InputSettings())
    with pytest.raises(TttvError, match="has no folders images/ and labels/"):
        camvid_streams(tmp_path, InputSettings())


def test_seeds_are_a_count_or_a_list() -> None:
    assert parse_seeds("3") == [0, 1, 2]
    assert parse_seeds("4,7") == [4, 7]
    for wrong in ("0", "-1", "a", "1,-2", ""):
        with pytest.raises(UsageError):
            parse_seeds(wrong)


def test_the_command_writes_json_and_csv(tiny_weights: Path, tmp_path: Path, capsys: Capture) -> None:
    drive, out = make_drive(tmp_path / "drive"), tmp_path / "out"
    arguments = ["eval", "--dataset", "camvid", "--gt", str(drive), "--weights", str(tiny_weights), "--out", str(out)]
    assert main([*arguments, "--seeds", "2", "--max-frames", "2", "--degrade", "low-light"]) == 0
    printed = capsys.readouterr().out
    assert "pooled" in printed
    assert "bicyclist" in printed
    content = json.loads((out / "metrics.json").read_text())
    assert [record["seed"] for record in content["records"]] == [None, 0, 1]
    assert [row["method"] for row in content["summary"]] == ["joint", "online"]
    rows = list(csv.DictReader((out / "metrics.csv").open()))
    assert len(rows) == 3
    assert "iou bicyclist" in rows[0]

    assert main(arguments) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main([*arguments, "--method", "joint", "--overwrite", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["records"]) == 1
    assert main([*arguments, "--method", "joint,magic", "--overwrite"]) == 2
    assert main(["eval", "--dataset", "magic", "--gt", str(drive)]) == 2


def test_the_layout_of_the_real_data() -> None:
    streams = camvid_streams(shared("data/camvid"), InputSettings(max_frames=1))
    assert "video_0016E5_15hz" in [stream.name for stream in streams]
    for stream in streams:
        (frame,) = stream.video.frames()
        truth = stream.truth(frame.name)
        assert truth is not None
        assert tuple(truth.shape) == stream.video.size == (360, 480)
