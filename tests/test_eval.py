"""`tttv eval`, the library function behind it, and the data sets."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import noise_frames, video_of
from PIL import Image
from shared_data import shared

from ttt_cli.adaptation.methods import METHODS
from ttt_cli.adaptation.methods.offline import OfflineOracle
from ttt_cli.adaptation.online import Adapter
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.cli import main
from ttt_cli.cli._values import parse_seeds
from ttt_cli.core.classes import CAMVID, VOID
from ttt_cli.core.errors import TttvError, UsageError
from ttt_cli.core.labels import ClassMap, Labels
from ttt_cli.datasets import open_streams
from ttt_cli.datasets.changes import shuffled
from ttt_cli.datasets.degrade import degraded, parse_degradation
from ttt_cli.datasets.stream import Stream, StreamRequest
from ttt_cli.evaluate import cells, evaluation
from ttt_cli.evaluate.comparison import Record, records_of, summarize
from ttt_cli.evaluate.evaluation import Cell, PassTally, PreparedMethod, measure, plan
from ttt_cli.metrics.base import Metric, Scores
from ttt_cli.metrics.semantic import SemanticMetric
from ttt_cli.model.opening import open_weights
from ttt_cli.model.own import save_weights
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.run.lock import locked
from ttt_cli.tasks.semantic import SemanticTask
from ttt_cli.video.reader import open_video
from ttt_cli.video.settings import InputSettings

Capture = pytest.CaptureFixture[str]


def make_drive(folder: Path, frames: int = 3) -> Path:
    """A drive in CamVid's layout; the last frame has no label."""
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    for frame in noise_frames(frames):
        Image.fromarray(frame.image.permute(1, 2, 0).numpy()).save(folder / "images" / f"{frame.name}.jpg")
        if frame.index < frames - 1:
            ids = np.full((48, 64), 3, np.uint8)
            ids[0] = 11
            Image.fromarray(ids).save(folder / "labels" / f"{frame.name}.png")
    return folder


def drives(folder: Path, max_frames: int | None = None) -> list[Stream]:
    return open_streams("camvid", StreamRequest(folder, None, InputSettings(max_frames=max_frames), "semantic"))


def prepared_method(model: TwoHeadedModel) -> PreparedMethod:
    return PreparedMethod(model, SemanticTask(CAMVID), AdaptationSettings(window=2), ReconstructionSettings(), 360)


def run(
    model: TwoHeadedModel, streams: list[Stream], methods: list[str], seeds: list[int], windows: Sequence[int] = (2,)
) -> list[Record]:
    prepared = prepared_method(model)
    ready = dict.fromkeys(methods, prepared)
    by_name = {stream.name: stream for stream in streams}
    tallies = {cell: measure(cell, by_name[cell.stream], prepared) for cell in plan(ready, streams, windows, seeds)}
    return records_of(tallies)


def test_every_method_and_seed_on_every_stream(tiny_model: TwoHeadedModel, tmp_path: Path) -> None:
    for name in ("b", "a"):
        make_drive(tmp_path / name)
    streams = drives(tmp_path)
    records = run(tiny_model, streams, ["joint", "online"], [0, 1])
    passes = [(record.method, record.seed, record.stream) for record in records]
    expected = [("joint", None), ("online", 0), ("online", 1)]
    assert passes == [(method, seed, stream) for method, seed in expected for stream in ("a", "b", "all")]
    assert [record.frames for record in records[:3]] == [3, 3, 6]
    assert 10 * records[0].adapt_seconds < records[3].adapt_seconds

    summary = summarize(records)
    assert [(row.stream, row.method, row.seeds) for row in summary][-1] == ("all", "online", 2)
    assert summary[0].gain == 0
    assert summary[-1].time_ratio is not None
    assert summary[-1].time_ratio > 1


def test_windows_are_compared_where_the_method_chooses_one(tiny_model: TwoHeadedModel, tmp_path: Path) -> None:
    streams = drives(make_drive(tmp_path / "drive"))
    records = run(tiny_model, streams, ["joint", "implicit", "online"], [0], windows=[1, 0])
    assert [(record.method, record.window) for record in records] == [
        ("joint", None),
        ("implicit", None),
        ("online", 1),
        ("online", 0),
    ]
    summary = summarize(records)
    assert [row.title for row in summary][2:] == ["online, window 1", "online, window inf"]
    for row, record in zip(summary, records, strict=True):
        assert row.by_class == pytest.approx(record.by_class, nan_ok=True)


