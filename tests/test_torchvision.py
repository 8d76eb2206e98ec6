"""Models of torchvision: predicted as torchvision does, and adapted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from conftest import check_contract, error_of, noise_frames
from test_published import FRAME, smooth_picture
from torch.nn import functional
from torchvision.models import get_model, get_model_weights

from ttt_cli.adaptation.online import Adapter
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.cli import main
from ttt_cli.core.errors import TttvError, UsageError
from ttt_cli.core.voc_classes import VOC
from ttt_cli.model.opening import open_weights
from ttt_cli.model.published.torchvision import TorchvisionWeights
from ttt_cli.tasks.published import PublishedSemanticTask

SMALL, WITH_AUXILIARY = "lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large"
MODELS = [SMALL, WITH_AUXILIARY]
Checkpoint = Callable[..., Path]


@torch.no_grad()
def new_model(name: str, classes: int = len(VOC)) -> torch.nn.Module:
    """A model with random weights, always the same, that finds several classes."""
    torch.manual_seed(0)
    options = {"aux_loss": True} if name == WITH_AUXILIARY else {}
    model: torch.nn.Module = get_model(name, weights=None, weights_backbone=None, num_classes=classes, **options)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    model.train()(torch.rand(2, 3, 64, 64))
    return model.eval()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The file of a model's weights."""
    made: dict[tuple[str, int], Path] = {}

    def file_of(name: str, classes: int = len(VOC)) -> Path:
        if (name, classes) not in made:
            path = tmp_path_factory.mktemp("torchvision") / f"{name}.pth"
            torch.save(new_model(name, classes).state_dict(), path)
            made[name, classes] = path
        return made[name, classes]

    return file_of


def opened(name: str, path: Path) -> TorchvisionWeights:
    weights = open_weights(f"torchvision:{name}#{path}")
    assert isinstance(weights, TorchvisionWeights)
    return weights


@torch.no_grad()
@pytest.mark.parametrize("name", MODELS)
def test_the_fixed_model_predicts_what_torchvision_predicts(checkpoint: Checkpoint, name: str) -> None:
    weights, image = opened(name, checkpoint(name)), smooth_picture()
    transforms = get_model_weights(name).DEFAULT.transforms()
    logits = new_model(name)(transforms(image)[None])["out"]
    theirs = functional.interpolate(logits, FRAME, mode="bilinear", align_corners=False)[0].argmax(0)
    model, task = weights.load(), PublishedSemanticTask(weights.classes, processing=weights.processing(resizes=True))
    ours: Any = task.predict(model, model.encode(task.preprocess(image)[None])).at_size(FRAME)
    assert torch.equal(ours.ids, theirs.to(torch.uint8))
    assert len(theirs.unique()) > 1


@pytest.mark.parametrize("name", MODELS)
def test_replay_gives_the_same_bits_and_gradients(checkpoint: Checkpoint, name: str) -> None:
    model: Any = opened(name, checkpoint(name)).load()
    images = torch.stack([smooth_picture((61, 90)), smooth_picture((61, 90), seed=1)])
    encoded = model.encode(images)
    whole, replayed = model.model(encoded.pixels), model.decode(encoded)
    assert whole.keys() == replayed.keys()
    assert all(torch.equal(whole[key], replayed[key]) for key in whole)
    trained = list(model.encoder.parameters())
    gradients = [
        torch.autograd.grad(output["out"].square().sum(), trained, materialize_grads=True)
        for output in (whole, replayed)
    ]
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))
    assert any(gradient.any() for gradient in gradients[0])
    probabilities = model.class_probabilities(encoded)
    assert probabilities.shape == (2, len(VOC), 16, 23)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(2, 16, 23))
    heights = [values.shape[-2] for values in model.maps(encoded)]
    assert heights == sorted(set(heights), reverse=True)
    assert len(model.channel_statistics(images)) == len(model.blocks) > 1


