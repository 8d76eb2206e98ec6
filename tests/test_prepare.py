"""`tttv weights prepare`: a companion file that makes models ready to adapt and leaves them as they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
import torch
from conftest import error_of, noise_frames, picture, save_frames
from published_fixtures import MAKERS
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ttt_cli.adaptation.auto_window import gradients_of
from ttt_cli.adaptation.methods import METHODS, check_defined, defined_methods
from ttt_cli.adaptation.online import Adapter
from ttt_cli.adaptation.reconstruction import reconstruction_loss
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.cli import main
from ttt_cli.core.errors import TttvError
from ttt_cli.model.companion import companion_path, write_companion
from ttt_cli.model.opening import open_alone, open_weights
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.weights import Weights
from ttt_cli.preparation import prepare
from ttt_cli.preparation.pictures import ordinary_pictures
from ttt_cli.preparation.settings import PreparationSettings
from ttt_cli.preparation.training import PreparationTraining
from ttt_cli.run.overrides import Overrides
from ttt_cli.run.settings import resolve, task_of

CPU = torch.device("cpu")
PICTURES = [picture(seed) for seed in range(8)]
SHORT = PreparationSettings(steps=2, crop_height=48, crop_width=64, head_width=8, warmup_steps=1)
Published = Callable[[str], Path]


def prepared(weights: Weights, fast: bool = False, settings: PreparationSettings = SHORT) -> Weights:
    """The weights with a companion file, made from eight pictures in two steps."""
    model, show = weights.load(), task_of(weights, resolve(weights, None, Overrides(), CPU)).preprocess
    path, fingerprint = companion_path(weights.path), weights.fingerprint()
    if fast:
        made = prepare.with_features(model, fingerprint, PICTURES, show, lambda: None)
    else:
        checkpoint = path.with_suffix(".checkpoint")
        made = prepare.with_reconstruction(
            model, fingerprint, PICTURES, show, settings, checkpoint, lambda losses: None, lambda: None
        )
    write_companion(path, *made)
    return open_weights(str(weights.path))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, published: Published) -> Callable[[str], Path]:
    """A prepared copy of a tiny published model of a family."""
    copies: dict[str, Path] = {}

    def folder_of(family: str) -> Path:
        if family not in copies:
            copies[family] = shutil.copytree(published(family), tmp_path_factory.mktemp("prepared") / family)
            prepared(open_weights(str(copies[family])))
        return copies[family]

    return folder_of


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return save_frames(PICTURES, tmp_path / "pictures")


@pytest.mark.parametrize("method", ["joint", "prepared", "clamp", "auto", "align", "online", "online+self-train"])
@pytest.mark.parametrize("family", MAKERS)
def test_prepared_models_adapt_and_come_back(folder: Callable[[str], Path], family: str, method: str) -> None:
    weights = open_weights(str(folder(family)))
    model, task = weights.load(), task_of(weights, resolve(weights, None, Overrides(), CPU))
    check_defined(method, "semantic", weights)
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    before = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    declared = {id(parameter) for parameter in METHODS[method].parameters(model)}
    of_encoder = {id(parameter) for parameter in model.encoder.parameters()}
    constants = {"confidence": 0.0} if method == "online+self-train" else {}
    constants |= {"dead_zone": 0.0} if method == "align" else {}
    settings = AdaptationSettings(method=method, learning_rate=1e-3, constants=constants)
    frames = noise_frames(2, size=(64, 64))
    adapter = Adapter(model, task, settings, weights.reconstruction, CPU)
    started = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    losses = [adapter.step(frame).loss for frame in frames]
    moved = {id(tensor) for name, tensor in tensors.items() if not torch.equal(tensor, started[name])}
    assert moved <= declared
    assert bool(moved) == bool(declared)
    assert (losses[0] is None) == (not declared)
    changed = {id(tensor) for name, tensor in tensors.items() if not torch.equal(started[name], before[name])}
    assert changed <= of_encoder
    assert bool(changed) == (method != "joint")
    adapter.restore()
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors.items())


def test_the_window_can_be_estimated_where_f_has_parameters_without_a_use(folder: Callable[[str], Path]) -> None:
    weights = open_weights(str(folder("upernet")))
    task = task_of(weights, resolve(weights, None, Overrides(), CPU))
    settings = AdaptationSettings(method="online", auto_window=True)
    adapter = Adapter(weights.load(), task, settings, weights.reconstruction, CPU)
    for frame in noise_frames(2, size=(64, 64)):
        adapter.window.push(frame.image)
    gradients = gradients_of(adapter)(0, 1)
    assert any(not gradient.any() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("fast", [True, False])
def test_the_fixed_model_stays_what_it_was(tiny_weights: Path, tmp_path: Path, fast: bool) -> None:
    path = Path(shutil.copy(tiny_weights, tmp_path / "mine.safetensors"))
    alone, with_it = open_alone(str(path)), prepared(open_weights(str(path)), fast)
    predictions: list[Tensor] = []
    for weights in (alone, with_it):
        task = task_of(weights, resolve(weights, None, Overrides(), CPU))
        adapter = Adapter(weights.load(), task, AdaptationSettings(method="joint"), weights.reconstruction, CPU)
        predictions += [adapter.step(frame).prediction.probabilities for frame in noise_frames(2)]  # type: ignore[attr-defined]
    assert all(torch.equal(*pair) for pair in zip(predictions[:2], predictions[2:], strict=True))
    assert with_it.fingerprint() == alone.fingerprint()
    assert with_it.recommended["adaptation"]["method"] == "auto"


def test_what_each_part_makes_ready(published: Published, tmp_path: Path) -> None:
    path = shutil.copytree(published("segformer"), tmp_path / "model")
    weights = open_weights(str(path))
    ready = [set(defined_methods(weights, "semantic")[0])]
    ready.append(set(defined_methods(prepared(weights, fast=True), "semantic")[0]))
    ready.append(set(defined_methods(prepared(open_alone(str(path))), "semantic")[0]))
    assert ready[1] - ready[0] == {"clamp", "auto", "align"}
    assert {"online", "implicit", "online+self-train", "prepared"} <= ready[2] - ready[1]
    assert ready[2] == set(METHODS) - {"main-only"}


@pytest.mark.parametrize("visible_only", [True, False])
def test_a_companion_says_whether_hidden_tokens_are_left_out(
    published: Published, tmp_path: Path, visible_only: bool
) -> None:
    path = shutil.copytree(published("dpt"), tmp_path / "model")
    weights = prepared(open_alone(str(path)), settings=replace(SHORT, visible_only=visible_only))
    assert weights.companion is not None
    assert weights.companion.visible_only == visible_only
    model = weights.load()
    encoded = model.encode(PICTURES[0][None], torch.zeros(1, 1, 64, 96))
    assert (len(model.maps(encoded)[0].flatten(2).any(dim=1).nonzero()) == 2) == visible_only  # One in each square.
    ready, reasons = defined_methods(weights, "semantic")
    assert ("self-train" in ready) == ("online+self-train" in ready) == (not visible_only)
    assert any("prepare them without --visible-only" in reason for reason in reasons) == visible_only
    assert "online" in ready


def test_a_companion_of_before_encodes_everything(published: Published, tmp_path: Path) -> None:
    path = shutil.copytree(published("dpt"), tmp_path / "model")
    prepared(open_alone(str(path)))
    file = companion_path(path)
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
    record = json.loads(metadata["record"])
    del record["visible_only"]
    save_file(load_file(file), file, metadata={"format": metadata["format"], "record": json.dumps(record)})
    model = open_weights(str(path)).load()
    hidden = model.maps(model.encode(PICTURES[0][None], torch.zeros(1, 1, 64, 96)))[0]
    assert hidden.any(dim=1).all()


def test_preparing_teaches_f_to_bear_changes(published: Published) -> None:
    weights = open_weights(str(published("segformer")))
    task = task_of(weights, resolve(weights, None, Overrides(), CPU))
    settings = replace(SHORT, steps=60, crop_height=64, encoder_learning_rate=1e-3, learning_rate=1e-2)
    training = PreparationTraining(weights.load(), PICTURES, task.preprocess, prepare.RECONSTRUCTION, settings)

    @torch.no_grad()
    def losses() -> list[float]:
        state = training.generator.get_state()
        training.generator.manual_seed(1)
        distances, errors = [], []
        for whole, changed in [training._draw() for _ in range(8)]:
            maps = training.model.maps(training.model.encode(changed))
            distances.append(float(training._distance(maps, training._published_maps(whole))))
            errors.append(
                float(reconstruction_loss(training.model, whole, training.reconstruction, training.generator))
            )
        training.generator.set_state(state)
        return [fmean(distances), fmean(errors)]

    before = losses()
    training.run(lambda losses: None)
    after = losses()
    assert after[0] < 0.9 * before[0]
    assert after[1] < 0.95 * before[1]


def test_an_interrupted_preparation_goes_on_to_the_same_bits(published: Published, tmp_path: Path) -> None:
    weights = open_weights(str(published("segformer")))
    show = task_of(weights, resolve(weights, None, Overrides(), CPU)).preprocess
    checkpoint = tmp_path / "checkpoint"

    def made(on_step: Callable[[object], None]) -> dict[str, Tensor]:
        return prepare.with_reconstruction(
            weights.load(), "print", PICTURES, show, SHORT, checkpoint, on_step, lambda: None
        )[1]

    def stop(losses: object) -> None:
        raise KeyboardInterrupt

    whole = made(lambda losses: None)
    with pytest.raises(KeyboardInterrupt):
        made(stop)
    assert checkpoint.is_file()
    pictures = [*PICTURES[1:], picture(9)]
    other = PreparationTraining(weights.load(), pictures, show, prepare.RECONSTRUCTION, SHORT)
    with pytest.raises(TttvError, match="of another preparation, or damaged; remove it"):
        other.resume(checkpoint)
    steps: list[object] = []
    again = made(steps.append)
    assert len(steps) == SHORT.steps - 1
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert not checkpoint.exists()


def test_the_command(published: Published, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = shutil.copytree(published("segformer"), tmp_path / "model")
    arguments = ["weights", "prepare", str(model), "--images", str(pictures), "--fast"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "align" in printed
    assert "method online: weights" in printed
    assert main(arguments) == 1
    assert "exists; add --overwrite" in error_of(capsys)
    assert main([*arguments, "--overwrite"]) == 0
    capsys.readouterr()
    assert main([*arguments, "--overwrite", "--visible-only"]) == 2
    assert "--visible-only is about masked pictures" in error_of(capsys)
    assert main([*arguments[:-1], "--overwrite", "--visible-only"]) == 2
    assert "only a plain vision transformer can leave hidden tokens out" in error_of(capsys)
    frames = save_frames([frame.image for frame in noise_frames(2)], tmp_path / "video")
    assert main(["segment", str(frames), "--weights", str(model), "--out", str(tmp_path / "run")]) == 0
    assert '"method": "auto"' in (tmp_path / "run" / "run.json").read_text()


def test_weights_with_a_trained_head_keep_it(
    tiny_weights: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.safetensors"
    weights = replace(open_alone(str(tiny_weights)), reconstruction=ReconstructionSettings(familiar_loss=0.5))
    weights.save(weights.load(), path)
    assert main(["weights", "prepare", str(path), "--images", str(pictures)]) == 0
    assert "has a reconstruction head of its own" in capsys.readouterr().out
    companion = open_weights(str(path)).companion
    assert companion is not None
    assert companion.head is None


def test_a_companion_of_another_checkpoint_is_refused(folder: Callable[[str], Path], tmp_path: Path) -> None:
    model = shutil.copytree(folder("segformer"), tmp_path / "model")
    weights = open_alone(str(model))
    weights.save(weights.load(), model)
    with (model / "config.json").open("a") as file:
        file.write(" ")
    with pytest.raises(TttvError, match="was made for another checkpoint or revision than"):
        open_weights(str(model))
    companion_path(model).write_bytes(b"no")
    with pytest.raises(TttvError, match="is damaged"):
        open_weights(str(model))


def test_pictures_come_from_folders_globs_and_videos(pictures: Path, clip: Path, tmp_path: Path) -> None:
    assert len(ordinary_pictures([str(pictures)], 100)) == 8
    assert len(ordinary_pictures([f"{pictures}/*.png", str(clip)], 16)) > 8
    with pytest.raises(TttvError, match="7 pictures in all, at least 8 are needed"):
        ordinary_pictures([str(pictures)], 7)
    (pictures / "no.png").write_text("no picture")
    with pytest.raises(TttvError, match=r"no\.png: is not an image"):
        ordinary_pictures([str(pictures)], 100)