def test_shuffling_keeps_every_frame_and_its_label(tmp_path: Path) -> None:
    (stream,) = drives(make_drive(tmp_path / "drive", frames=12))
    names = [
        [frame.name for frame in version.video.frames()] for version in (stream, shuffled(stream), shuffled(stream))
    ]
    assert names[1] == names[2] != names[0] == sorted(names[1])
    assert shuffled(stream).truth is stream.truth


def labeled_by_itself(model: TwoHeadedModel, count: int) -> Stream:
    """A stream whose labels are what the fixed model predicts."""
    frames = noise_frames(count)
    with torch.no_grad():
        queries = [model.decode(model.encode(frame.image[None])) for frame in frames]
    truths = {
        frame.name: ClassMap(SemanticTask(CAMVID).postprocess(frame_queries).class_map)
        for frame, frame_queries in zip(frames, queries, strict=True)
    }
    return Stream("own", CAMVID, video_of(frames), truths.get)


def test_the_model_is_right_where_the_label_is_its_own_prediction(tiny_model: TwoHeadedModel) -> None:
    (record,) = run(tiny_model, [labeled_by_itself(tiny_model, 2)], ["joint"], [0])
    assert record.pooled == record.paper == 100


def test_labels_cannot_reach_the_adapter(
    tiny_model: TwoHeadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stream,) = drives(make_drive(tmp_path / "drive"))
    events: list[str] = []
    step = Adapter.step
    monkeypatch.setattr(Adapter, "step", lambda *given: (events.append("step"), step(*given))[1])

    def truth(name: str) -> Labels | None:
        events.append("label")
        return stream.truth(name)

    watched = Stream(stream.name, stream.classes, stream.video, truth)
    (random,) = run(tiny_model, [watched], ["online"], [0])
    assert events == ["step", "label"] * 3

    other = Stream(stream.name, stream.classes, stream.video, lambda name: None)
    (unlabeled,) = run(tiny_model, [other], ["online"], [0])
    assert math.isnan(unlabeled.pooled)
    assert not math.isnan(random.pooled)


def test_low_light_darkens_frames_and_leaves_labels(tmp_path: Path) -> None:
    (stream,) = drives(make_drive(tmp_path / "drive"))
    dark = degraded(stream, parse_degradation("low-light"))
    for before, after, again in zip(stream.video.frames(), dark.video.frames(), dark.video.frames(), strict=True):
        assert after.image.float().mean() < 0.5 * before.image.float().mean()
        assert torch.equal(after.image, again.image)
    assert dark.truth is stream.truth


def test_the_label_after_the_last_class_is_void(tmp_path: Path) -> None:
    (stream,) = drives(make_drive(tmp_path / "drive"))
    truth = stream.truth("000000")
    assert isinstance(truth, ClassMap)
    assert (truth.ids[0] == VOID).all()
    assert (truth.ids[1:] == 3).all()
    assert stream.truth("000002") is None


