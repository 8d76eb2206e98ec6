"""Tiny published models with random weights, one for each family, as folders in the layout of transformers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import torch
import transformers

CLASSES = ("road", "building", "sky", "person", "car")
LABELS: dict[str, Any] = {
    "id2label": dict(enumerate(CLASSES)),
    "label2id": {name: number for number, name in enumerate(CLASSES)},
}
SIDE = 64
SWIN: dict[str, Any] = {
    "embed_dim": 8,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 1, 2, 2],
    "window_size": 4,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
QUERIES: dict[str, Any] = {
    "encoder_feedforward_dim": 16,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "num_attention_heads": 2,
    "dim_feedforward": 16,
    "num_queries": 12,
}
VIT: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": SIDE,
    "patch_size": 16,
}
POOLED: dict[str, Any] = {"out_indices": [1, 2, 3, 4], "pool_scales": [1, 2], "use_relative_position_bias": True}


def mask2former() -> Any:
    widths = {"feature_size": 32, "mask_feature_size": 32, "hidden_dim": 32}
    backbone = transformers.SwinConfig(**SWIN)
    config = transformers.Mask2FormerConfig(backbone_config=backbone, **widths, **QUERIES, **LABELS)
    return transformers.Mask2FormerForUniversalSegmentation(config)


def maskformer() -> Any:
    decoder = transformers.DetrConfig(
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_queries=12,
    )
    config = transformers.MaskFormerConfig(
        backbone_config=transformers.SwinConfig(**SWIN),
        fpn_feature_size=32,
        mask_feature_size=32,
        decoder_config=decoder,
        **LABELS,
    )
    return transformers.MaskFormerForInstanceSegmentation(config)


def oneformer() -> Any:
    config = transformers.OneFormerConfig(
        backbone_config=transformers.SwinConfig(**SWIN),
        hidden_dim=32,
        mask_dim=32,
        conv_dim=32,
        task_seq_len=8,
        max_seq_len=8,
        text_encoder_width=16,
        text_encoder_vocab_size=100,
        text_encoder_n_ctx=2,
        text_encoder_context_length=8,
        text_encoder_num_layers=1,
        text_encoder_proj_layers=1,
        query_dec_layers=1,
        is_training=False,
        **QUERIES,
        **LABELS,
    )
    return transformers.OneFormerForUniversalSegmentation(config)


def upernet() -> Any:
    config = transformers.UperNetConfig(
        backbone_config=transformers.SwinConfig(**SWIN),
        hidden_size=16,
        auxiliary_channels=16,
        auxiliary_in_channels=32,
        pool_scales=[1, 2],
        **LABELS,
    )
    return transformers.UperNetForSemanticSegmentation(config)


def segformer() -> Any:
    config = transformers.SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 8, 16, 16],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16,
        **LABELS,
    )
    return transformers.SegformerForSemanticSegmentation(config)


def mobilevit() -> Any:
    config = transformers.MobileViTConfig(
        hidden_sizes=[16, 16, 16],
        neck_hidden_sizes=[8, 8, 16, 16, 16, 16, 16],
        num_attention_heads=2,
        aspp_out_channels=16,
        **LABELS,
    )
    return transformers.MobileViTForSemanticSegmentation(config)


def mobilevitv2() -> Any:
    config = transformers.MobileViTV2Config(
        width_multiplier=0.25,
        base_attn_unit_dims=[32, 32, 32],
        n_attn_blocks=[1, 1, 1],
        aspp_out_channels=16,
        **LABELS,
    )
    return transformers.MobileViTV2ForSemanticSegmentation(config)


def mobilenet_v2() -> Any:
    config = transformers.MobileNetV2Config(depth_multiplier=0.25, **LABELS)
    return transformers.MobileNetV2ForSemanticSegmentation(config)


def dpt() -> Any:
    config = transformers.DPTConfig(
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 16, 16], fusion_hidden_size=16, **VIT, **LABELS
    )
    return transformers.DPTForSemanticSegmentation(config)


def beit() -> Any:
    return transformers.BeitForSemanticSegmentation(transformers.BeitConfig(**POOLED, **VIT, **LABELS))


def data2vec() -> Any:
    config = transformers.Data2VecVisionConfig(**POOLED, **VIT, **LABELS)
    return transformers.Data2VecVisionForSemanticSegmentation(config)


def eomt() -> Any:
    config = transformers.EomtConfig(num_blocks=2, num_upscale_blocks=2, num_queries=12, mlp_ratio=2, **VIT, **LABELS)
    return transformers.EomtForUniversalSegmentation(config)


def eomt_dinov3() -> Any:
    config = transformers.EomtDinov3Config(num_blocks=2, num_upscale_blocks=2, num_queries=12, **VIT, **LABELS)
    return transformers.EomtDinov3ForUniversalSegmentation(config)


def _square(processor: str, **options: Any) -> Any:
    return getattr(transformers, processor)(size={"height": SIDE, "width": SIDE}, **options)


def _processor(family: str, folder: Path) -> Any:
    """The image processor that models of the family come with, for small pictures."""
    if family in ("mask2former", "maskformer", "oneformer"):
        kind = {"mask2former": "Mask2Former", "maskformer": "MaskFormer", "oneformer": "OneFormer"}[family]
        options: dict[str, Any] = {"size": {"shortest_edge": SIDE, "longest_edge": 2 * SIDE}}
        if family == "oneformer":
            info = {str(number): {"name": name, "isthing": int(number > 2)} for number, name in enumerate(CLASSES)}
            (folder / "tiny_panoptic.json").write_text(json.dumps(info))
            options |= {"class_info_file": "tiny_panoptic.json", "repo_path": str(folder), "num_text": 0}
        return getattr(transformers, f"{kind}ImageProcessor")(**options)
    if family == "segformer":
        return _square("SegformerImageProcessor")
    if family == "upernet":
        return transformers.SegformerImageProcessor(size={"shortest_edge": SIDE})
    if family in ("mobilevit", "mobilevitv2"):
        crop = {"height": SIDE, "width": SIDE}
        return transformers.MobileViTImageProcessor(size={"shortest_edge": SIDE + 8}, crop_size=crop)
    if family == "mobilenet_v2":
        crop = {"height": SIDE, "width": SIDE}
        return transformers.MobileNetV2ImageProcessor(size={"shortest_edge": SIDE + 8}, crop_size=crop)
    if family == "dpt":
        return _square("DPTImageProcessor")
    if family in ("beit", "data2vec"):
        return _square("BeitImageProcessor", do_center_crop=False)
    size = {"shortest_edge": SIDE, "longest_edge": None}
    return transformers.EomtImageProcessor(size=size, do_split_image=True)


MAKERS: dict[str, Callable[[], Any]] = {
    maker.__name__: maker
    for maker in (
        mask2former,
        maskformer,
        oneformer,
        upernet,
        segformer,
        mobilevit,
        mobilevitv2,
        mobilenet_v2,
        dpt,
        beit,
        data2vec,
        eomt,
        eomt_dinov3,
    )
}


@torch.no_grad()
def _enliven(model: Any) -> None:
    """Fresh weights are so small that every pixel gets the same class, and few queries find anything."""
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            parameter.normal_(std=parameter[0].numel() ** -0.5 * (5 if "class_predictor" in name else 1))
        elif name.endswith("bias"):  # Without any, a hidden patch is all zeros, and gradients through norms overflow.
            parameter.normal_(std=0.1)
        if name.endswith("class_predictor.bias"):
            parameter[-1] = -10.0
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    if norms:
        for module in norms:
            module.momentum = 1.0
        model.train()(torch.rand(4, 3, SIDE, SIDE))
        model.eval()


def save_published(family: str, folder: Path) -> Path:
    """Writes a tiny model of a family, always the same, as `folder`."""
    torch.manual_seed(0)
    model = MAKERS[family]()
    _enliven(model)
    model.save_pretrained(folder)
    _processor(family, folder).save_pretrained(folder)
    if family == "oneformer":
        words = ["<|startoftext|>", "<|endoftext|>", *ascii_lowercase, *(f"{letter}</w>" for letter in ascii_lowercase)]
        (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
        (folder / "merges.txt").write_text("#version: 0.2\n")
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))
    return folder
