"""The Python API, and the snippets of README.md and docs/python-api.md."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import noise_frames, save_frames
from PIL import Image
from video_fixtures import make_video

import ttt_cli
from ttt_cli.core.errors import UsageError

ROOT = Path(__file__).parents[1]
SNIPPETS = [
    pytest.param(snippet, id=f"{page.name} {number}")
    for page in (ROOT / "README.md", ROOT / "docs" / "python-api.md")
    for number, snippet in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
]


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippets_of_the_documents_run(snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_video(Path("drive.mp4"), seconds=0.5)
    exec(compile(snippet, "snippet", "exec"), {})
    if ".save(" in snippet:
        assert ttt_cli.load("mine.safetensors").weights.name == "mine"


def test_the_documents_have_the_snippets() -> None:
    text = "".join(snippet.values[0] for snippet in SNIPPETS)
    assert all(f"ttt_cli.{name}(" in text for name in ("segment", "adapt", "open_video", "load"))
    assert ".save(" in text and ".step(" in text


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, ttt_cli; assert ttt_cli.__version__; assert 'torch' not in sys.modules; ttt_cli.segment"
    code += "; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    with pytest.raises(AttributeError, match="no attribute 'segmnt'"):
        ttt_cli.segmnt  # noqa: B018


def test_a_run_has_its_folder_its_report_and_its_frames(tiny_weights: Path, tmp_path: Path) -> None:
    frames = save_frames([frame.image for frame in noise_frames(3)], tmp_path / "frames")
    run = ttt_cli.segment(
        frames, weights=tiny_weights, out=tmp_path / "run", method="online", window=2, seed=3, budget=0
    )
    assert run.report.status == "done"
    assert (run.report.settings.adaptation.window, run.report.settings.adaptation.seed) == (2, 3)
    assert run.folder.overlay.is_file()
    records = list(run)
    assert [record.index for record in records] == [0, 1, 2]
    assert all(record.loss is not None and (run.folder.masks / f"{record.name}.png").is_file() for record in records)


def test_a_run_can_be_scored(tiny_weights: Path, tmp_path: Path) -> None:
    frames = save_frames([frame.image for frame in noise_frames(2)], tmp_path / "frames")
    (tmp_path / "labels").mkdir()
    for index in range(2):
        Image.fromarray(np.zeros((48, 64), np.uint8)).save(tmp_path / "labels" / f"{index}.png")
    run = ttt_cli.segment(frames, weights=tiny_weights, out=tmp_path / "run", truth=tmp_path / "labels")
    assert run.scores is not None and run.folder.metrics.is_file()


def test_color_videos_can_be_made(color_weights: Path, tmp_path: Path) -> None:
    frames = save_frames([frame.image for frame in noise_frames(2)], tmp_path / "frames")
    run = ttt_cli.colorize(frames, weights=color_weights, out=tmp_path / "run", gray_first=True)
    assert run.scores is not None
    assert run.report.settings.task.task == "colorization"
    assert run.folder.overlay.is_file()


def test_own_frames_are_adapted_to_as_a_video_is(tiny_weights: Path, tmp_path: Path) -> None:
    images = [frame.image for frame in noise_frames(3)]
    folder = save_frames(images, tmp_path / "frames")
    loaded = ttt_cli.load(tiny_weights, device="cpu")
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    settings = {"adaptation.learning_rate": 1e-3}
    arrays = [image.permute(1, 2, 0).numpy() for image in images]
    backward = [array[..., ::-1].copy()[..., ::-1] for array in arrays]
    inputs = (ttt_cli.open_video(folder), images, iter(arrays), backward)
    losses = []
    for frames in inputs:
        results = list(ttt_cli.adapt(frames, loaded, method="online", window=2, settings=settings))
        losses.append([result.loss for result in results])
        assert results[0].prediction.class_map.shape == images[0].shape[1:]
    assert losses[0] == losses[1] == losses[2] == losses[3]
    assert all(torch.equal(tensor, before[name]) for name, tensor in loaded.model.state_dict().items())


def test_adapted_weights_can_be_saved_and_loaded(tiny_weights: Path, tmp_path: Path) -> None:
    loaded = ttt_cli.load(tiny_weights)
    session = ttt_cli.adapt((), loaded, settings={"adaptation.learning_rate": 1e-2})
    for frame in noise_frames(2):
        session.step(frame.image, seconds=frame.seconds)
    saved = ttt_cli.load(session.save(tmp_path / "mine.safetensors"))
    adapted, fixed = session.model.state_dict(), loaded.model.state_dict()
    assert all(torch.equal(tensor, adapted[name]) for name, tensor in saved.model.state_dict().items())
    assert any(not torch.equal(tensor, fixed[name]) for name, tensor in saved.model.state_dict().items())
    assert saved.weights.classes == loaded.weights.classes


def test_wrong_frames_and_settings_are_refused(tiny_weights: Path) -> None:
    loaded = ttt_cli.load(tiny_weights)
    session = ttt_cli.adapt((), loaded)
    for wrong in (np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8), torch.zeros(4, 8, 8, dtype=torch.uint8), "frame"):
        with pytest.raises(UsageError, match="must be uint8 RGB"):
            session.step(wrong)  # type: ignore[arg-type]
    for name in ("adaptation.learning", "adaptation", "learning_rate", "adaptation.ln-adapt.confidence"):
        with pytest.raises(UsageError):
            ttt_cli.adapt((), loaded, settings={name: 1.0})
    with pytest.raises(TypeError, match="unknown option 'windw'; did you mean window\\? known: method, window"):
        ttt_cli.adapt((), loaded, windw=3)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="weights of its own"):
        ttt_cli.adapt((), loaded, method="main-only")