def test_a_folder_that_is_not_camvid(tmp_path: Path) -> None:
    with pytest.raises(TttvError, match="no such folder"):
        drives(tmp_path / "absent")
    with pytest.raises(TttvError, match="has no folders images/ and labels/"):
        drives(tmp_path)


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
    assert "bic" in printed
    assert "2 of 2 frames scored" in printed
    content = json.loads((out / "metrics.json").read_text())
    assert [record["seed"] for record in content["records"]] == [None, 0, 1]
    assert [row["method"] for row in content["summary"]] == ["joint", "online"]
    rows = list(csv.DictReader((out / "metrics.csv").open()))
    assert len(rows) == 3
    assert "class bicyclist" in rows[0]

    latex = (out / "metrics.tex").read_text()
    assert "online, window 16 &" in latex
    assert latex.count(r"\\") == 3

    assert main([*arguments, "--lr", "0.1"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main([*arguments, "--method", "joint", "--overwrite", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["records"]) == 1
    assert main([*arguments, "--method", "joint,magic", "--overwrite"]) == 2
    assert main([*arguments, "--window", "1,x"]) == 2
    assert main(["eval", "--dataset", "magic", "--gt", str(drive)]) == 2


def test_a_stopped_evaluation_goes_on(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    drive, out = make_drive(tmp_path / "drive"), tmp_path / "out"
    arguments = ["eval", "--dataset", "camvid", "--gt", str(drive), "--weights", str(tiny_weights), "--out", str(out)]
    arguments += ["--method", "joint,online,tent", "--json"]
    real, calls = evaluation.measure, []

    def watched(cell: Cell, *rest: Any) -> PassTally:
        calls.append(cell.method)
        if stop and cell.method == "tent":
            raise KeyboardInterrupt
        return real(cell, *rest)

    monkeypatch.setattr(cells, "measure", watched)
    stop = True
    assert main(arguments) == 130
    with (out / "cells.jsonl").open("a") as file:
        file.write('{"cell": {"stream": "half a li')
    stop = False
    calls.clear()
    assert main(arguments) == 0
    assert calls == ["tent"]
    resumed = json.loads(capsys.readouterr().out)
    assert main([*arguments, "--overwrite"]) == 0
    through = json.loads(capsys.readouterr().out)
    assert calls == ["tent", "joint", "online", "tent"]
    scores = [
        [(record["method"], record["pooled"], record["paper"]) for record in content["records"]]
        for content in (resumed, through)
    ]
    assert scores[0] == scores[1]


@pytest.mark.parametrize("spoiled", ["label", "frame", "name"])
def test_a_score_of_other_data_is_not_taken_from_the_journal(
    tiny_weights: Path, tmp_path: Path, capsys: Capture, spoiled: str
) -> None:
    drive, out = make_drive(tmp_path / "drive"), tmp_path / "out"
    arguments = ["eval", "--dataset", "camvid", "--gt", str(drive), "--weights", str(tiny_weights), "--out", str(out)]
    arguments += ["--method", "joint", "--json"]
    assert main(arguments) == 0
    frame, label = sorted((drive / "images").iterdir())[0], sorted((drive / "labels").iterdir())[0]
    if spoiled == "label":
        status = label.stat()
        Image.fromarray(np.full((48, 64), 5, np.uint8)).save(label)
        os.utime(label, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif spoiled == "frame":
        Image.new("RGB", (64, 48)).save(frame)
    else:
        label.rename(label.with_stem("000002"))
    assert main(arguments) == 1
    assert "labels or frames have changed" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0


def test_a_journal_with_a_damaged_byte_goes_on(tiny_weights: Path, tmp_path: Path, capsys: Capture) -> None:
    drive, out = make_drive(tmp_path / "drive"), tmp_path / "out"
    arguments = ["eval", "--dataset", "camvid", "--gt", str(drive), "--weights", str(tiny_weights), "--out", str(out)]
    arguments += ["--method", "joint", "--json"]
    assert main(arguments) == 0
    journal = out / "cells.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"cell": "\xff"}\n{"cell": []}\n' + b"[" * 100_000 + b"\n")
    capsys.readouterr()
    assert main(arguments) == 0
    assert journal.read_bytes() == whole
    journal.write_bytes(b"\xff" + whole)
    assert main(arguments) == 1
    assert "was not written by tttv eval" in capsys.readouterr().err
    assert journal.read_bytes() == b"\xff" + whole


def test_all_methods_leave_out_what_has_no_weights(tiny_weights: Path, tmp_path: Path, capsys: Capture) -> None:
    drive = make_drive(tmp_path / "drive", frames=2)
    arguments = ["eval", "--dataset", "camvid", "--gt", str(drive), "--weights", str(tiny_weights), "--method", "all"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    assert "left out: method main-only: needs weights" in capsys.readouterr().out
    records = json.loads((tmp_path / "out" / "metrics.json").read_text())["records"]
    assert [record["method"] for record in records] == [
        name for name in METHODS if name not in ("main-only", "prepared")
    ]


def test_main_only_runs_with_its_own_weights(tiny_weights: Path, tmp_path: Path, capsys: Capture) -> None:
    drive, out = make_drive(tmp_path / "drive"), tmp_path / "out"
    own = tmp_path / "one.safetensors"
    shutil.copy(tiny_weights, own)
    arguments = ["eval", "--dataset", "camvid", "--gt", str(drive), "--weights", str(own), "--out", str(out)]
    arguments += ["--method", "main-only,joint", "--json"]
    assert main(arguments) == 2
    assert "one-main-only.safetensors" in capsys.readouterr().err
    assert main(["segment", str(drive / "images"), "--weights", str(own), "--method", "main-only"]) == 2
    assert "tttv train --main-only" in capsys.readouterr().err

    weights = open_weights(str(own))
    other = weights.load()
    with torch.no_grad():
        next(iter(other.main_head.class_predictor.parameters())).neg_()  # type: ignore[union-attr]
    save_weights(other, dataclasses.replace(weights, path=tmp_path / "one-main-only.safetensors"))
    assert main(arguments) == 0
    main_only, joint = json.loads(capsys.readouterr().out)["records"]
    assert (main_only["method"], joint["method"]) == ("main-only", "joint")
    assert main_only["by_class"] != joint["by_class"]

    # Other weights with the same name are measured again.
    shutil.copy(tiny_weights, tmp_path / "one-main-only.safetensors")
    assert main(arguments) == 0
    again, joint_again = json.loads(capsys.readouterr().out)["records"]
    assert again["by_class"] == joint["by_class"] != main_only["by_class"]
    assert joint_again == joint


def test_the_oracle_is_the_best_model_that_offline_training_passes_through(
    tiny_model: TwoHeadedModel, tiny_weights: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive = make_drive(tmp_path / "drive")
    made: list[PassTally] = []

    class Watched(PassTally):
        def __init__(self, metric: Metric) -> None:
            super().__init__(metric)
            made.append(self)

    def score(metric: SemanticMetric) -> Scores:
        return Scores((10.0, 30.0, 20.0, 5.0)[[tally.metric is metric for tally in made].index(True)], 0.0, {}, {})

    monkeypatch.setattr(evaluation, "PassTally", Watched)
    monkeypatch.setattr(SemanticMetric, "compute", score)
    before = {name: tensor.clone() for name, tensor in tiny_model.state_dict().items()}
    studied: list[tuple[int, int]] = []
    cell, prepared = Cell("own", "offline-oracle", None, 0), prepared_method(tiny_model)
    best = measure(
        cell,
        labeled_by_itself(tiny_model, 3),
        prepared,
        on_offline_step=lambda done, total: studied.append((done, total)),
    )
    assert best is made[1]
    assert made[0].study_seconds < made[1].study_seconds < made[2].study_seconds
    assert studied == [(1, 3), (2, 3), (3, 3)] * OfflineOracle("offline-oracle").epochs
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny_model.state_dict().items())

    images = [str(drive / "images"), "--weights", str(tiny_weights), "--out", str(tmp_path / "run")]
    assert main(["segment", *images, "--method", "offline-oracle"]) == 2
    assert "uses the labels; it is available only in tttv eval" in capsys.readouterr().err


def test_a_tally_keeps_every_frame_and_comes_back_from_json(tiny_model: TwoHeadedModel, tmp_path: Path) -> None:
    (stream,) = drives(make_drive(tmp_path / "drive"))
    tally = measure(Cell(stream.name, "online", 2, 0), stream, prepared_method(tiny_model))
    assert (tally.frames, tally.scored) == (3, [0, 1])
    assert all(loss is not None for loss in tally.losses)
    again = PassTally.from_json(json.loads(json.dumps(tally.as_json())))
    assert again.as_json() == tally.as_json()
    again += tally
    assert (again.frames, again.scored) == (6, [0, 1, 3, 4])


def test_two_evaluations_do_not_share_a_folder(tiny_weights: Path, tmp_path: Path, capsys: Capture) -> None:
    drive, out = make_drive(tmp_path / "drive"), tmp_path / "out"
    arguments = ["eval", "--dataset", "camvid", "--gt", str(drive), "--weights", str(tiny_weights), "--out", str(out)]
    with locked(out):
        assert main(arguments) == 1
    assert "another run is writing here" in capsys.readouterr().err


def test_the_layout_of_the_real_data() -> None:
    streams = drives(shared("data/camvid"), max_frames=1)
    assert "video_0016E5_15hz" in [stream.name for stream in streams]
    for stream in streams:
        (frame,) = stream.video.frames()
        truth = stream.truth(frame.name)
        assert isinstance(truth, ClassMap)
        assert tuple(truth.ids.shape) == stream.video.size == (360, 480)


def test_videos_show_every_pass_with_the_first_seed(tiny_weights: Path, tmp_path: Path) -> None:
    make_drive(tmp_path / "drive")
    arguments = ["eval", "--dataset", "camvid", "--gt", str(tmp_path / "drive"), "--weights", str(tiny_weights)]
    assert main([*arguments, "--seeds", "2", "--videos", "--out", str(tmp_path / "out")]) == 0
    videos = sorted((tmp_path / "out").glob("*.mp4"))
    assert [path.name for path in videos] == ["drive-joint.mp4", "drive-online-window-16.mp4"]
    for path in videos:
        assert len(list(open_video(str(path)).frames())) == 3
