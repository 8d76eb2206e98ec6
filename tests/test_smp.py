"""Models of segmentation_models_pytorch: predicted as that library does, and adapted."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from conftest import check_contract, error_of, noise_frames, save_frames
from huggingface_hub import constants
from safetensors.torch import load_file
from test_hub import lay_cache
from test_prepare import prepared
from test_published import FRAME, smooth_picture
from torch import Tensor
from torch.nn import functional

from ttt_cli.adaptation.methods import check_defined
from ttt_cli.adaptation.online import Adapter
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.cli import main
from ttt_cli.core.cityscapes_classes import CITYSCAPES
from ttt_cli.core.errors import TttvError
from ttt_cli.model.opening import open_weights
from ttt_cli.model.published.smp import ARCHITECTURES, SmpWeights
from ttt_cli.model.published.smp_processing import PREPROCESSING
from ttt_cli.tasks.published import PublishedSemanticTask

CLASSES = 5
DEEPLAB = "DeepLabV3Plus"
SIDE = 128
"""PAN takes nothing smaller."""
ENCODERS = {
    "Segformer": "mit_b0",
    "UPerNet": "tu-test_convnext",
    "FPN": "mobilenet_v2",
    DEEPLAB: "tu-test_efficientnet",
}
"""Of timm, with and without a map at stride 2, and of smp."""
MAKERS: dict[str, dict[str, Any]] = {
    **{name: {"encoder_name": ENCODERS.get(name, "tu-test_resnet"), "classes": CLASSES} for name in ARCHITECTURES},
    "Linknet": {"encoder_name": "resnet18", "classes": CLASSES},
    "Unet": {"encoder_name": "tu-test_resnet", "classes": 1, "aux_params": {"classes": 3}},
}
Folder = Callable[[str], Path]


@torch.no_grad()
def new_model(architecture: str) -> Any:
    """A model with random weights, always the same, that finds several classes."""
    torch.manual_seed(0)
    model = getattr(smp, architecture)(encoder_weights=None, **MAKERS[architecture])
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    model.train()(torch.rand(2, 3, SIDE, SIDE))
    return model.eval()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The folder of a model, which is not to be changed."""
    made: dict[str, Path] = {}

    def folder_of(architecture: str) -> Path:
        if architecture not in made:
            made[architecture] = tmp_path_factory.mktemp("smp") / architecture
            new_model(architecture).save_pretrained(made[architecture])
        return made[architecture]

    return folder_of


def opened(path: Path) -> SmpWeights:
    weights = open_weights(str(path))
    assert isinstance(weights, SmpWeights)
    return weights


def task_for(weights: SmpWeights) -> PublishedSemanticTask:
    return PublishedSemanticTask(weights.classes, processing=weights.processing(resizes=True))


def predicted(weights: SmpWeights, image: Tensor) -> Tensor:
    model, task = weights.load(), task_for(weights)
    with torch.no_grad():
        labels: Any = task.predict(model, model.encode(task.preprocess(image)[None])).at_size(FRAME)
    ids: Tensor = labels.ids
    return ids


def masks_of(output: Any) -> Tensor:
    masks: Tensor = output[0] if isinstance(output, tuple) else output
    return masks


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_replay_gives_the_same_bits_and_gradients(folder: Folder, architecture: str) -> None:
    model: Any = opened(folder(architecture)).load()
    images = torch.stack([smooth_picture((SIDE, 160)), smooth_picture((SIDE, 160), seed=1)])
    encoded = model.encode(images)
    theirs = smp.from_pretrained(folder(architecture)).eval()
    whole, replayed = masks_of(model.model(encoded.pixels)), model.decode(encoded)
    assert torch.equal(whole, masks_of(theirs(encoded.pixels)))
    assert torch.equal(whole, replayed)
    trained = list(model.encoder.parameters())
    gradients = [
        torch.autograd.grad(logits.square().sum(), trained, materialize_grads=True) for logits in (whole, replayed)
    ]
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))
    assert any(gradient.any() for gradient in gradients[0])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_features_and_probabilities_have_their_shapes(folder: Folder, architecture: str) -> None:
    model: Any = opened(folder(architecture)).load()
    image = smooth_picture((125, 180))[None].float()
    encoded = model.encode(image, torch.ones(1, 1, 125, 180))
    count = max(MAKERS[architecture]["classes"], 2)
    probabilities = model.class_probabilities(encoded)
    assert probabilities.shape == (1, count, 32, 45)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(1, 32, 45))
    maps = model.maps(encoded)
    heights = [values.shape[-2] for values in maps]
    assert heights == sorted(set(heights), reverse=True)
    assert all(values.shape[1] > 3 for values in maps)
    assert all(stride in (1, 2, 4, 8, 16, 32) for stride in model.strides(encoded))
    assert len(model.channel_statistics(image)) == len(model.blocks) > 1


def by_smp(path: Path, pixels: Tensor) -> Tensor:
    """The logits at the size of the frame, as the cards of its models say, without any of our code."""
    with torch.no_grad():
        logits = masks_of(smp.from_pretrained(path).eval()(pixels[None]))
    return functional.interpolate(logits, FRAME, mode="bilinear", align_corners=False)[0]


