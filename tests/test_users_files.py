"""No command deletes or replaces a file that tttv did not write."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import error_of, noise_frames, save_frames
from shared_data import shared
from test_eval import make_drive
from test_training_batches import HEADS, RECIPE
from training_fixtures import make_drive as make_stills

from ttt_cli.cli import main
from ttt_cli.run import bookkeeping
from ttt_cli.run.folder import KEYS_OF_0_1, write_json
from ttt_cli.run.record import RunTotals
from ttt_cli.run.steps import Step

Capture = pytest.CaptureFixture[str]
MINE = "mine"


def change_record(out: Path, change: Callable[[dict[str, Any]], object]) -> None:
    record = json.loads((out / "run.json").read_text())
    change(record)
    (out / "run.json").write_text(json.dumps(record))


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "record",
    [
        '{"my": "experiment"}',
        '{"my": "experiment", "files": ["overlay.mp4", "metrics.json", "masks", "frames.jsonl"]}',
        json.dumps({**dict.fromkeys(KEYS_OF_0_1), "files": ["overlay.mp4"], "versions": {"python": "3"}}),
        "[]",
        "{",
        "\xff",
        "[" * 100_000,
    ],
)
def test_a_folder_with_the_record_of_another_program_is_left_alone(
    segment: Callable[..., int], clip: Path, capsys: Capture, record: str
) -> None:
    out = Path("out")
    (out / "masks").mkdir(parents=True)
    (out / "run.json").write_bytes(record.encode("latin-1"))
    (out / "frames.jsonl").write_text('{"name": "000000"}\n')
    for name in ("overlay.mp4", "metrics.json", "report.html", "masks/000000.png"):
        (out / name).write_text(MINE)
    before = snapshot(out)
    assert segment(clip, "--out", out, "--overwrite") == 1
    assert "not a run folder" in error_of(capsys)
    assert snapshot(out) == before


@pytest.mark.parametrize("name", ["overlay.mp4", "metrics.json", "instances.json", "panoptic/1.png"])
def test_a_file_beside_a_run_that_is_not_on_its_record_is_left_alone(
    segment: Callable[..., int], clip: Path, capsys: Capture, name: str
) -> None:
    out = Path("out")
    assert segment(clip, "--out", out, "--no-overlay", "--max-frames", 1) == 0
    capsys.readouterr()
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text(MINE)
    before = snapshot(out)
    assert segment(clip, "--out", out, "--overwrite") == 1
    assert "not on the record" in error_of(capsys)
    assert snapshot(out) == before


def test_a_picture_among_the_masks_is_not_replaced(segment: Callable[..., int], clip: Path, capsys: Capture) -> None:
    out = Path("out")
    assert segment(clip, "--out", out, "--max-frames", 1) == 0
    capsys.readouterr()
    (out / "masks" / "000002.png").write_text(MINE)
    assert segment(clip, "--out", out, "--overwrite") == 1
    assert "000002.png: exists, and no run wrote it" in error_of(capsys)
    assert (out / "masks" / "000002.png").read_text() == MINE


def test_a_page_of_the_user_stays_and_a_report_goes(segment: Callable[..., int], clip: Path) -> None:
    out, page = Path("out"), Path("out/report.html")
    assert segment(clip, "--out", out, "--max-frames", 1) == 0
    page.write_text(MINE)
    assert segment(clip, "--out", out, "--max-frames", 1, "--overwrite") == 0
    assert page.read_text() == MINE
    page.write_text("<title>tttv report</title>")
    assert segment(clip, "--out", out, "--max-frames", 1, "--overwrite") == 0
    assert not page.exists()


def test_runs_of_0_1_are_still_replaced(segment: Callable[..., int], clip: Path) -> None:
    out = Path("out")
    assert segment(clip, "--out", out) == 0
    # 0.1 wrote no key that says whose the record is.
    change_record(out, lambda record: [record.pop(key) for key in record.keys() - KEYS_OF_0_1])
    assert segment(clip, "--out", out, "--max-frames", 2, "--overwrite") == 0
    assert len(list((out / "masks").iterdir())) == 2


def test_runs_that_were_killed_are_still_replaced(
    segment: Callable[..., int], clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, records = Path("out"), []

    def kept(path: Path, content: dict[str, Any]) -> None:
        records.append(content)
        write_json(path, content)

    monkeypatch.setattr(bookkeeping, "write_json", kept)
    assert segment(clip, "--out", out) == 0
    write_json(out / "run.json", records[0])
    assert records[0]["status"] == "running"
    assert segment(clip, "--out", out, "--max-frames", 1, "--overwrite") == 0
    assert len(list((out / "masks").iterdir())) == 1


# tttv eval


@pytest.fixture
def evaluate(tiny_weights: Path, tmp_path: Path) -> Callable[..., int]:
    """`tttv eval` with the tiny weights and the fixed model, on a drive of three frames, into the folder out."""
    drive = make_drive(tmp_path / "drive")
    arguments = ["--dataset", "camvid", "--gt", drive, "--weights", tiny_weights, "--out", tmp_path / "out"]

    def call(*more: str) -> int:
        return main(["eval", *map(str, arguments), "--method", "joint", "--json", *more])

    return call


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
@pytest.mark.parametrize("name", ["metrics.json", "metrics.csv", "metrics.tex", "drive-joint.mp4", "cells.jsonl"])
def test_an_evaluation_leaves_files_of_others_alone(
    evaluate: Callable[..., int], tmp_path: Path, capsys: Capture, name: str, overwrite: list[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text('{"my": "experiment"}\n')
    before = snapshot(out)
    assert evaluate("--videos", *overwrite) == 1
    assert name in error_of(capsys)
    assert {path: content for path, content in snapshot(out).items() if path in before} == before


def test_an_evaluation_replaces_its_own_files(evaluate: Callable[..., int], tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    assert evaluate("--videos") == 0
    assert evaluate("--videos") == 0
    (out / "mine.mp4").write_text(MINE)
    assert evaluate("--overwrite") == 0
    assert (out / "mine.mp4").read_text() == MINE
    assert not (out / "drive-joint.mp4").exists()
    capsys.readouterr()
    (out / "drive-joint.mp4").write_text(MINE)
    assert evaluate("--overwrite", "--videos") == 1
    assert "drive-joint.mp4" in error_of(capsys)
    assert (out / "drive-joint.mp4").read_text() == MINE


# tttv train


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., int]:
    """`tttv train` for a few steps, into the folder out."""
    make_stills(tmp_path / "data")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.format(batch=1, reconstruction_batch=1) + HEADS)
    arguments = ["--config", recipe, "--data", tmp_path / "data", "--out", tmp_path / "out", "--device", "cpu"]

    def call(*more: str) -> int:
        return main(["train", *map(str, arguments), *more])

    return call


def test_a_training_leaves_files_of_others_alone(train: Callable[..., int], tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name, more in (
        ("made-up.safetensors", []),
        ("made-up.safetensors/x", []),
        ("train.jsonl", []),
        ("checkpoint.ckpt", []),
        ("checkpoint.ckpt", ["--resume"]),
    ):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text('{"my": "experiment"}')
        before = snapshot(out)
        assert train(*more) == 1
        error = error_of(capsys)
        assert error.count("\n") == 1 and Path(name).parts[0] in error, error
        assert snapshot(out) == before and [path.name for path in out.iterdir()] == [Path(name).parts[0]]
        shutil.rmtree(out)
        out.mkdir()


def test_a_training_replaces_its_own_weights(train: Callable[..., int], tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in ("made-up.part", "checkpoint.part", "made-up.companion.safetensors"):
        (out / name).write_text(MINE)
    assert train() == 0
    first = (out / "made-up.safetensors").stat()
    (out / "checkpoint.ckpt").unlink()
    assert train() == 0
    assert (out / "made-up.safetensors").stat().st_mtime_ns > first.st_mtime_ns
    assert len((out / "train.jsonl").read_text().splitlines()) == 2 * 4
    assert {path.name: path.read_text() for path in out.iterdir() if path.read_bytes() == MINE.encode()} == {
        "made-up.part": MINE,
        "checkpoint.part": MINE,
        "made-up.companion.safetensors": MINE,
    }


# tttv weights, tttv report


def test_an_import_leaves_files_of_others_alone(tmp_path: Path, capsys: Capture) -> None:
    checkpoint = shutil.copy(shared("golden/video_ttt_tiny.pkl"), tmp_path / "tiny.pkl")
    arguments = ["weights", "import", str(checkpoint)]
    for name in ("tiny.safetensors", "tiny.part"):
        (tmp_path / name).write_text(MINE)
    assert main(arguments) == 1
    assert "tiny.safetensors: exists; add --overwrite" in error_of(capsys)
    assert main([*arguments, "--overwrite", "--out", str(tmp_path)]) == 1
    assert f"{tmp_path.name}: cannot be written" in error_of(capsys)
    assert main([*arguments, "--out", str(tmp_path / "no" / "x.safetensors")]) == 1
    assert "x.safetensors: cannot be written (No such file or directory)" in error_of(capsys)
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.pkl", "tiny.safetensors", "tiny.part"}
    assert main([*arguments, "--overwrite"]) == 0
    assert (tmp_path / "tiny.part").read_text() == MINE
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.pkl", "tiny.safetensors", "tiny.part"}


def test_a_preparation_leaves_files_of_others_alone(tiny_weights: Path, tmp_path: Path, capsys: Capture) -> None:
    weights, pictures = (
        tmp_path / "w.safetensors",
        save_frames([frame.image for frame in noise_frames(9)], tmp_path / "p"),
    )
    shutil.copy(tiny_weights, weights)
    arguments = ["weights", "prepare", str(weights), "--images", str(pictures)]
    for name in ("w.companion.safetensors", "w.companion.part", "w.companion.checkpoint"):
        (tmp_path / name).write_text(MINE)
    before = snapshot(tmp_path)
    assert main([*arguments, "--fast"]) == 1
    assert "w.companion.safetensors: exists; add --overwrite" in error_of(capsys)
    (tmp_path / "w.companion.safetensors").unlink()
    assert main(arguments) == 1
    assert "w.companion.checkpoint: of another preparation, or damaged; remove it" in error_of(capsys)
    assert main([*arguments, "--fast"]) == 0
    del before[tmp_path / "w.companion.safetensors"]
    assert {path: content for path, content in snapshot(tmp_path).items() if path in before} == before
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


# Files that go while a run writes


def test_files_deleted_while_it_runs_make_a_run_partial(
    segment: Callable[..., int], clip: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, update = Path("out"), RunTotals.update

    def deleting(self: RunTotals, step: Step) -> None:
        update(self, step)
        for name in ("masks/000000.png", "masks/000001.png"):
            (out / name).unlink(missing_ok=True)

    monkeypatch.setattr(RunTotals, "update", deleting)
    assert segment(clip, "--out", out, "--quiet") == 3
    assert "deleted while it ran: masks has 4 of 6 pictures" in error_of(capsys)
    record = json.loads((out / "run.json").read_text())
    assert record["status"] == "partial"
    assert "masks has 4 of 6" in record["reason"]
