"""Fixtures that many tests share: a model of 0.3 M parameters and a short made-up video."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from PIL import Image
from published_fixtures import save_published
from torch import Tensor
from torch.nn import functional
from video_fixtures import make_video

from ttt_cli.adaptation.methods import constants_of
from ttt_cli.adaptation.online import Adapter
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.cli import _console, main
from ttt_cli.core.classes import CAMVID
from ttt_cli.core.frame import Frame, Result, Video
from ttt_cli.model.feature_statistics import FeatureStatistics
from ttt_cli.model.own import OwnWeights, save_weights
from ttt_cli.model.settings import EncoderSize, HeadSize, ModelSize, ReconstructionSettings
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.model.weights import ALL_TASKS
from ttt_cli.tasks.semantic import SemanticTask

# The models here are tiny: handing work to a second thread costs more than it saves.
torch.set_num_threads(1)

CLIP_FRAMES = 6
"""Frames of `clip`."""
PATIENCE = 300
"""Seconds to wait for a separate process; a machine that is busy training needs them."""

TINY_HEAD = HeadSize(
    queries=12,
    channels=32,
    attention_heads=2,
    pixel_decoder_layers=1,
    pixel_decoder_feedforward=32,
    decoder_layers=1,
    decoder_feedforward=32,
)
TINY = ModelSize(encoder=EncoderSize("test_efficientnet"), main_head=TINY_HEAD, reconstruction_head=TINY_HEAD)


@torch.no_grad()
def new_model(size: ModelSize, classes: int) -> TwoHeadedModel:
    """A model with random weights, always the same, which knows what its features are like on `picture`s."""
    torch.manual_seed(0)
    model = TwoHeadedModel(size, classes).eval()
    model.ordinary_features = FeatureStatistics.of(model.channel_statistics(picture(seed)[None]) for seed in range(4))
    return model


@pytest.fixture(autouse=True)
def _no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """No lines of progress on standard error, however busy the machine is."""
    monkeypatch.setattr(_console, "SECONDS_BETWEEN_LINES", float("inf"))


@pytest.fixture
def tiny_model() -> TwoHeadedModel:
    """The same model in every test."""
    return new_model(TINY, len(CAMVID))


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file of a tiny model for segmentation."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    model = new_model(TINY, len(CAMVID))
    settings = ReconstructionSettings(target="image")
    save_weights(model, OwnWeights(path, "tiny", ALL_TASKS, CAMVID, "none", settings, {}, model_size=TINY))
    return path


COLOR = dataclasses.replace(TINY, color_outputs=2)


@pytest.fixture(scope="session")
def color_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file of a tiny model for colorization."""
    path = tmp_path_factory.mktemp("weights") / "colors.safetensors"
    tasks, settings = ("colorization",), ReconstructionSettings()
    save_weights(new_model(COLOR, 0), OwnWeights(path, "colors", tasks, (), "none", settings, {}, model_size=COLOR))
    return path


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny published model of a family in MAKERS; it is not to be changed."""
    made: dict[str, Path] = {}

    def folder_of(family: str) -> Path:
        if family not in made:
            made[family] = save_published(family, tmp_path_factory.mktemp("published") / family)
        return made[family]

    return folder_of


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames with sound."""
    return make_video(tmp_path_factory.mktemp("clip") / "clip.mp4", seconds=CLIP_FRAMES / 10, sound=True)


@pytest.fixture
def segment(tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`tttv segment` with the tiny weights, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> int:
        return main(["segment", "--weights", str(tiny_weights), *map(str, arguments)])

    return call


def error_of(capture: pytest.CaptureFixture[str]) -> str:
    """The only line on standard error."""
    error = capture.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def picture(seed: int = 0) -> Tensor:
    """A smooth and colorful picture: uint8 RGB (3, 64, 96)."""
    coarse = torch.rand(1, 3, 8, 12, generator=torch.Generator().manual_seed(seed)) * 255
    return functional.interpolate(coarse, size=(64, 96), mode="bicubic")[0].clamp(0, 255).to(torch.uint8)


def save_frames(images: list[Tensor], folder: Path) -> Path:
    """Writes images, uint8 RGB (3, H, W), as 0.png, 1.png, ... into a new folder, and returns it."""
    folder.mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(folder / f"{index}.png")
    return folder


def noise_frames(count: int, size: tuple[int, int] = (48, 64), seed: int = 0) -> list[Frame]:
    """Different frames of random blocks."""
    generator = torch.Generator().manual_seed(seed)
    frames = []
    for index in range(count):
        blocks = torch.randint(0, 256, (3, size[0] // 8, size[1] // 8), generator=generator, dtype=torch.uint8)
        image = blocks.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)
        frames.append(Frame(index, f"{index:06d}", index / 10, image))
    return frames


def video_of(frames: list[Frame]) -> Video:
    """A video that yields these frames."""
    size = (frames[0].image.shape[1], frames[0].image.shape[2])
    return Video("made-up", Path("made-up"), Fraction(10), size, len(frames), lambda: iter(frames))


def adapter_for(
    model: TwoHeadedModel,
    method: str = "online",
    familiar_loss: float | None = None,
    constants: dict[str, float] | None = None,
    **settings: object,
) -> Adapter:
    """An adapter for one video. constants, settings: others than the defaults."""
    # The tiny model is never confident, so self-training would have nothing to learn from.
    usual = {"confidence": 0.0} if "confidence" in constants_of(method) else {}
    adaptation = AdaptationSettings(method=method, constants=usual | (constants or {}), **settings)  # type: ignore[arg-type]
    reconstruction = ReconstructionSettings(familiar_loss=familiar_loss)
    return Adapter(model, SemanticTask(CAMVID), adaptation, reconstruction, torch.device("cpu"))


def values(model: TwoHeadedModel) -> dict[str, Tensor]:
    """A copy of all parameters and buffers."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    """Whether two such copies are equal, bit for bit."""
    return all(torch.equal(left[name], right[name]) for name in left)


def probabilities_of(results: Iterator[Result]) -> list[Tensor]:
    """The class probabilities of each result."""
    return [result.prediction.probabilities for result in results]  # type: ignore[attr-defined]


def check_contract(adapter: Adapter, frames: list[Frame]) -> set[int]:
    """An adapter moves what its method says, nothing else, and gives the model back bit for bit.

    Returns the ids of the tensors that it moved.
    """
    model, method = adapter.model, adapter.method
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    before = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    declared = {id(parameter) for parameter in method.parameters(model)}
    followed = {id(buffer) for buffer in method.statistics(model)}
    for frame in frames:
        adapter.step(frame)
    moved = {id(tensor) for name, tensor in tensors.items() if not torch.equal(tensor, before[name])}
    assert moved <= declared | followed
    assert bool(moved & declared) == bool(declared)
    assert bool(moved & followed) == bool(followed)
    adapter.restore()
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors.items())
    return moved
