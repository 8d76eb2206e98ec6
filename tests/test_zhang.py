"""Zhang et al.'s color network: the published predictions to the bit, adapted, and read without running its pickle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from conftest import check_contract, error_of, noise_frames, picture, save_frames
from torch import Tensor, nn
from torch.nn import functional

from ttt_cli.adaptation.methods import check_defined
from ttt_cli.adaptation.online import Adapter
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.cli import main
from ttt_cli.core.color import gray_of, lab_of
from ttt_cli.core.errors import TttvError, UsageError
from ttt_cli.core.labels import Chroma
from ttt_cli.model.companion import HeadShape, companion_path, write_companion
from ttt_cli.model.feature_statistics import FeatureStatistics
from ttt_cli.model.light_head import LightHead
from ttt_cli.model.opening import open_weights
from ttt_cli.model.published.zhang import Widths, ZhangModel
from ttt_cli.model.published.zhang_weights import ZhangWeights
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.preparation import prepare
from ttt_cli.preparation.settings import PreparationSettings
from ttt_cli.tasks.colorization import ColorizationTask
from ttt_cli.tasks.settings import TaskSettings

Capture = pytest.CaptureFixture[str]
PUBLISHED = (64, 128, 256, 512, 512, 512, 512, 256, 313)
NARROW = (4, 6, 8, 8, 8, 8, 8, 6, 9)
"""Channels of conv1 to conv8, and the number of colors."""
SHAPE = HeadShape(channels=NARROW[6:7], strides=(8,), width=8)
"""Of a g."""
ADAPTING = ("ln-adapt", "align", "clamp", "implicit", "online", "online+ln-adapt")


def convolution(before: int, width: int, stride: int = 1, dilation: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(before, width, 3, stride, padding=dilation, dilation=dilation), nn.ReLU()]


def reference(widths: Sequence[int]) -> nn.ModuleDict:
    """The network as the paper's table of layers has it, with the names of the published file."""
    c1, c2, c3, c4, c5, c6, c7, c8, colors = widths
    stages = {
        "model1": [*convolution(1, c1), *convolution(c1, c1, stride=2), nn.BatchNorm2d(c1)],
        "model2": [*convolution(c1, c2), *convolution(c2, c2, stride=2), nn.BatchNorm2d(c2)],
        "model3": [*convolution(c2, c3), *convolution(c3, c3), *convolution(c3, c3, stride=2), nn.BatchNorm2d(c3)],
        "model4": [*convolution(c3, c4), *convolution(c4, c4), *convolution(c4, c4), nn.BatchNorm2d(c4)],
        "model5": [
            *(layer for before in (c4, c5, c5) for layer in convolution(before, c5, dilation=2)),
            nn.BatchNorm2d(c5),
        ],
        "model6": [
            *(layer for before in (c5, c6, c6) for layer in convolution(before, c6, dilation=2)),
            nn.BatchNorm2d(c6),
        ],
        "model7": [*convolution(c6, c7), *convolution(c7, c7), *convolution(c7, c7), nn.BatchNorm2d(c7)],
        "model8": [
            nn.ConvTranspose2d(c7, c8, 4, 2, 1),
            nn.ReLU(),
            *convolution(c8, c8),
            *convolution(c8, c8),
            nn.Conv2d(c8, colors, 1),
        ],
    }
    network = nn.ModuleDict({name: nn.Sequential(*layers) for name, layers in stages.items()})
    network["model_out"] = nn.Conv2d(colors, 2, 1, bias=False)
    return network


@pytest.fixture(scope="module")
def network() -> nn.ModuleDict:
    """Random, with statistics that batch normalization has seen."""
    torch.manual_seed(0)
    made = reference(NARROW)
    with torch.no_grad():
        values = lab_of(torch.stack([gray_of(picture(seed)) for seed in range(4)]))[:, :1] / 100 - 0.5
        for name in list(made)[:-1]:
            for _ in range(20):
                made[name](values)
            values = made[name].eval()(values)
    return made


