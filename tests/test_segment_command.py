"""`tttv segment`, in process wherever possible."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CLIP_FRAMES, PATIENCE, error_of
from PIL import Image
from shared_data import shared
from video_fixtures import describe, make_image, make_video

from ttt_cli.adaptation.memory import Batch
from ttt_cli.adaptation.methods.online import MaskedReconstruction
from ttt_cli.cli import main
from ttt_cli.core.classes import CAMVID, VOID
from ttt_cli.run.folder import RunFolder, claimed
from ttt_cli.run.lock import LOCK

Capture = pytest.CaptureFixture[str]


def report_in(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "run.json").read_text()))


# Whole runs


def test_a_run_leaves_the_run_folder(segment: Callable[..., int], clip: Path, capsys: Capture) -> None:
    assert segment(clip, "--seed", 3, "--every", 1) == 0
    folder = Path("runs/clip-online")
    assert sorted(path.name for path in folder.iterdir()) == ["frames.jsonl", "masks", "overlay.mp4", "run.json"]

    description = describe(folder / "overlay.mp4")
    assert "h264" in description
    assert "yuv420p" in description
    assert "Audio: aac" in description
    assert re.search(rf"frame= *{CLIP_FRAMES} ", description)
    assert re.search(r"64x48.* 10 fps", description)

    lines = [json.loads(line) for line in (folder / "frames.jsonl").read_text().splitlines()]
    assert [line["index"] for line in lines] == list(range(CLIP_FRAMES))
    assert lines[2]["seconds"] == pytest.approx(0.2)
    assert all(line["loss"] > 0 and line["skipped_steps"] == 0 for line in lines)
    assert set(lines[0]["milliseconds"]) == {"decode", "adapt", "predict", "draw", "encode", "masks"}

    masks = sorted((folder / "masks").iterdir())
    assert [mask.name for mask in masks] == [f"{index:06d}.png" for index in range(CLIP_FRAMES)]
    with Image.open(masks[0]) as mask:
        assert (mask.mode, mask.size) == ("P", (64, 48))
        assert np.array(mask).max() < len(CAMVID)

    report = report_in(folder)
    assert (report["status"], report["frames"], report["reason"]) == ("done", CLIP_FRAMES, None)
    assert report["settings"]["adaptation"]["seed"] == 3
    assert len(report["weights"]["sha256"]) == 64
    assert report["seconds"]["total"] > 0
    printed = capsys.readouterr()
    assert str(folder / "overlay.mp4") in printed.out
    assert printed.err == ""


def test_a_run_of_auto_says_where_it_clamped(
    segment: Callable[..., int], clip: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([0.5, 0.5, 0.5] + [0.5, 0.5, 0.9] * 9)  # Nothing on the first frame, 1 from the second on.
    monkeypatch.setattr(
        "ttt_cli.adaptation.agreement.mirror_agreement", lambda model, image: torch.tensor(next(answers))
    )
    assert segment(clip, "--method", "auto", "--budget", "none") == 0
    folder = Path("runs/clip-auto")
    lines = [json.loads(line) for line in (folder / "frames.jsonl").read_text().splitlines()]
    assert [line.get("dead_zone") for line in lines] == [None] + [1.0] * (CLIP_FRAMES - 1)
    assert report_in(folder)["clamped_frames"] == CLIP_FRAMES - 1
    assert re.search(rf"frames with clamped features +{CLIP_FRAMES - 1}", capsys.readouterr().out)


def test_the_same_seed_gives_the_same_losses(segment: Callable[..., int], clip: Path) -> None:
    losses = []
    for out in ("a", "b"):
        assert segment(clip, "--no-overlay", "--no-masks", "--every", 2, "--out", out) == 0
        losses.append([json.loads(line)["loss"] for line in Path(out, "frames.jsonl").read_text().splitlines()])
        assert sorted(path.name for path in Path(out).iterdir()) == ["frames.jsonl", "run.json"]
    assert losses[0] == losses[1]


def test_json_is_all_there_is_on_standard_output(segment: Callable[..., int], clip: Path, capsys: Capture) -> None:
    assert segment(clip, "--json", "--max-frames", 2, "--method", "joint") == 0
    printed = capsys.readouterr()
    content = json.loads(printed.out)
    assert (content["status"], content["frames"], content["first_loss"]) == ("done", 2, None)
    assert content["folder"] == str(Path("runs/clip-joint"))
    assert printed.err == ""


def test_quiet_prints_only_the_folder(segment: Callable[..., int], clip: Path, capsys: Capture) -> None:
    assert segment(clip, "--quiet", "--max-frames", 1, "--out", "out") == 0
    assert capsys.readouterr().out == "out\n"


def test_start_end_and_stride_choose_frames(segment: Callable[..., int], clip: Path) -> None:
    assert segment(clip, "--start", 0.1, "--end", 0.45, "--stride", 2, "--out", "out", "--no-overlay") == 0
    assert sorted(path.stem for path in Path("out/masks").iterdir()) == ["000001", "000003"]


def test_large_frames_are_made_smaller_only_for_the_model(
    segment: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    loss = MaskedReconstruction.loss

    def spying(self: MaskedReconstruction, model: Any, batch: Batch, *rest: Any) -> torch.Tensor:
        seen.append(tuple(batch.images.shape))
        return loss(self, model, batch, *rest)

    monkeypatch.setattr(MaskedReconstruction, "loss", spying)
    video = make_video(tmp_path / "large.mp4", size="160x96", seconds=0.1)
    assert segment(video, "--size", 48, "--batch", 2, "--out", "out") == 0
    assert seen == [(2, 3, 48, 80)]
    with Image.open("out/masks/000000.png") as mask:
        assert mask.size == (160, 96)
    assert "160x96" in describe(Path("out/overlay.mp4"))


def test_compare_shows_both_models(segment: Callable[..., int], clip: Path) -> None:
    assert segment(clip, "--compare", "--max-frames", 2, "--out", "out") == 0
    size = re.search(r" (\d+)x(\d+)[, ]", describe(Path("out/overlay.mp4")))
    assert size and int(size[1]) == 64 + 2 + 64 and int(size[2]) > 48, "two pictures, and titles above them"
    masks, fixed = (sorted(path.name for path in Path("out", name).iterdir()) for name in ("masks", "masks-fixed"))
    assert masks == fixed == ["000000.png", "000001.png"]
    records = [json.loads(line) for line in Path("out/frames.jsonl").read_text().splitlines()]
    for record in records:
        ours, theirs = (np.array(Image.open(f"out/{name}/{record['name']}.png")) for name in ("masks", "masks-fixed"))
        assert record["agreement"] == pytest.approx((ours == theirs).mean(), abs=1e-4)
        assert record["strangeness"] > 0
    assert report_in(Path("out"))["strangeness"] > 0


def test_masks_of_both_models_need_no_overlay(segment: Callable[..., int], clip: Path) -> None:
    assert segment(clip, "--compare", "--no-overlay", "--max-frames", 1, "--out", "out") == 0
    names = ["frames.jsonl", "masks", "masks-fixed", "run.json"]
    assert sorted(path.name for path in Path("out").iterdir()) == names


def test_panes_show_the_video_too(segment: Callable[..., int], clip: Path) -> None:
    assert segment(clip, "--layout", "panes", "--no-labels", "--max-frames", 1, "--out", "out") == 0
    assert f"{3 * 64 + 2 * 2}x48" in describe(Path("out/overlay.mp4"))


def test_classes_left_out_are_void_in_the_masks(segment: Callable[..., int], clip: Path) -> None:
    assert segment(clip, "--max-frames", 1, "--out", "all", "--no-overlay") == 0
    everything = np.array(Image.open("all/masks/000000.png"))
    kept = int(everything[0, 0])
    assert segment(clip, "--max-frames", 1, "--out", "one", "--classes", CAMVID[kept].name) == 0
    single = np.array(Image.open("one/masks/000000.png"))
    assert (single == np.where(everything == kept, kept, VOID)).all()


def test_a_folder_of_pictures(segment: Callable[..., int], tmp_path: Path) -> None:
    for name in ("b10", "b9"):
        make_image(tmp_path / f"{name}.png", (48, 64))
    (tmp_path / "frames").mkdir()
    for name in ("b10", "b9"):
        (tmp_path / f"{name}.png").rename(tmp_path / "frames" / f"{name}.png")
    assert segment("frames", "--fps", 5, "--out", "out") == 0
    assert sorted(path.name for path in Path("out/masks").iterdir()) == ["b10.png", "b9.png"]
    assert " 5 fps" in describe(Path("out/overlay.mp4"))


@pytest.mark.parametrize("name", ["chaplin.mp4", "lumiere.mp4", "sam2_01_dog.mp4", "sam2_05_default_juggle.mp4"])
def test_real_clips(segment: Callable[..., int], name: str) -> None:
    assert segment(shared(f"data/clips/{name}"), "--max-frames", 2, "--size", 64, "--out", "out") == 0
    assert re.search(r"frame= *2 ", describe(Path("out/overlay.mp4")))


# Settings


def test_command_line_over_file_over_weights_over_defaults(
    segment: Callable[..., int], clip: Path, tmp_path: Path
) -> None:
    config = tmp_path / "settings.toml"
    config.write_text(
        "[adaptation]\nwindow = 3\nsteps = 2\n[reconstruction]\nmask_ratio = 0.5\n[input]\nmax_frames = 1\n"
    )
    assert segment(clip, "--config", config, "--steps", 1, "--out", "out") == 0
    settings = report_in(Path("out"))["settings"]
    assert (settings["adaptation"]["window"], settings["adaptation"]["steps"]) == (3, 1)
    assert settings["reconstruction"]["mask_ratio"] == 0.5
    assert settings["reconstruction"]["target"] == "image"  # From the tiny weights; not the default.


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("--window", "0"), "window must be a whole number of frames"),
        (("--steps", "0"), "steps must be at least 1"),
        (("--batch", "-1"), "batch must be at least 1"),
        (("--mask-ratio", "1"), "mask ratio must lie between 0 and 1"),
        (("--mask-ratio", "nan"), "mask_ratio: must be a finite number"),
        (("--lr", "0"), "learning rate must be above 0"),
        (("--lr", "nan"), "learning_rate: must be a finite number"),
        (("--size", "8"), "size must be at least 32"),
        (("--stride", "0"), "stride must be 1 or more"),
        (("--max-frames", "0"), "number of frames must be 1 or more"),
        (("--start", "5", "--end", "4"), "must be after the start"),
        (("--method", "magic"), "method 'magic' is unknown; known: main-only, joint, prepared"),
        (("--classes", "car,unicorn"), "class 'unicorn' is not one of the weights' classes"),
        (("--compare", "--layout", "panes"), "leave out one of them"),
        (("--compare", "--method", "joint"), "choose another method"),
        (("--fps", "nan"), "fps: must be a finite number"),
        (("--window", "many"), "inf or auto, not 'many'"),
        (("--device", "abacus"), "abacus"),
        (("--bogus",), "No such option"),
    ],
)
def test_wrong_usage_is_exit_code_2(
    segment: Callable[..., int], clip: Path, capsys: Capture, arguments: tuple[str, ...], cause: str
) -> None:
    assert segment(clip, *arguments) == 2
    assert cause in error_of(capsys)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("[adaptation]\nwindows = 3\n", "unknown setting 'windows'"),
        ("[adaptation]\nwindow = 'x'\n", "must be int"),
        ("[magic]\n", "unknown setting 'magic'"),
        ("adaptation = 3\n", "adaptation"),
        ("[", "not valid TOML"),
    ],
)
def test_a_wrong_config_file_is_named(
    segment: Callable[..., int], clip: Path, tmp_path: Path, capsys: Capture, text: str, cause: str
) -> None:
    config = tmp_path / "settings.toml"
    config.write_text(text)
    assert segment(clip, "--config", config) == 2
    error = error_of(capsys)
    assert cause in error
    assert "settings.toml" in error


# Bad input


def make_bad(kind: str, folder: Path) -> Path:
    path = folder / f"{kind.replace(' ', '_')}.mp4"
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("This is a story about a film.\n" * 100)
    elif kind == "audio only":
        from ttt_cli.video import ffmpeg

        assert ffmpeg.run(["-f", "lavfi", "-i", "sine=d=1", ffmpeg.file_url(path)])[0] == 0
    elif kind == "zero frames":
        make_video(path, "-pix_fmt", "yuv420p", "-frames:v", "0")
    elif kind == "folder without pictures":
        path.mkdir()
    return path


def test_a_run_is_repeated_from_its_record(segment: Callable[..., int], clip: Path, capsys: Capture) -> None:
    chosen = ("--method", "online+self-train", "--window", "inf", "--budget", "none", "--stride", 2, "--classes", "car")
    constants = ("--set", "adaptation.online+self-train.weight=2.0")
    assert segment(clip, "--out", "first", *chosen, *constants) == 0
    assert segment(clip, "--out", "again", "--config", "first/run.json") == 0
    first, again = (json.loads(Path(name, "run.json").read_text())["settings"] for name in ("first", "again"))
    assert first == again and first["adaptation"]["constants"]["weight"] == 2.0
    assert segment(clip, "--out", "other", "--config", "first/run.json", "--method", "tent", "--every", 3) == 0
    other = json.loads(Path("other/run.json").read_text())["settings"]["adaptation"]
    assert (other["method"], other["window"], other["every"]) == ("tent", 0, 3) and "constants" not in other

    capsys.readouterr()
    for text, message in (("{", "not valid JSON"), ("[]", "has no settings"), ('{"settings": 1}', "has no settings")):
        Path("bad.json").write_text(text)
        assert segment(clip, "--config", "bad.json") == 2
        assert error_of(capsys).startswith("error: bad.json: " + message)


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "audio only", "zero frames", "folder without pictures"])
def test_bad_input_is_one_line_and_leaves_nothing(
    segment: Callable[..., int], tmp_path: Path, capsys: Capture, kind: str
) -> None:
    path = make_bad(kind, tmp_path)
    assert segment(path) == 1
    assert path.name in error_of(capsys)
    assert not Path("runs").exists()


def test_a_truncated_video_is_finished_and_reported(
    segment: Callable[..., int], tmp_path: Path, capsys: Capture
) -> None:
    whole = make_video(tmp_path / "whole.mkv", seconds=4, sound=True)
    path = tmp_path / "cut.mkv"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert segment(path, "--method", "joint", "--out", "out") == 3
    assert "cut.mkv" in error_of(capsys)
    report = report_in(Path("out"))
    assert report["status"] == "partial"
    assert "cut.mkv" in report["reason"]
    assert 5 < report["frames"] < 40
    assert re.search(rf"frame= *{report['frames']} ", describe(Path("out/overlay.mp4")))
    assert len(list(Path("out/masks").iterdir())) == report["frames"]


def test_a_damaged_picture_ends_the_run_there(segment: Callable[..., int], tmp_path: Path, capsys: Capture) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for index in range(3):
        make_image(frames / f"{index}.png", (48, 64))
    (frames / "2.png").write_bytes((frames / "1.png").read_bytes()[:60])
    assert segment(frames, "--out", "out") == 3
    assert "2.png" in error_of(capsys)
    assert report_in(Path("out"))["frames"] == 2


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind this user")
def test_an_unreadable_and_an_unwritable_folder(segment: Callable[..., int], clip: Path, capsys: Capture) -> None:
    closed = Path("closed")
    closed.mkdir(mode=0o500)
    assert segment(clip, "--out", closed / "out") == 1
    assert "closed" in error_of(capsys)
    closed.chmod(0o000)
    assert segment(closed) == 1
    assert "closed" in error_of(capsys)
    closed.chmod(0o700)


@pytest.mark.parametrize("place", ["/dev/null/out", "/dev/full"])
@pytest.mark.skipif(os.name == "nt", reason="these are devices of Unix")
def test_an_output_folder_that_cannot_be(segment: Callable[..., int], clip: Path, capsys: Capture, place: str) -> None:
    assert segment(clip, "--out", place) == 1
    assert place in error_of(capsys)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_is_one_clear_error(tiny_weights: Path, tmp_path: Path) -> None:
    video = make_video(tmp_path / "video.mp4", seconds=6)
    code = (
        "import resource, sys; from ttt_cli.cli import main; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)); sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["segment", str(video), "--weights", str(tiny_weights), "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "cannot be written" in done.stderr
    assert report_in(tmp_path / "out")["status"] == "failed"


# No file of the user is lost


def test_an_existing_folder_needs_overwrite(segment: Callable[..., int], clip: Path, capsys: Capture) -> None:
    out = Path("out")
    assert segment(clip, "--out", out) == 0
    before = (out / "overlay.mp4").read_bytes()
    assert segment(clip, "--out", out) == 1
    assert "--overwrite" in error_of(capsys)
    assert (out / "overlay.mp4").read_bytes() == before


def test_overwrite_replaces_only_what_a_run_wrote(segment: Callable[..., int], clip: Path) -> None:
    out = Path("out")
    assert segment(clip, "--out", out) == 0
    kept = [out / "notes.txt", out / "masks" / "mine.png"]
    for path in kept:
        path.write_text("mine")
    assert segment(clip, "--out", out, "--max-frames", 2, "--overwrite") == 0
    assert all(path.read_text() == "mine" for path in kept)
    assert sorted(path.name for path in (out / "masks").iterdir()) == ["000000.png", "000001.png", "mine.png"]


def test_a_folder_that_is_not_a_run_is_not_overwritten(
    segment: Callable[..., int], clip: Path, capsys: Capture
) -> None:
    Path("holiday").mkdir()
    Path("holiday/overlay.mp4").write_text("mine")
    assert segment(clip, "--out", "holiday", "--overwrite") == 1
    assert "not a run folder" in error_of(capsys)
    assert Path("holiday/overlay.mp4").read_text() == "mine"


def test_a_run_does_not_overwrite_its_own_input(segment: Callable[..., int], clip: Path, capsys: Capture) -> None:
    assert segment(clip, "--out", "out") == 0
    assert segment("out/overlay.mp4", "--out", "out", "--overwrite") == 1
    assert "input lies in the output folder" in error_of(capsys)


def test_an_old_log_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out")
    folder.masks.mkdir(parents=True)
    folder.run.write_text(json.dumps({"tttv": "run", "files": folder.names()}))
    (tmp_path / "mine.png").write_text("mine")
    folder.frames.write_text('{"name": "../../mine"}\n{"name": 3}\n[]\nnot json\n')
    with claimed(folder, Path("elsewhere"), overwrite=True):
        pass
    assert (tmp_path / "mine.png").exists()


def test_two_runs_do_not_share_a_folder(segment: Callable[..., int], clip: Path, capsys: Capture) -> None:
    with claimed(RunFolder(Path("out")), clip, overwrite=False):
        assert segment(clip, "--out", "out") == 1
        assert "another run" in error_of(capsys)
        assert Path("out", LOCK).exists()
    assert list(Path("out").iterdir()) == []


# Weights


def test_unknown_damaged_and_foreign_weights(clip: Path, tiny_weights: Path, tmp_path: Path, capsys: Capture) -> None:
    from safetensors.torch import load_file, save_file

    from ttt_cli.model.opening import open_weights
    from ttt_cli.model.own import save_weights

    assert main(["segment", str(clip), "--weights", "nope"]) == 2
    assert "known: street" in error_of(capsys)

    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(tiny_weights.read_bytes()[:5000])
    foreign = tmp_path / "foreign.safetensors"
    save_file(load_file(tiny_weights), foreign)
    for path in (damaged, foreign):
        assert main(["segment", str(clip), "--weights", str(path)]) == 1
        assert path.name in error_of(capsys)

    other = tmp_path / "other.safetensors"
    weights = open_weights(str(tiny_weights))
    model = weights.load()
    model.main_head.class_predictor = torch.nn.Linear(32, 5)
    from dataclasses import replace

    save_weights(model, replace(weights, path=other))
    assert main(["segment", str(clip), "--weights", str(other), "--out", str(tmp_path / "out")]) == 1
    assert "other.safetensors" in error_of(capsys)
    assert not (tmp_path / "out").exists()


# Losses that are not finite, and Ctrl-C


def test_a_loss_that_is_not_finite_is_counted_and_the_run_goes_on(
    segment: Callable[..., int], clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, calls = MaskedReconstruction.loss, []

    def failing(self: MaskedReconstruction, *arguments: Any) -> torch.Tensor:
        calls.append(1)
        value = loss(self, *arguments)
        return value * float("nan") if len(calls) == 3 else value

    monkeypatch.setattr(MaskedReconstruction, "loss", failing)
    assert segment(clip, "--every", 1, "--out", "out") == 0
    lines = [json.loads(line) for line in Path("out/frames.jsonl").read_text().splitlines()]
    assert [line["skipped_steps"] for line in lines] == [0, 0, 1, 0, 0, 0]
    assert lines[2]["loss"] is None
    assert lines[3]["loss"] > 0
    assert report_in(Path("out"))["skipped_steps"] == 1


@pytest.mark.skipif(os.name == "nt", reason="a signal of Unix")
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "SIGTERM in the background of a script"])
def test_being_stopped_leaves_files_that_play(tiny_weights: Path, tmp_path: Path, how: str) -> None:
    name, _, in_background = how.partition(" ")
    video = make_video(tmp_path / "long.mp4", seconds=60)
    out = tmp_path / "out"
    arguments = ["segment", str(video), "--weights", str(tiny_weights), "--out", str(out)]
    command = [sys.executable, "-m", "ttt_cli", *arguments]
    # A shell that is not interactive starts `command &` with SIGINT ignored.
    ignore = partial(signal.signal, signal.SIGINT, signal.SIG_IGN) if in_background else None
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=ignore)
    try:
        deadline = time.monotonic() + PATIENCE
        while not (out / "frames.jsonl").exists() or len((out / "frames.jsonl").read_text().splitlines()) < 5:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.Signals[name])
        output, error = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in error
    report = report_in(out)
    assert report["status"] == "interrupted"
    assert re.search(rf"frame= *{report['frames']} ", describe(out / "overlay.mp4"))
    names = ["frames.jsonl", "masks", "overlay.mp4", "run.json", "unfinished"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert "--resume" in output


# Names


@pytest.mark.skipif(os.name == "nt", reason="names that Windows does not have")
@pytest.mark.parametrize(
    "name", ["http:x.mp4", "concat:a|b.mp4", "-dash.mp4", "[bold]red[bold].mp4", "a\x1b[31mb\n.mp4"]
)
def test_names_are_neither_protocols_nor_markup_nor_escapes(
    segment: Callable[..., int], clip: Path, tmp_path: Path, capsys: Capture, name: str
) -> None:
    (tmp_path / name).write_bytes(clip.read_bytes())
    assert segment("--max-frames", 1, "--", name) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert name.replace("\x1b", "\\x1b").replace("\n", "\\n")[:-4] in printed

    assert segment("--", f"{name}.absent") == 1
    assert "\x1b" not in error_of(capsys)


# Ground truth


def make_labels(folder: Path, names: list[str], ids: int = 0, size: tuple[int, int] = (48, 64)) -> Path:
    folder.mkdir()
    for name in names:
        Image.fromarray(np.full(size, ids, np.uint8)).save(folder / f"{name}.png")
    return folder


def test_ground_truth_gives_metrics(segment: Callable[..., int], clip: Path, tmp_path: Path, capsys: Capture) -> None:
    labels = make_labels(tmp_path / "labels", ["000000", "000002"])
    assert segment(clip, "--gt", labels, "--out", "out", "--compare") == 0
    metrics = json.loads(Path("out/metrics.json").read_text())
    assert metrics["frames_without_label"] == CLIP_FRAMES - 2
    assert set(metrics["methods"]) == {"online", "joint"}
    assert metrics["methods"]["online"]["frames_scored"] == 2
    assert set(metrics["methods"]["online"]["by_class"]) == {entry.name for entry in CAMVID}
    printed = capsys.readouterr().out
    assert "mIoU online, pooled" in printed
    assert "metrics.json" in printed


@pytest.mark.parametrize(
    ("names", "ids", "size", "cause"),
    [
        (["other"], 0, (48, 64), "is named like no frame"),
        (["000000"], 12, (48, 64), "holds the id 12"),
        (["000000"], 0, (24, 32), "is 32x24, but its frame is 64x48"),
    ],
)
def test_labels_that_do_not_fit(
    segment: Callable[..., int],
    clip: Path,
    tmp_path: Path,
    capsys: Capture,
    names: list[str],
    ids: int,
    size: tuple[int, int],
    cause: str,
) -> None:
    labels = make_labels(tmp_path / "labels", names, ids, size)
    assert segment(clip, "--gt", labels) == 1
    error = error_of(capsys)
    assert cause in error
    assert names[0] in error


def test_void_is_255_or_the_id_after_the_last_class(segment: Callable[..., int], clip: Path, tmp_path: Path) -> None:
    labels = make_labels(tmp_path / "labels", ["000000"], len(CAMVID))
    assert segment(clip, "--gt", labels, "--out", "out", "--max-frames", 1) == 0
    assert json.loads(Path("out/metrics.json").read_text())["methods"]["online"]["pooled"] is None


def test_an_empty_label_folder(segment: Callable[..., int], clip: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "labels").mkdir()
    assert segment(clip, "--gt", tmp_path / "labels") == 1
    assert "has no label PNGs" in error_of(capsys)