def normalized(image: Tensor, architecture: str) -> Tensor:
    prepare = smp.encoders.get_preprocessing_fn(MAKERS[architecture]["encoder_name"])
    return torch.from_numpy(prepare(image.permute(1, 2, 0).numpy())).permute(2, 0, 1).float()


@pytest.mark.parametrize("architecture", [DEEPLAB, "Unet"])
def test_the_fixed_model_predicts_what_smp_predicts(folder: Folder, architecture: str) -> None:
    image = smooth_picture((96, 128))
    logits = by_smp(folder(architecture), normalized(image, architecture))
    theirs = (logits[0] > 0).long() if len(logits) == 1 else logits.argmax(0)
    weights = opened(folder(architecture))
    assert len(theirs.unique()) > 1
    assert torch.equal(predicted(weights, image), theirs.to(torch.uint8))
    assert weights.recommended["input"]["size"] is None


def with_transforms(path: Path, tmp_path: Path, *transforms: dict[str, Any]) -> Path:
    copy = shutil.copytree(path, tmp_path / "copy")
    listed = [{"__class_fullname__": name, **options} for entry in transforms for name, options in entry.items()]
    content = {"__version__": "1.4.18", "transform": {"__class_fullname__": "Compose", "transforms": listed}}
    (copy / PREPROCESSING).write_text(json.dumps(content))
    return copy


def test_frames_are_prepared_as_the_file_beside_the_model_says(folder: Folder, tmp_path: Path) -> None:
    resize = {"Resize": {"p": 1.0, "height": 64, "width": 96, "interpolation": 1}}
    path = with_transforms(folder(DEEPLAB), tmp_path, resize, {"albumentations.pytorch.ToTensorV2": {"p": 1.0}})
    image = smooth_picture((90, 130))
    small = functional.interpolate(image[None].float(), (64, 96), mode="bilinear", align_corners=False)[0].round()
    weights = opened(path)
    assert torch.equal(predicted(weights, image), by_smp(path, small).argmax(0).to(torch.uint8))
    assert weights.fingerprint() != opened(folder(DEEPLAB)).fingerprint()
    shutil.rmtree(path)
    normalize = {"Normalize": {"mean": [0.5, 0.4, 0.3], "std": [0.1, 0.2, 0.3], "max_pixel_value": 128}}
    model: Any = opened(with_transforms(folder(DEEPLAB), tmp_path, resize, normalize)).load()
    expected = (image.float() / 128 - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.1, 0.2, 0.3]).view(
        3, 1, 1
    )
    torch.testing.assert_close(model.encode(image[None]).pixels[0], expected)


@pytest.mark.parametrize("method", ["tent", "self-train", "ln-adapt", "joint"])
@pytest.mark.parametrize("architecture", [DEEPLAB, "Segformer", "UPerNet", "Unet"])
def test_methods_move_what_they_say_and_give_the_model_back(folder: Folder, architecture: str, method: str) -> None:
    weights = opened(folder(architecture))
    check_defined(method, "semantic", weights)
    constants = {"confidence": 0.0} if method == "self-train" else {}
    settings = AdaptationSettings(method=method, learning_rate=1e-3, constants=constants)
    adapter = Adapter(weights.load(), task_for(weights), settings, weights.reconstruction, torch.device("cpu"))
    check_contract(adapter, noise_frames(2, size=(SIDE, SIDE)))


@pytest.mark.parametrize("architecture", [DEEPLAB, "UPerNet"])
def test_prepared_models_adapt(folder: Folder, tmp_path: Path, architecture: str) -> None:
    path = shutil.copytree(folder(architecture), tmp_path / "copy")
    prepared(open_weights(str(path)))
    weights = opened(path)
    for method in ("clamp", "auto", "align", "online"):
        check_defined(method, "semantic", weights)
        model = weights.load()
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        constants = {"dead_zone": 0.0} if method == "align" else {}
        settings = AdaptationSettings(method=method, learning_rate=1e-3, constants=constants)
        adapter = Adapter(model, task_for(weights), settings, weights.reconstruction, torch.device("cpu"))
        losses = [adapter.step(frame).loss for frame in noise_frames(2, size=(64, 64))]
        assert (None in losses) == (method in ("clamp", "auto"))
        adapter.restore()
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_classes_are_those_of_the_data_set_on_the_card_or_numbered(folder: Folder, tmp_path: Path) -> None:
    assert [kind.name for kind in opened(folder("Unet")).classes] == ["background", "class 0"]
    assert [kind.name for kind in opened(folder(DEEPLAB)).classes] == [f"class {number}" for number in range(CLASSES)]
    model = smp.Unet("tu-test_resnet", encoder_weights=None, classes=len(CITYSCAPES))
    model.save_pretrained(tmp_path / "city", dataset="Cityscapes")
    assert opened(tmp_path / "city").classes == CITYSCAPES