@pytest.fixture(scope="module")
def file(network: nn.ModuleDict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zhang") / "colors.pth"
    torch.save(network.state_dict(), path)
    return path


def opened(path: Path) -> ZhangWeights:
    weights = open_weights(str(path))
    assert isinstance(weights, ZhangWeights)
    return weights


def prepared(path: Path) -> ZhangModel:
    """The model with g, and with the features of some ordinary pictures."""
    torch.manual_seed(0)
    model = opened(path).load()
    model.reconstruction_head = LightHead(SHAPE.channels, SHAPE.width, SHAPE.strides)
    model.add_mask_input({})
    with torch.no_grad():
        model.ordinary_features = FeatureStatistics.of(
            model.channel_statistics(gray_of(picture(seed))[None]) for seed in range(4)
        )
    return model


def adapter(model: ZhangModel, method: str, **constants: float) -> Adapter:
    settings = AdaptationSettings(method=method, learning_rate=1e-3, constants=constants)
    task = ColorizationTask((), TaskSettings(task="colorization", saturation=1.0))
    return Adapter(model, task, settings, ReconstructionSettings(), torch.device("cpu"))


def test_names_and_shapes_are_those_of_the_published_file() -> None:
    with torch.device("meta"):
        theirs, ours = reference(PUBLISHED).state_dict(), ZhangModel(Widths(PUBLISHED[:7], *PUBLISHED[7:])).tensors()
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in theirs.items()}
    assert Widths.of(theirs) == (PUBLISHED[:7], *PUBLISHED[7:])


