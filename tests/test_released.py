"""Checkpoints of the paper's release: outputs agree with its own code, and full-size tensor names are known."""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from shared_data import shared

from ttt_cli.adaptation import reconstruction
from ttt_cli.adaptation.online import Adapter
from ttt_cli.core.classes import CAMVID
from ttt_cli.core.errors import TttvError
from ttt_cli.core.frame import Frame
from ttt_cli.core.toml import from_table, read_toml
from ttt_cli.model.released import UNUSED, load_released, model_size, our_name, read_pickle, renamed
from ttt_cli.model.two_headed import TwoHeadedModel, pixels_from_queries
from ttt_cli.run.settings import RunSettings
from ttt_cli.tasks.semantic import SemanticTask, upsample

FULL_SIZE = ("swin_s_coco_instance", "swin_s_coco_panoptic", "swin_s_kitti_step_semantic")


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(shared("golden/video_ttt_tiny.npz")))


@pytest.fixture(scope="module")
def released() -> TwoHeadedModel:
    return load_released(shared("golden/video_ttt_tiny.pkl"))[0].eval()


def same(ours: torch.Tensor, theirs: np.ndarray) -> None:
    torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_main_head_agrees_with_the_release(released: TwoHeadedModel, golden: dict[str, np.ndarray]) -> None:
    features = released.encode(torch.from_numpy(golden["image"])[None])
    for index, feature_map in enumerate(features.maps):
        same(feature_map.contiguous(), golden[f"features_res{index + 2}"])
    queries = released.decode(features)
    same(queries.class_logits, golden["pred_logits"])
    same(queries.mask_logits, golden["pred_masks"])
    masks = upsample(queries.mask_logits, queries.image_size).sigmoid()
    scores = torch.einsum("qk,qhw->khw", queries.class_logits[0].softmax(-1)[:, :-1], masks[0])
    assert scores.shape == golden["sem_seg"].shape


@torch.no_grad()
def test_the_reconstruction_head_agrees_with_the_release(
    released: TwoHeadedModel, golden: dict[str, np.ndarray]
) -> None:
    visible = torch.from_numpy(golden["mask"])[None].float()
    features = released.encode(torch.from_numpy(golden["image"])[None], visible)
    mask_logits = released.reconstruction_head(features.maps).mask_logits[-1]
    same(mask_logits, golden["recon_pred_masks"])
    same(released.reconstruct(features), pixels_from_queries(torch.from_numpy(golden["recon_pred_masks"])).numpy())


@pytest.mark.parametrize("name", FULL_SIZE)
def test_every_tensor_of_the_full_size_checkpoints_has_a_place(name: str) -> None:
    content = json.loads(shared(f"golden/{name}_tensors.json").read_text())
    shapes = {key: tuple(shape) for key, shape in content["tensors"].items() if not key.endswith("position_index")}
    shapes = {key: shape for key, shape in shapes.items() if not key.startswith("criterion.")}
    size, classes = model_size(shapes)
    assert classes == content["num_classes"]
    assert size.main_head.queries == content["queries"]
    with torch.device("meta"):
        model = TwoHeadedModel(size, classes)
        theirs = dict(renamed({key: torch.empty(shape) for key, shape in shapes.items()}))
    ours = {key: value for key, value in model.state_dict().items() if ".swin.layernorm." not in key}
    assert {key: value.shape for key, value in theirs.items()} == {key: value.shape for key, value in ours.items()}


def test_one_step_moves_every_tensor_as_in_the_release(
    golden: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = read_toml(Path(__file__).parents[1] / "recipes" / "release.toml")
    settings = from_table(RunSettings, recipe, "release.toml")
    adaptation = dataclasses.replace(settings.adaptation, batch=1, crop=1.0)
    model = load_released(shared("golden/video_ttt_tiny.pkl"))[0]
    visible = torch.from_numpy(golden["mask"])[None].float()
    monkeypatch.setattr(reconstruction, "random_visible", lambda *_: visible)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    adapter = Adapter(model, SemanticTask(CAMVID), adaptation, settings.reconstruction, torch.device("cpu"))
    image = torch.from_numpy(golden["image"])
    result = adapter.step(Frame(0, "0", 0.0, image))
    assert result.loss == pytest.approx(float(golden["loss_recon_all_pixels"]), abs=1e-4)

    after = model.state_dict()
    recorded = json.loads(shared("golden/video_ttt_tiny_step_norms.json").read_text())
    assert len(recorded) > 300
    for name, norm in recorded.items():
        if UNUSED.search(name):
            continue
        ours = our_name(name)
        parts = [ours.replace("{qkv}", letter) for letter in "qkv"] if "{qkv}" in ours else [ours]
        moved = torch.stack([(after[part] - before[part]).double().square().sum() for part in parts]).sum().sqrt()
        # Biases before a group norm have only rounding errors as gradient and move by 5e-6; the others move by 5e-5.
        assert float(moved) == pytest.approx(norm or 0.0, rel=1e-3, abs=5e-6), name

    with torch.no_grad():
        queries = model.decode(model.encode(image[None]))
        loss = reconstruction.reconstruction_loss(
            model, image[None], settings.reconstruction, torch.Generator().manual_seed(0)
        )
    same(queries.class_logits, golden["pred_logits_after"])
    same(queries.mask_logits, golden["pred_masks_after"])
    assert float(loss) == pytest.approx(float(golden["loss_after_one_step"]), abs=1e-4)


class Harmful:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("open('was-here', 'w')",)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "harmful.pkl"
    path.write_bytes(pickle.dumps({"model": {"a": Harmful()}}))
    with pytest.raises(TttvError, match=r"builtins\.eval"):
        read_pickle(path)
    assert not (tmp_path / "was-here").exists()


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps([1, 2]), pickle.dumps({"model": {"a": "b"}})])
def test_a_file_that_is_not_a_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(TttvError, match="is not a checkpoint that can be imported"):
        read_pickle(tmp_path / "x.pkl")
    with pytest.raises(TttvError, match="cannot be read"):
        read_pickle(tmp_path / "absent.pkl")


def test_another_model_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    pickle.dump({"model": {"backbone.conv1.weight": np.zeros((2, 3, 3, 3), np.float32)}}, buffer)
    (tmp_path / "resnet.pkl").write_bytes(buffer.getvalue())
    with pytest.raises(TttvError, match="not a Mask2Former on Swin"):
        load_released(tmp_path / "resnet.pkl")
    with pytest.raises(KeyError):
        our_name("sem_seg_head.predictor.unheard_of.weight")
