"""Models of detectron2: a stand-in with their interface, and where detectron2 is installed, real ones to the bit."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import check_contract, noise_frames
from detectron_fixtures import CLASSES, save_detectron, stand_in, tiny_config
from test_prepare import PICTURES, SHORT
from test_published import smooth_picture
from torch import Tensor

from ttt_cli.adaptation.methods import check_defined
from ttt_cli.adaptation.online import Adapter
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.cli import main
from ttt_cli.core.classes import Class
from ttt_cli.core.errors import TttvError, UsageError
from ttt_cli.core.known_classes import classes_named
from ttt_cli.core.labels import decode
from ttt_cli.model.companion import companion_path, write_companion
from ttt_cli.model.opening import open_weights
from ttt_cli.model.published.detectron_model import DetectronModel, DetectronProcessing
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.preparation import prepare
from ttt_cli.run.overrides import Overrides
from ttt_cli.run.settings import resolve, task_of
from ttt_cli.tasks.base import Task
from ttt_cli.tasks.published import PUBLISHED_TASKS
from ttt_cli.tasks.settings import TaskSettings

SIZE, FRAME = (61, 90), (122, 180)
KINDS = ["classes", "queries", "objects"]
NAMED = classes_named([f"class {number}" for number in range(CLASSES)])
REAL = ["SemanticSegmentor", "PanopticFPN", "GeneralizedRCNN"]


def split(kind: str) -> DetectronModel:
    return DetectronModel(stand_in(kind), blue_first=True)


def task_named(name: str, classes: tuple[Class, ...] = NAMED, processing: Any = None) -> Task:
    settings = TaskSettings(task=name, object_threshold=0.3, overlap_threshold=0.5)
    return PUBLISHED_TASKS[name](classes, settings, None, processing or DetectronProcessing(0, 0, CLASSES))


def inputs_of(image: Tensor, size: tuple[int, int]) -> list[dict[str, Any]]:
    return [{"image": image.flip(0).float(), "height": size[0], "width": size[1]}]


@pytest.mark.parametrize("kind", KINDS)
def test_replay_gives_the_models_own_result_at_any_size(kind: str) -> None:
    image, model = smooth_picture(SIZE), split(kind)
    with torch.no_grad():
        said = model.decode(model.encode(image[None]))
        for size in (FRAME, SIZE, FRAME):
            theirs, ours = stand_in(kind)(inputs_of(image, size))[0], said.at_size(size)
            assert torch.equal(ours["instances"].pred_masks, theirs["instances"].pred_masks)
            assert torch.equal(ours["instances"].scores, theirs["instances"].scores)
            assert kind == "objects" or torch.equal(ours["sem_seg"], theirs["sem_seg"])


@pytest.mark.parametrize("kind", ["classes", "queries"])
def test_gradients_of_the_probabilities_reach_f(kind: str) -> None:
    model, whole = split(kind), stand_in(kind)
    image = smooth_picture((64, 96))
    probabilities = model.class_probabilities(model.encode(image[None]))
    ours = torch.autograd.grad(probabilities.square().sum(), list(model.encoder.parameters()), materialize_grads=True)
    assert all(gradient.any() for gradient in ours[:2])
    if kind == "classes":
        scores = whole(inputs_of(image, (64, 96)))[0]["sem_seg"].softmax(0)
        theirs = torch.nn.functional.interpolate(scores[None], (16, 24), mode="bilinear", align_corners=False)
        torch.testing.assert_close(probabilities, theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_features_and_probabilities_have_their_shapes(kind: str) -> None:
    model = split(kind)
    images = torch.stack([smooth_picture(SIZE), smooth_picture(SIZE, seed=1)])
    encoded = model.encode(images, torch.ones(2, 1, *SIZE))
    assert [tuple(values.shape) for values in model.maps(encoded)] == [(2, 8, 16, 24), (2, 8, 8, 12)]
    assert model.strides(encoded) == (4, 8)
    assert len(model.channel_statistics(images)) == len(model.blocks) > 1
    if kind == "objects":
        with pytest.raises(ValueError, match="no probabilities"):
            model.class_probabilities(encoded)
        return
    probabilities = model.class_probabilities(encoded)
    assert probabilities.shape == (2, CLASSES, 16, 23)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(2, 16, 23))
    said = model.decode(model.encode(images[:1]))
    torch.testing.assert_close(
        model.probabilities_in(said, encoded._replace(pixels=encoded.pixels[:1])), probabilities[:1]
    )


def test_what_is_hidden_is_black_and_can_be_told() -> None:
    model = split("classes")
    picture, other = smooth_picture(SIZE)[None], smooth_picture(SIZE, seed=1)[None]
    visible = torch.zeros(1, 1, *SIZE)
    visible[..., :45] = 1
    other[..., :45] = picture[..., :45]
    left, right = (model.maps(model.encode(image, visible)) for image in (picture, other))
    assert all(torch.equal(*pair) for pair in zip(left, right, strict=True))
    model.add_mask_input({})
    assert model.mask_input is not None
    with torch.no_grad():
        model.mask_input.weight.fill_(1.0)
    told = model.maps(model.encode(picture, visible))[0]
    changed = (told != left[0]).any(dim=1)[0].any(dim=0).nonzero().flatten()
    assert changed.min() == 45 // 4 - 1  # One cell to the left of those with hidden pixels, by the next convolution.


@pytest.mark.parametrize("method", ["tent", "self-train", "ln-adapt", "joint"])
def test_methods_move_what_they_say_and_give_the_model_back(method: str) -> None:
    model = split("classes")
    constants = {"confidence": 0.0} if method == "self-train" else {}
    settings = AdaptationSettings(method=method, learning_rate=1e-3, constants=constants)
    adapter = Adapter(model, task_named("semantic"), settings, ReconstructionSettings(), torch.device("cpu"))
    check_contract(adapter, noise_frames(2))


def test_objects_are_the_surest_first_and_none_is_empty() -> None:
    model, image = split("objects"), smooth_picture(SIZE)
    with torch.no_grad():
        found: Any = task_named("instance").predict(model, model.encode(image[None])).at_size(FRAME)
        theirs = stand_in("objects")(inputs_of(image, FRAME))[0]["instances"]
    order = theirs.scores.argsort(descending=True)
    order = order[order != 0]
    assert [item.class_id for item in found.objects] == order.tolist()
    for item, number in zip(found.objects, order, strict=True):
        assert torch.equal(torch.from_numpy(decode(item.mask)), theirs.pred_masks[number])


# From here on, the real detectron2.


@pytest.fixture
def detectron(tmp_path: Path) -> Any:
    """Makes weights of the real detectron2, by architecture."""
    pytest.importorskip("detectron2", reason="detectron2 is not installed")
    return lambda architecture, channels="BGR": save_detectron(architecture, tmp_path / architecture, channels)


def by_detectron(name: str, image: Tensor) -> dict[str, Any]:
    """What detectron2 finds in a picture, without any of our code."""
    from detectron2.config import get_cfg
    from detectron2.engine import DefaultPredictor

    config_path, path = name.removeprefix("detectron2:").split("#")
    config = get_cfg()
    config.merge_from_file(config_path)
    config.MODEL.DEVICE, config.MODEL.WEIGHTS = "cpu", path
    result: dict[str, Any] = DefaultPredictor(config)(image.flip(0).permute(1, 2, 0).contiguous().numpy())
    return result


def predicted(name: str, task: str, image: Tensor) -> Any:
    weights: Any = open_weights(name)
    chosen, model = task_named(task, weights.classes, weights.processing(resizes=True)), weights.load()
    with torch.no_grad():
        return chosen.predict(model, model.encode(chosen.preprocess(image)[None])).at_size(FRAME)


@pytest.mark.parametrize("channels", ["BGR", "RGB"])
def test_classes_are_detectrons_to_the_bit(detectron: Any, channels: str) -> None:
    name, image = detectron("SemanticSegmentor", channels), smooth_picture(FRAME)
    theirs = by_detectron(name, image)["sem_seg"].argmax(dim=0)
    assert torch.equal(predicted(name, "semantic", image).ids, theirs.to(torch.uint8))
    assert len(theirs.unique()) > 1


@pytest.mark.parametrize("architecture", ["GeneralizedRCNN", "PanopticFPN"])
def test_objects_are_detectrons_to_the_bit(detectron: Any, architecture: str) -> None:
    name, image = detectron(architecture), smooth_picture(FRAME)
    theirs, ours = by_detectron(name, image)["instances"], predicted(name, "instance", image).objects
    theirs = theirs[theirs.pred_masks.any(dim=(1, 2))]
    assert len(ours) == len(theirs) > 1
    order = theirs.scores.argsort(descending=True, stable=True)
    assert [item.score for item in ours] == theirs.scores[order].tolist()
    assert [item.class_id for item in ours] == theirs.pred_classes[order].tolist()
    assert all(
        torch.equal(torch.from_numpy(decode(item.mask)).bool(), mask)
        for item, mask in zip(ours, theirs.pred_masks[order], strict=True)
    )


def test_regions_are_detectrons_to_the_bit(detectron: Any) -> None:
    name, image = detectron("PanopticFPN"), smooth_picture(FRAME)
    (ids, regions), ours = by_detectron(name, image)["panoptic_seg"], predicted(name, "panoptic", image)
    assert torch.equal(ours.ids, ids.to(torch.int32))
    expected = [
        region["category_id"] if region["isthing"] else CLASSES + region["category_id"] - 1 for region in regions
    ]
    assert [segment.class_id for segment in ours.segments] == expected
    assert {region["isthing"] for region in regions} == {True, False}


def test_the_command_segments_with_a_model_of_detectron(detectron: Any, clip: Path, tmp_path: Path) -> None:
    name = with_normalization("BN", detectron("PanopticFPN"))
    run = [
        "segment",
        clip,
        "--weights",
        name,
        "--max-frames",
        2,
        "--method",
        "tent",
        "--out",
        tmp_path / "run",
        "--quiet",
    ]
    assert main([str(word) for word in run]) == 0
    assert (tmp_path / "run" / "overlay.mp4").stat().st_size > 0


def test_an_adapted_model_can_be_saved_and_opened(detectron: Any, tmp_path: Path) -> None:
    name = detectron("SemanticSegmentor")
    weights = open_weights(name)
    model: Any = weights.load()
    with torch.no_grad():
        next(model.encoder.parameters()).add_(1.0)
    weights.save(model, tmp_path / "adapted.pth")
    again = open_weights(f"{name.split('#')[0]}#{tmp_path / 'adapted.pth'}")
    loaded: Any = again.load()
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), loaded.parameters(), strict=True))
    assert again.fingerprint() != weights.fingerprint()
    assert open_weights(weights.identity()["path"]).fingerprint() == weights.fingerprint()


@pytest.mark.parametrize("architecture", REAL)
def test_prepared_models_reconstruct_and_stay_as_published(detectron: Any, architecture: str) -> None:
    name = detectron(architecture)
    weights: Any = open_weights(name)
    settings = resolve(weights, None, Overrides(), torch.device("cpu"))
    task, path = task_of(weights, settings), companion_path(weights.path)
    companion, tensors = prepare.with_reconstruction(
        weights.load(),
        weights.fingerprint(),
        PICTURES,
        task.preprocess,
        SHORT,
        path.with_suffix(".checkpoint"),
        lambda losses: None,
        lambda: None,
    )
    write_companion(path, companion, tensors)
    again = open_weights(name)
    assert companion.head is not None and companion.head.strides == (4, 8, 16, 32, 64)
    assert again.adaptation["method"] == ("joint" if architecture == "GeneralizedRCNN" else "auto")
    image = smooth_picture(FRAME)
    published, model = weights.load(), again.load()
    with torch.no_grad():
        left, right = (m.maps(m.encode(task.preprocess(image)[None])) for m in (published, model))
    assert all(torch.equal(*pair) for pair in zip(left, right, strict=True))
    online = AdaptationSettings(method="online", learning_rate=1e-3)
    check_defined("online", weights.tasks[0], again)
    adapter = Adapter(model, task, online, again.reconstruction, torch.device("cpu"))
    assert [adapter.step(frame).skipped_steps for frame in noise_frames(2)] == [0, 0]


def test_a_pickle_of_the_model_zoo_is_read(detectron: Any, tmp_path: Path) -> None:
    name = detectron("GeneralizedRCNN")
    config, path = name.split("#")
    arrays = {key: tensor.numpy() for key, tensor in torch.load(path, weights_only=True)["model"].items()}
    arrays["pixel_mean"] = arrays["proposal_generator.anchor_generator.cell_anchors.0"] = arrays[
        "backbone.fpn_lateral2.bias"
    ]
    (tmp_path / "zoo.pkl").write_bytes(pickle.dumps({"model": arrays, "__author__": "Detectron2 Model Zoo"}))
    from_pth: Any = open_weights(name).load()
    from_pkl: Any = open_weights(f"{config}#{tmp_path / 'zoo.pkl'}").load()
    assert all(torch.equal(*pair) for pair in zip(from_pth.parameters(), from_pkl.parameters(), strict=True))


def test_classes_are_those_of_the_data_set_in_the_config(detectron: Any) -> None:
    name = detectron("PanopticFPN")
    path = Path(name.removeprefix("detectron2:").split("#")[0])
    coco = path.read_text().replace("TEST: []", "TEST: [coco_2017_val_panoptic_separated]")
    path.write_text(coco.replace("NUM_CLASSES: 5}", "NUM_CLASSES: 80}").replace("NUM_CLASSES: 5,", "NUM_CLASSES: 54,"))
    classes = open_weights(name).classes
    assert len(classes) == 80 + 53
    assert [kind.is_thing for kind in classes] == [True] * 80 + [False] * 53
    assert classes[0] == Class("person", (220, 20, 60), True)
    assert classes[80].name == "banner"


def test_detectors_have_no_method_that_asks_for_classes_of_pixels(detectron: Any) -> None:
    weights = open_weights(detectron("GeneralizedRCNN"))
    check_defined("joint", "instance", weights)
    with pytest.raises(UsageError, match=r"tent: needs the probability of each class .* only find objects"):
        check_defined("tent", "instance", weights)
    check_defined("tent", "panoptic", open_weights(with_normalization("BN", detectron("PanopticFPN"))))


def with_normalization(norm: str, name: str) -> str:
    """The same weights, with a config that has this normalization in its ResNet."""
    path = Path(name.removeprefix("detectron2:").split("#")[0])
    path.write_text(path.read_text().replace("    DEPTH: 50\n", f"    DEPTH: 50\n    NORM: {norm}\n"))
    return name


@pytest.mark.parametrize("method", ["tent", "tent+cb", "ln-adapt", "ln-prior", "ln-adapt+smoothing"])
def test_frozen_normalization_cannot_be_moved(detectron: Any, method: str) -> None:
    name = detectron("SemanticSegmentor")
    weights = open_weights(name)
    normalization = (torch.nn.modules.batchnorm._BatchNorm, torch.nn.GroupNorm, torch.nn.LayerNorm)
    assert not any(isinstance(module, normalization) for module in weights.load().encoder.modules())
    with pytest.raises(UsageError, match=r"moves normalization layers, and those of .* are frozen .* such as online"):
        check_defined(method, "semantic", weights)
    check_defined("joint", "semantic", weights)
    check_defined("self-train", "semantic", weights)
    check_defined(method, "semantic", open_weights(with_normalization("BN", name)))


WRONG: dict[str, tuple[str, str, str]] = {
    "unknown key": ("MASK_ON: true", "MASK_OF: true", "is no config of detectron2"),
    "no YAML": ("VERSION: 2", "VERSION: [", "is no config of detectron2"),
    "code": ("VERSION: 2", "VERSION: !!python/object/apply:os.mkdir [planted]", "is no config of detectron2"),
    "other architecture": ("GeneralizedRCNN", "RetinaNet", "is a RetinaNet, which cannot be adapted; known: Semantic"),
    "boxes": ("MASK_ON: true", "MASK_ON: false", "finds boxes, not masks"),
    "many classes": (f"NUM_CLASSES: {CLASSES}}}", "NUM_CLASSES: 1203}", "has 1203 classes; only 1 to 255"),
    "other size": ("FC_DIM: 32", "FC_DIM: 48", "tensors do not fit the model"),
    "other depth": ("DEPTH: 50", "DEPTH: 101", r"tensors do not fit the model \(\d+ are missing"),
    "no backbone": ("build_resnet_fpn_backbone", "build_nothing", "makes no model"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_configs_that_make_no_sense(
    detectron: Any, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = detectron("GeneralizedRCNN")
    path = Path(name.removeprefix("detectron2:").split("#")[0])
    old, new, message = WRONG[wrong]
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(TttvError, match=message) as caught:
        open_weights(name).load()
    assert "\n" not in str(caught.value)
    assert not Path("planted").exists()


@pytest.mark.parametrize("kind", [".pth", ".pkl"])
def test_a_planted_pickle_does_not_run(detectron: Any, kind: str, tmp_path: Path) -> None:
    class Planted:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "planted",))

    name = detectron("GeneralizedRCNN").split("#")[0]
    path = tmp_path / f"model{kind}"
    if kind == ".pth":
        torch.save({"model": {"planted": Planted()}}, path)
    else:
        path.write_bytes(pickle.dumps({"model": {"planted": Planted()}}))
    with pytest.raises(TttvError, match=rf"model\{kind}: (cannot be read|is not a checkpoint)"):
        open_weights(f"{name}#{path}").load()
    assert not (tmp_path / "planted").exists()


def test_files_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, program, model = tmp_path / "config.yaml", tmp_path / "config.py", tmp_path / "model.pth"
    for name in (f"detectron2:{config}", f"detectron2:#{model}", f"detectron2:{config}#"):
        with pytest.raises(UsageError, match="name two files"):
            open_weights(name)
    with pytest.raises(UsageError, match=r"config\.py: is a program, which is not run"):
        open_weights(f"detectron2:{program}#{model}")
    with pytest.raises(TttvError, match=r"config\.yaml: there is no such file"):
        open_weights(f"detectron2:{config}#{model}")
    config.write_text(tiny_config("GeneralizedRCNN"))
    with pytest.raises(TttvError, match=r"model\.pth: there is no such file"):
        open_weights(f"detectron2:{config}#{model}")
    model.touch()
    monkeypatch.setitem(sys.modules, "detectron2.config", None)
    with pytest.raises(TttvError, match="detectron2 is not installed; run python -m pip install"):
        open_weights(f"detectron2:{config}#{model}")