@pytest.mark.parametrize("size", [(64, 96), (256, 256), (61, 90), (33, 47)])
def test_the_fixed_model_says_what_the_published_network_says(
    network: nn.ModuleDict, file: Path, size: tuple[int, int]
) -> None:
    images = torch.stack([gray_of(functional.interpolate(picture(seed)[None], size=size)[0]) for seed in (7, 8)])
    model = opened(file).load()
    assert not model.training
    with torch.no_grad():
        values = (lab_of(images)[:, :1] - 50) / 100
        for stage in list(network.values())[:-1]:
            values = stage.eval()(values)
        theirs = network["model_out"](values.softmax(dim=1)) * 110
        colors = model.decode(model.encode(images))
    height, width = -(-size[0] // 4), -(-size[1] // 4)
    assert colors.ab.shape == (2, 2, height, width)
    assert torch.equal(colors.ab, theirs[..., :height, :width])
    assert colors.ab.std() > 0
    torch.testing.assert_close(colors.pixel_features.sum(dim=1), torch.ones(2, height, width))


def test_the_prediction_is_not_made_stronger(file: Path) -> None:
    weights, image = opened(file), gray_of(picture())
    assert weights.recommended["task"] == {"task": "colorization", "saturation": 1.0}
    model = weights.load()
    frame = noise_frames(1)[0]
    result = adapter(model, "joint").step(frame).prediction.at_size((48, 64))
    assert isinstance(result, Chroma)
    with torch.no_grad():
        assert torch.equal(result.ab, model.decode(model.encode(frame.image[None])).ab[0])
    assert len(model.channel_statistics(image[None])) == len(model.blocks) == 7


def test_lightness_is_not_rounded_to_half_precision(file: Path) -> None:
    model, images = opened(file).load(), gray_of(picture())[None]
    seen: list[Tensor] = []
    model.encoder.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    with torch.no_grad():
        model.encode(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            model.encode(images)
    assert torch.equal(*seen)


@pytest.mark.parametrize("method", ["joint", *ADAPTING])
def test_methods_move_what_they_say_and_give_the_model_back(file: Path, method: str) -> None:
    model = prepared(file)
    strict = {"align": {"dead_zone": 0.0, "familiar": 0.0}, "online+ln-adapt": {"probe_every": 0}}
    adapting = adapter(model, method, **strict.get(method, {}))
    moved = check_contract(adapting, noise_frames(2))
    assert not any(id(tensor) in moved for tensor in model.main_head.state_dict(keep_vars=True).values())


@pytest.mark.parametrize("method", ADAPTING)
def test_adapting_changes_the_colors(file: Path, method: str) -> None:
    frames = noise_frames(3, seed=5)
    strict = {"align": {"dead_zone": 0.0, "familiar": 0.0}, "clamp": {"dead_zone": 0.0}}
    colors = []
    for name in ("joint", method):
        adapting = adapter(prepared(file), name, **strict.get(name, {}))
        colors.append([adapting.step(frame).prediction.at_size((48, 64)) for frame in frames][-1])
    fixed, adapted = colors
    assert isinstance(fixed, Chroma) and isinstance(adapted, Chroma)
    assert not torch.equal(fixed.ab, adapted.ab)


def test_methods_that_need_more_are_refused(file: Path) -> None:
    weights = opened(file)
    for method in ("joint", "ln-adapt", "joint+smoothing", "joint+mirror"):
        check_defined(method, "colorization", weights)
    for method in ("online", "align", "clamp"):
        with pytest.raises(UsageError, match=r"weights colors\.pth lack .* tttv weights prepare"):
            check_defined(method, "colorization", weights)
    for method in ("tent", "self-train", "cotta", "joint+vote"):
        with pytest.raises(UsageError, match="not defined for the task colorization"):
            check_defined(method, "colorization", weights)
    model = weights.load()
    encoded = model.encode(picture()[None])
    with pytest.raises(ValueError, match="knows no classes"):
        model.class_probabilities(encoded)
    with pytest.raises(ValueError, match="has no reconstruction head"):
        model.reconstruct(encoded)


def test_what_is_hidden_does_not_reach_f(file: Path) -> None:
    model = prepared(file)
    image, other = picture(0)[None], picture(1)[None]
    visible = torch.zeros(1, 1, 64, 96)
    visible[..., :32] = 1
    other[..., :32] = image[..., :32]
    assert torch.equal(model.encode(image, visible).features, model.encode(other, visible).features)
    assert not torch.equal(model.encode(image).features, model.encode(other).features)
    odd = image[..., :61, :90]
    assert model.reconstruct(model.encode(odd, visible[..., :61, :90])).shape == (1, 3, 61, 90)


def test_f_can_be_told_what_is_hidden(file: Path) -> None:
    model, image = opened(file).load(), picture()[None]
    visible = (torch.rand(1, 1, 64, 96, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    untold = model.encode(image, visible).features
    model.add_mask_input({})
    assert torch.equal(model.encode(image, visible).features, untold)
    model.add_mask_input({"weight": torch.randn(NARROW[0], 1, 3, 3, generator=torch.Generator().manual_seed(0))})
    assert not torch.equal(model.encode(image, visible).features, untold)
    assert torch.equal(model.encode(image, torch.ones_like(visible)).features, model.encode(image).features)


def test_an_adapted_model_can_be_saved_and_opened(file: Path, tmp_path: Path) -> None:
    weights = opened(file)
    model = weights.load()
    adapter(model, "ln-adapt").step(noise_frames(1)[0])
    weights.save(model, tmp_path / "adapted.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["adapted.safetensors"]
    again = opened(tmp_path / "adapted.safetensors")
    adapted, restored = model.tensors(), again.load().tensors()
    assert all(torch.equal(adapted[name], restored[name]) for name in adapted)
    assert again.fingerprint() != weights.fingerprint()


def test_old_files_and_half_precision_are_read(network: nn.ModuleDict, file: Path, tmp_path: Path) -> None:
    """Before PyTorch 1.6 files were no zip archives, before 0.4.1 batch normalization did not count."""
    tensors = {name: value for name, value in network.state_dict().items() if "num_batches" not in name}
    torch.save(tensors, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    theirs, ours = opened(file).load().tensors(), opened(tmp_path / "old.pth").load().tensors()
    assert all(torch.equal(value, ours[name]) for name, value in theirs.items() if "num_batches" not in name)
    torch.save({name: value.half() for name, value in tensors.items()}, tmp_path / "half.pth")
    model = opened(tmp_path / "half.pth").load()
    assert {value.dtype for value in model.parameters()} == {torch.float32}


class Bomb:
    """Leaves a file behind if its pickle is run."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_planted_pickle_is_not_run(network: nn.ModuleDict, tmp_path: Path, capsys: Capture, is_zip: bool) -> None:
    path, marker = tmp_path / "planted.pth", tmp_path / "marker"
    torch.save({**network.state_dict(), "planted": Bomb(marker)}, path, _use_new_zipfile_serialization=is_zip)
    assert main(["weights", "show", str(path)]) == 1
    assert "planted.pth: cannot be read: it is damaged, or holds more than tensors" in error_of(capsys)
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists(), "it would have been"


def without(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {other: value for other, value in tensors.items() if other != name}


WRONG: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "another network": lambda tensors: {"conv1.weight": torch.ones(64, 3, 7, 7)},
    "interactive": lambda tensors: {**tensors, "model9.0.weight": torch.ones(1), "model_class.0.weight": torch.ones(1)},
    "no layer": lambda tensors: without(tensors, "model5.2.weight"),
    "no batch norm": lambda tensors: without(tensors, "model3.6.running_var"),
    "other shape": lambda tensors: {**tensors, "model_out.weight": torch.ones(3, 9, 1, 1)},
    "no width": lambda tensors: {**tensors, "model2.0.bias": torch.tensor(1.0)},
    "nested": lambda tensors: {"state_dict": tensors},
    "a list": lambda tensors: list(tensors.values()),
    "a tensor": lambda tensors: tensors["model_out.weight"],
}


@pytest.mark.parametrize("wrong", WRONG)
def test_other_files_of_pytorch_are_refused(
    network: nn.ModuleDict, tmp_path: Path, capsys: Capture, wrong: str
) -> None:
    path = tmp_path / "wrong.pth"
    torch.save(WRONG[wrong](dict(network.state_dict())), path)
    assert main(["colorize", "absent.mp4", "--weights", str(path)]) == 1
    error = error_of(capsys)
    assert "wrong.pth: " in error
    assert "color network of Zhang et al. 2016" in error or "holds no tensors by name" in error
    assert len(error) < len(str(path)) + 350


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.99])
def test_files_cut_short(network: nn.ModuleDict, tmp_path: Path, is_zip: bool, share: float) -> None:
    path = tmp_path / "short.pth"
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=is_zip)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(TttvError, match=r"short\.pth: cannot be read: it is damaged"):
        open_weights(str(path))


def test_colorize_runs_it(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    frames = save_frames([picture(seed) for seed in range(3)], tmp_path / "frames")
    reports = {}
    for options in ((), ("--smooth",), ("--method", "ln-adapt"), ("--saturation", "1.5")):
        assert main(["colorize", str(frames), "--weights", str(file), "--json", "--overwrite", *options]) == 0
        reports[options] = json.loads(capsys.readouterr().out)["settings"]
    assert [report["adaptation"]["method"] for report in reports.values()] == [
        "joint",
        "joint+smoothing",
        "ln-adapt",
        "joint",
    ]
    assert [report["task"]["saturation"] for report in reports.values()] == [1, 1, 1, 1.5]
    assert {report["input"]["exposure"] for report in reports.values()} == {"off"}
    written = sorted(path.name for path in (tmp_path / "runs" / "frames-joint-colorization").iterdir())
    assert written == ["frames.jsonl", "overlay.mp4", "run.json"]
    for command in ("show", "verify"):
        assert main(["weights", command, str(file)]) == 0
    assert "BSD-2-Clause" in capsys.readouterr().out
    assert main(["segment", str(frames), "--weights", str(file), "--task", "semantic"]) == 2
    assert "weights colors.pth are for colorization, not for the task semantic" in error_of(capsys)


def test_it_can_be_prepared(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """First for the methods that compare features, then for those that reconstruct."""
    monkeypatch.chdir(tmp_path)
    path = shutil.copy(file, tmp_path / "colors.pth")
    frames = save_frames([picture(seed) for seed in range(8)], tmp_path / "frames")
    colorize = ["colorize", str(frames), "--weights", str(path), "--json", "--overwrite", "--max-frames", "2"]
    assert main(["weights", "prepare", str(path), "--images", str(frames), "--fast"]) == 0
    capsys.readouterr()
    assert main(colorize) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["adaptation"]["method"] == "joint"
    assert main([*colorize, "--method", "clamp"]) == 0
    assert main([*colorize, "--method", "align"]) == 0
    assert main([*colorize, "--method", "online"]) == 2
    assert "lack a reconstruction head" in capsys.readouterr().err

    weights = opened(path)
    task = ColorizationTask((), TaskSettings(task="colorization"))
    pictures = [picture(seed) for seed in range(8)]
    settings = PreparationSettings(steps=2, crop_height=48, crop_width=64, head_width=8, warmup_steps=1)
    made = prepare.with_reconstruction(
        weights.load_alone(),
        weights.fingerprint(),
        pictures,
        task.preprocess,
        settings,
        tmp_path / "checkpoint",
        lambda losses: None,
        lambda: None,
    )
    write_companion(companion_path(path), *made)
    capsys.readouterr()
    assert main([*colorize, "--method", "online"]) == 0
    assert json.loads(capsys.readouterr().out)["first_loss"] > 0