def test_an_adapted_model_can_be_saved_and_opened(folder: Folder, tmp_path: Path) -> None:
    path = with_transforms(folder("Unet"), tmp_path, {"Normalize": {}})
    weights = opened(path)
    model: Any = weights.load()
    with torch.no_grad():
        next(model.encoder.parameters()).add_(1)
    weights.save(model, tmp_path / "saved")
    assert {found.name for found in (tmp_path / "saved").iterdir()} == {found.name for found in path.iterdir()}
    again: Any = opened(tmp_path / "saved").load()
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), again.parameters(), strict=True))
    assert opened(tmp_path / "saved").fingerprint() != weights.fingerprint()
    smp.from_pretrained(tmp_path / "saved")


def test_the_command_segments_with_a_model_in_the_cache(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    config = {**json.loads((folder(DEEPLAB) / "config.json").read_text()), "encoder_weights": "imagenet"}
    files = {path.name: path.read_bytes() for path in folder(DEEPLAB).iterdir()}
    lay_cache(tmp_path / "cache", {**files, "config.json": json.dumps(config).encode()})
    frames = save_frames([smooth_picture(seed=seed) for seed in range(2)], tmp_path / "frames")
    run = ["segment", frames, "--weights", "owner/name", "--fps", 5, "--method", "tent", "--quiet"]
    assert main([*map(str, run), "--out", str(tmp_path / "run")]) == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())["weights"]
    assert (record["license"], record["revision"]) == ("mit", "1" * 40)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no class": ({"_model_class": "DPT"}, "is a DPT, which cannot be adapted; known: DeepLabV3Plus"),
    "no string": ({"_model_class": ["Unet"]}, "cannot be adapted"),
    "a file for timm": ({"checkpoint_path": "planted.pth"}, "has checkpoint_path, which DeepLabV3Plus does not take"),
    "another hub": ({"encoder_name": "tu-hf-hub:owner/name"}, "encoder tu-hf-hub:owner/name, which neither smp nor"),
    "no such encoder": ({"encoder_name": "resnet19"}, "names the encoder resnet19"),
    "encoder is no name": ({"encoder_name": ["resnet18"]}, "names the encoder"),
    "large": ({"decoder_channels": 10**6}, "value for decoder_channels that is too large"),
    "long": ({"decoder_atrous_rates": [1] * 17}, "value for decoder_atrous_rates that is too large"),
    "nested": ({"decoder_atrous_rates": [[1]]}, "value for decoder_atrous_rates that is too large, or of a wrong kind"),
    "four channels": ({"in_channels": 4}, "pictures of 4 channels"),
    "no count": ({"classes": "many"}, "does not say how many classes"),
    "no classes": ({"classes": 0}, "has 0 classes"),
    "many classes": ({"classes": 300}, "has 300 classes; only 2 to 255"),
    "several at once": ({"activation": "sigmoid"}, "several classes"),
}


def edited(path: Path, tmp_path: Path, **changes: Any) -> Path:
    copy = shutil.copytree(path, tmp_path / "edited")
    content = {**json.loads((copy / "config.json").read_text()), **changes}
    (copy / "config.json").write_text(json.dumps(content))
    return copy


@pytest.mark.parametrize("wrong", WRONG)
def test_configs_that_make_no_sense(folder: Folder, tmp_path: Path, wrong: str) -> None:
    changes, message = WRONG[wrong]
    with pytest.raises(TttvError, match=rf"edited: .*{message}") as caught:
        opened(edited(folder(DEEPLAB), tmp_path, **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_depth": 9}, "makes no model"),
        ({"decoder_atrous_rates": "wide"}, "makes no model"),
        ({"decoder_channels": 128}, "tensors do not fit the model"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_models_that_do_not_fit(folder: Folder, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TttvError, match=rf"edited: .*{message} \("):
        opened(edited(folder(DEEPLAB), tmp_path, **changes)).load()


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ({"CenterCrop": {"height": 8, "width": 8}}, "asks for CenterCrop, which is not known here"),
        ({"Normalize": {"normalization": "image"}}, "asks for Normalize, which is not known here"),
        ({"Normalize": {"mean": [0.5]}}, "holds no transforms"),
        ({"Normalize": {"std": [0, 0, 0]}}, "holds no transforms"),
        ({"Resize": {"height": "tall", "width": 8}}, "holds no transforms"),
    ],
)
def test_preprocessing_that_is_not_known(
    folder: Folder, tmp_path: Path, transform: dict[str, Any], message: str
) -> None:
    with pytest.raises(TttvError, match=rf"{PREPROCESSING}: {message}"):
        opened(with_transforms(folder(DEEPLAB), tmp_path, transform))


def test_pickles_only_if_they_are_allowed(folder: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = shutil.copytree(folder(DEEPLAB), tmp_path / "copy")
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    assert main(["weights", "show", str(copy)]) == 1
    assert "add --allow-pickle" in error_of(capsys)
    open_weights(str(copy), allow_pickle=True).load()
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps(print))
    with pytest.raises(TttvError, match="cannot be read"):
        open_weights(str(copy), allow_pickle=True).load()


def test_without_the_library(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "segmentation_models_pytorch", None)
    with pytest.raises(TttvError, match=r"is not installed; run python -m pip install 'tttv\[smp\]'"):
        opened(folder(DEEPLAB))