@pytest.mark.parametrize("method", ["tent", "self-train", "ln-adapt", "joint"])
def test_methods_move_what_they_say_and_give_the_model_back(checkpoint: Checkpoint, method: str) -> None:
    weights = opened(SMALL, checkpoint(SMALL))
    model, task = weights.load(), PublishedSemanticTask(weights.classes, processing=weights.processing(resizes=False))
    constants = {"confidence": 0.0} if method == "self-train" else {}
    settings = AdaptationSettings(method=method, learning_rate=1e-3, constants=constants)
    adapter = Adapter(model, task, settings, weights.reconstruction, torch.device("cpu"))
    check_contract(adapter, noise_frames(2))


def test_classes_are_vocs_or_numbered(checkpoint: Checkpoint, tmp_path: Path) -> None:
    assert opened(SMALL, checkpoint(SMALL)).classes == VOC
    weights = opened(SMALL, checkpoint(SMALL, 3))
    assert [kind.name for kind in weights.classes] == ["class 0", "class 1", "class 2"]
    weights.save(weights.load(), tmp_path / "saved.pth")
    assert opened(SMALL, tmp_path / "saved.pth").classes == weights.classes
    assert open_weights(weights.identity()["path"]).fingerprint() == weights.fingerprint()


def test_the_command_segments_with_a_file_in_the_cache(
    checkpoint: Checkpoint, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    (cache / Path(get_model_weights(SMALL).DEFAULT.url).name).symlink_to(checkpoint(SMALL))
    run = ["segment", clip, "--weights", f"torchvision:{SMALL}", "--max-frames", 1, "--size", 64, "--quiet"]
    assert main([*map(str, run), "--out", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "overlay.mp4").stat().st_size > 0


def test_without_file_and_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    assert main(["weights", "show", f"torchvision:{SMALL}"]) == 1
    error = error_of(capsys)
    assert f"{get_model_weights(SMALL).DEFAULT.url.rpartition('/')[2]} is missing and cannot be downloaded" in error
    assert f"name a file: torchvision:{SMALL}#FILE" in error
    assert list(tmp_path.rglob("*.pth*")) == []


def test_bad_input_is_told_in_one_line(checkpoint: Checkpoint, tmp_path: Path) -> None:
    class Planted:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "planted",))

    with pytest.raises(
        UsageError,
        match=r"torchvision has no such model; did you mean fcn_resnet50 .*known: deeplabv3_mobilenet_v3_large, ",
    ):
        open_weights("torchvision:resnet50")
    with pytest.raises(TttvError, match=r"missing\.pth: there is no such file"):
        opened(SMALL, tmp_path / "missing.pth")
    path = tmp_path / "bad.pth"
    contents: dict[str, Any] = {
        "cannot be read: it is damaged, or holds more than tensors": {"classifier.planted.weight": Planted()},
        "holds no tensors by name": [torch.zeros(1)],
        "has 0 classes": {"weight": torch.zeros(1)},
        "has 300 classes": {"classifier.weight": torch.zeros(300)},
    }
    for message, content in contents.items():
        torch.save(content, path)
        with pytest.raises(TttvError, match=rf"bad\.pth: .*{message}"):
            opened(SMALL, path)
    path.write_bytes(checkpoint(SMALL).read_bytes()[:1000])
    with pytest.raises(TttvError, match=r"bad\.pth: cannot be read"):
        opened(SMALL, path)
    assert not (tmp_path / "planted").exists()


def test_tensors_that_do_not_fit(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(TttvError, match=r"tensors do not fit the model \(\d+ are missing"):
        opened(WITH_AUXILIARY, checkpoint(SMALL)).load()
    tensors = torch.load(checkpoint(SMALL), weights_only=True)
    path = tmp_path / "bad.pth"
    torch.save({**tensors, "surplus": torch.zeros(1)}, path)
    with pytest.raises(TttvError, match=r"\(1 are not known to the model, surplus among them\)"):
        opened(SMALL, path).load()
    torch.save({**tensors, "backbone.0.0.weight": torch.zeros(1)}, path)
    with pytest.raises(TttvError, match=r"tensors do not fit the model \(size mismatch for backbone\.0\.0\.weight"):
        opened(SMALL, path).load()
