"""The commands of docs/prepare.md: a model of transformers, trained as others would, is prepared, adapted, scored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import walkthrough
from shared_data import shared

from ttt_cli.cli import main


def test_a_model_of_transformers_is_prepared_adapted_and_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = shared("data/camvid").parent
    monkeypatch.chdir(tmp_path)
    model = walkthrough.new_model()
    walkthrough.train(model, data, steps=2, batch=2)
    walkthrough.save(model, Path("upernet"))

    pictures = str(data / "camvid" / "drive_0006R0_1hz" / "images")
    assert main(["weights", "prepare", "upernet", "--images", pictures, "--count", "8", "--fast"]) == 0
    video = data / "camvid" / "video_0016E5_15hz"
    chosen = ["--weights", "upernet", "--max-frames", "2"]
    assert main(["segment", str(video / "images"), *chosen, "--out", "run"]) == 0
    assert json.loads(Path("run/run.json").read_text())["settings"]["adaptation"]["method"] == "auto"
    scored = ["eval", "--dataset", "camvid", "--gt", str(video), "--degrade", "fog:5", "--method", "joint,auto,align"]
    assert main([*scored, *chosen, "--out", "scores"]) == 0
    records = json.loads(Path("scores/metrics.json").read_text())["records"]
    assert {record["method"] for record in records} == {"joint", "auto", "align"}
    losses = [json.loads(line)["loss"] for line in Path("run/frames.jsonl").read_text().splitlines()]
    assert losses == [None, None]
