"""Published models: split into f and h to the bit, predicted as their own image processors do, and adapted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers
from conftest import check_contract, noise_frames, same, values, video_of
from published_fixtures import CLASSES, MAKERS, SIDE
from torch import Tensor
from torch.nn import functional

from ttt_cli.adaptation.methods import check_defined
from ttt_cli.adaptation.online import Adapter, adapt
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.core.errors import TttvError, UsageError
from ttt_cli.core.labels import Labels
from ttt_cli.model.opening import open_weights
from ttt_cli.model.published.anatomy import MaskInput
from ttt_cli.model.published.families import FAMILIES
from ttt_cli.model.published.model import PublishedModel
from ttt_cli.model.published.tiles import Tiles
from ttt_cli.model.published.weights import PublishedWeights
from ttt_cli.tasks.base import Task
from ttt_cli.tasks.published import PUBLISHED_TASKS
from ttt_cli.tasks.settings import TaskSettings

Published = Callable[[str], Path]
FRAME = (90, 120)
SQUARES = [family for family in MAKERS if family.startswith("eomt")]


def smooth_picture(size: tuple[int, int] = FRAME, seed: int = 0) -> Tensor:
    coarse = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(seed)) * 255
    return functional.interpolate(coarse, size=size, mode="bilinear")[0].to(torch.uint8)


def opened(folder: Path) -> PublishedWeights:
    weights = open_weights(str(folder))
    assert isinstance(weights, PublishedWeights)
    return weights


def task_for(weights: PublishedWeights, name: str, **settings: float) -> Task:
    chosen = TaskSettings(task=name, object_threshold=0.0, overlap_threshold=0.0, **settings)  # type: ignore[arg-type]
    return PUBLISHED_TASKS[name](weights.classes, chosen, None, weights.processing(resizes=True))


def predicted(weights: PublishedWeights, name: str, image: Tensor) -> Labels:
    model, task = weights.load(), task_for(weights, name)
    with torch.no_grad():
        return task.predict(model, model.encode(task.preprocess(image)[None])).at_size(FRAME)


def by_transformers(weights: PublishedWeights, image: Tensor) -> tuple[Any, Any]:
    """The image processor, and the output of the model for what it makes of a picture, without any of our code."""
    processor: Any = transformers.AutoImageProcessor.from_pretrained(weights.path)
    whole = {"do_center_crop": False} if hasattr(processor, "do_center_crop") else {}
    inputs = processor(image, return_tensors="pt", **whole)
    taken = {name: inputs[name] for name in ("pixel_values", "patch_offsets") if name in inputs}
    if weights.family.asks_task:
        taken |= weights.load()._inputs("semantic", 1)
    model = getattr(transformers, weights.architecture).from_pretrained(weights.path).eval()
    with torch.no_grad():
        return processor, model(**taken)


@pytest.mark.parametrize("family", MAKERS)
def test_replay_gives_the_same_bits_and_gradients(published: Published, family: str) -> None:
    model = opened(published(family)).load()
    pixels = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    inputs = model._inputs("semantic", 2)
    whole = model.model(pixels, **inputs)
    split = model.family.split
    replayed = split.decode(model.model, pixels, inputs, split.encode(model.model, pixels, inputs))
    assert all(torch.equal(value, replayed[name]) for name, value in whole.items() if isinstance(value, Tensor))
    scores = "logits" if "logits" in whole else "masks_queries_logits"
    trained = list(model.encoder.parameters())
    gradients = [
        torch.autograd.grad(output[scores].square().sum(), trained, materialize_grads=True)
        for output in (whole, replayed)
    ]
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))
    assert any(gradient.any() for gradient in gradients[0])


@pytest.mark.parametrize("family", MAKERS)
def test_the_fixed_model_predicts_what_transformers_predicts(published: Published, family: str) -> None:
    weights, image = opened(published(family)), smooth_picture()
    processor, output = by_transformers(weights, image)
    theirs = processor.post_process_semantic_segmentation(output, target_sizes=[FRAME])[0]
    ours = predicted(weights, "semantic", image)
    assert torch.equal(ours.ids, theirs.to(torch.uint8))  # type: ignore[attr-defined]


@pytest.mark.parametrize("family", ["mask2former", "maskformer"])
def test_objects_and_regions_are_those_of_the_image_processor(published: Published, family: str) -> None:
    weights, image = opened(published(family)), smooth_picture()
    processor, output = by_transformers(weights, image)
    theirs = processor.post_process_instance_segmentation(
        output, threshold=0.0, target_sizes=[FRAME], return_binary_maps=True
    )[0]
    ours: Any = predicted(weights, "instance", image)
    assert len(ours.objects) == len(theirs["segments_info"]) > 0
    scores = sorted(found["score"] for found in theirs["segments_info"])
    assert sorted(found.score for found in ours.objects) == pytest.approx(scores, abs=2e-6)

    theirs = processor.post_process_panoptic_segmentation(
        output, threshold=0.0, overlap_mask_area_threshold=0.0, target_sizes=[FRAME], label_ids_to_fuse={0, 1, 2}
    )[0]
    ours = predicted(weights, "panoptic", image)
    assert torch.equal(ours.ids > 0, theirs["segmentation"] > 0)
    assert (ours.ids > 0).any()
    stuff = [segment.class_id for segment in ours.segments if segment.class_id <= 2]
    assert len(stuff) == len(set(stuff))


@pytest.mark.parametrize("family", SQUARES)
def test_squares_are_padded_where_objects_are_asked_for(published: Published, family: str, tmp_path: Path) -> None:
    folder = shutil.copytree(published(family), tmp_path / "padded")
    size = {"shortest_edge": SIDE, "longest_edge": SIDE}
    transformers.EomtImageProcessor(size=size, do_split_image=False, do_pad=True).save_pretrained(folder)
    weights, image = opened(folder), smooth_picture()
    assert weights.tasks == ("panoptic", "instance")
    processor, output = by_transformers(weights, image)
    theirs = processor.post_process_panoptic_segmentation(
        output, target_sizes=[FRAME], threshold=0.0, overlap_mask_area_threshold=0.0
    )[0]
    ours: Any = predicted(weights, "panoptic", image)
    assert ours.ids.shape == FRAME
    assert torch.equal(ours.ids > 0, torch.as_tensor(theirs["segmentation"]) >= 0)


@pytest.mark.parametrize("family", MAKERS)
def test_features_and_probabilities_have_their_shapes(published: Published, family: str) -> None:
    model = opened(published(family)).load()
    image = smooth_picture((61, 90))[None].float()
    visible = torch.ones(1, 1, 61, 90)
    encoded = model.encode(image, visible)
    probabilities = model.class_probabilities(encoded)
    assert probabilities.shape == (1, len(CLASSES), 16, 23)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(1, 16, 23))
    squares = len(encoded.pixels)
    maps = model.maps(encoded)
    assert all(values.dim() == 4 and len(values) == squares for values in maps)
    heights = [values.shape[-2] for values in maps]
    assert heights == sorted(set(heights), reverse=True)
    assert len(model.channel_statistics(image)) == len(model.blocks) > 1


@pytest.mark.parametrize("family", MAKERS)
@pytest.mark.parametrize("method", ["tent", "self-train", "ln-adapt", "joint"])
def test_methods_move_what_they_say_and_give_the_model_back(published: Published, family: str, method: str) -> None:
    weights = opened(published(family))
    model, task = weights.load(), task_for(weights, "semantic")
    check_defined(method, "semantic", weights)
    constants = {"confidence": 0.0} if method == "self-train" else {}
    settings = AdaptationSettings(method=method, learning_rate=1e-3, constants=constants)
    side = weights.load().side
    frames = noise_frames(2, size=(side, side) if side else (48, 64))
    adapter = Adapter(model, task, settings, weights.reconstruction, torch.device("cpu"))
    check_contract(adapter, frames)


def test_methods_that_need_a_companion_say_how_to_get_it(published: Published) -> None:
    weights = opened(published("segformer"))
    assert weights.recommended["adaptation"]["method"] == "joint"
    for method in ("online", "align", "auto", "online+self-train"):
        with pytest.raises(UsageError, match=f"{'tttv weights prepare'} .*segformer --images DIR"):
            check_defined(method, "semantic", weights)


def test_what_is_hidden_does_not_reach_f(published: Published) -> None:
    model = opened(published("segformer")).load()
    picture, other = smooth_picture((64, 64))[None], smooth_picture((64, 64), seed=1)[None]
    visible = torch.zeros(1, 1, 64, 64)
    visible[..., :32] = 1
    other[..., :32] = picture[..., :32]
    left, right = (model.maps(model.encode(image, visible)) for image in (picture, other))
    assert all(torch.equal(*pair) for pair in zip(left, right, strict=True))


@pytest.mark.parametrize("family", ["segformer", "mobilenet_v2", "beit", "upernet"])
def test_the_mask_is_a_fourth_channel(published: Published, family: str) -> None:
    model = opened(published(family)).load()
    image = smooth_picture((SIDE, SIDE))[None]
    visible = (torch.rand(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    without = model.maps(model.encode(image, visible))
    model.mask_input = MaskInput(model.encoder)
    assert all(torch.equal(*pair) for pair in zip(without, model.maps(model.encode(image, visible)), strict=True))
    with torch.no_grad():
        model.mask_input.weight.normal_(generator=torch.Generator().manual_seed(0))
    told = model.maps(model.encode(image, visible))
    assert not any(torch.equal(*pair) for pair in zip(without, told, strict=True))
    whole = model.maps(model.encode(image, torch.ones_like(visible)))
    assert all(torch.equal(*pair) for pair in zip(whole, model.maps(model.encode(image)), strict=True))


@pytest.mark.parametrize("name", ["tf_mobilenetv3_small_minimal_100", "resnet10t"])
@pytest.mark.parametrize("size", [(64, 64), (61, 90)])
def test_the_mask_is_a_fourth_channel_whatever_the_padding(name: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    three, four = (timm.create_model(name, features_only=True, in_chans=channels).eval() for channels in (3, 4))
    mask = MaskInput(three)
    with torch.no_grad():
        mask.weight.normal_()
        state = dict(three.state_dict())
        stem = next(key for key, value in state.items() if value.dim() == 4)
        state[stem] = torch.cat([state[stem], mask.weight], dim=1)
        four.load_state_dict(state)
        image, hidden = torch.rand(1, 3, *size), (torch.rand(1, 1, *size) < 0.5).float()
        with mask.applied(hidden):
            told = three(image)
    for ours, theirs in zip(told, four(torch.cat([image, hidden], dim=1)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * float(theirs.detach().abs().max()))


@pytest.mark.parametrize("size", [(64, 64), (64, 85), (130, 64), (40, 50), (20, 150)])
def test_squares_cover_a_picture_and_merge_to_it(size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size)
    tiles = Tiles(size, 64)
    squares = tiles.cut(image)
    assert squares.shape[-2:] == (64, 64)
    torch.testing.assert_close(tiles.merge(squares), image)


def edited(folder: Path, tmp_path: Path, name: str, **changes: Any) -> Path:
    copy = shutil.copytree(folder, tmp_path / "edited")
    content = {**json.loads((copy / name).read_text()), **changes}
    (copy / name).write_text(json.dumps(content))
    return copy


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no segmentation": (
        {"architectures": ["SegformerForImageClassification"]},
        "cannot be adapted; known: Mask2",
    ),
    "no class": ({"architectures": None}, "which cannot be adapted"),
    "no labels": ({"id2label": None}, "does not name its classes"),
    "gaps": ({"id2label": {"0": "road", "2": "sky"}}, "does not name its classes"),
    "many": ({"id2label": {str(number): f"c{number}" for number in range(256)}}, "has 256 classes; only 2 to 255"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_configs_that_make_no_sense(published: Published, tmp_path: Path, wrong: str) -> None:
    changes, message = WRONG[wrong]
    folder = edited(published("segformer"), tmp_path, "config.json", **changes)
    with pytest.raises(TttvError, match=message):
        open_weights(str(folder))


def test_tensors_that_do_not_fit(published: Published, tmp_path: Path) -> None:
    folder = edited(published("segformer"), tmp_path, "config.json", decoder_hidden_size=24)
    with pytest.raises(TttvError, match=r"edited: cannot be loaded|tensors are missing"):
        open_weights(str(folder)).load()
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(TttvError, match=r"has no preprocessor_config\.json"):
        open_weights(str(folder))


def test_every_family_is_tested(published: Published) -> None:
    tested = {opened(published(family)).architecture for family in MAKERS}
    assert tested == set(FAMILIES)


@pytest.mark.parametrize("family", ["mask2former", "eomt"])
def test_the_usual_threshold_is_the_processors(published: Published, family: str) -> None:
    weights = opened(published(family))
    assert weights.processing(resizes=True).usual_threshold() == weights.family.object_threshold


def test_an_adapted_model_can_be_saved_and_opened(published: Published, tmp_path: Path) -> None:
    weights = opened(published("segformer"))
    model = weights.load()
    adapter = Adapter(
        model,
        task_for(weights, "semantic"),
        AdaptationSettings(method="tent", learning_rate=1e-2),
        weights.reconstruction,
        torch.device("cpu"),
    )
    for _ in adapt(video_of(noise_frames(1)), adapter):
        weights.save(model, tmp_path / "adapted")
    again = opened(tmp_path / "adapted").load()
    assert isinstance(again, PublishedModel)
    assert not same(values(model.model), values(again.model))  # type: ignore[arg-type]
    assert opened(tmp_path / "adapted").fingerprint() != weights.fingerprint()
