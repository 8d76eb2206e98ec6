"""Imports checkpoints of Mask2Former and of the paper's release: detectron2's pickle files, with other tensor names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ttt_cli.core.errors import TttvError, printable
from ttt_cli.model.array_pickle import Array, read_array_pickle
from ttt_cli.model.encoder import INPUT_CHANNELS
from ttt_cli.model.settings import EncoderSize, HeadSize, ModelSize
from ttt_cli.model.two_headed import RECONSTRUCTION_QUERIES, TwoHeadedModel

# Mask2Former's deformable attention samples POINTS points, each with an x and a y, on each of LEVELS maps.
POINTS, LEVELS = 4, 3

# Tensors that were not trained: computed indices, and the loss's class weights.
UNUSED = re.compile(r"relative_position_index$|^criterion\.")

# Their name, our name; the first pattern that fits is used. Q, K and V are one tensor there and three here.
_ENCODER = (
    (r"patch_embed\.proj\.(.*)", r"swin.embeddings.patch_embeddings.projection.\1"),
    (r"patch_embed\.norm\.(.*)", r"swin.embeddings.norm.\1"),
    (r"(layers\.\d+\.blocks\.\d+)\.norm1\.(.*)", r"swin.encoder.\1.layernorm_before.\2"),
    (r"(layers\.\d+\.blocks\.\d+)\.norm2\.(.*)", r"swin.encoder.\1.layernorm_after.\2"),
    (
        r"(layers\.\d+\.blocks\.\d+)\.attn\.(relative_position_bias_table)",
        r"swin.encoder.\1.attention.relative_position_bias.\2",
    ),
    (r"(layers\.\d+\.blocks\.\d+)\.attn\.qkv\.(.*)", r"swin.encoder.\1.attention.{qkv}_proj.\2"),
    (r"(layers\.\d+\.blocks\.\d+)\.attn\.proj\.(.*)", r"swin.encoder.\1.attention.o_proj.\2"),
    (r"(layers\.\d+\.(?:blocks\.\d+\.mlp|downsample)\..*)", r"swin.encoder.\1"),
    (r"norm0\.(.*)", r"hidden_states_norms.stage1.\1"),
    (r"norm1\.(.*)", r"hidden_states_norms.stage2.\1"),
    (r"norm2\.(.*)", r"hidden_states_norms.stage3.\1"),
    (r"norm3\.(.*)", r"hidden_states_norms.stage4.\1"),
)
_DECODER = r"transformer_module.decoder.layers.\1"
_HEAD = (
    (r"pixel_decoder\.input_proj\.(.*)", r"pixel_decoder.input_projections.\1"),
    (r"pixel_decoder\.transformer\.level_embed", r"pixel_decoder.level_embed"),
    (r"pixel_decoder\.transformer\.(encoder\.layers\.\d+)\.norm1\.(.*)", r"pixel_decoder.\1.self_attn_layer_norm.\2"),
    (r"pixel_decoder\.transformer\.(encoder\.layers\.\d+)\.norm2\.(.*)", r"pixel_decoder.\1.final_layer_norm.\2"),
    (r"pixel_decoder\.transformer\.(encoder\.layers\.\d+)\.linear(.*)", r"pixel_decoder.\1.fc\2"),
    (r"pixel_decoder\.transformer\.(encoder\.layers\.\d+\.self_attn\..*)", r"pixel_decoder.\1"),
    (r"pixel_decoder\.mask_features\.(.*)", r"pixel_decoder.mask_projection.\1"),
    (r"pixel_decoder\.(adapter|layer)_(\d)\.norm\.(.*)", r"pixel_decoder.\1_\2.1.\3"),
    (r"pixel_decoder\.(adapter|layer)_(\d)\.(.*)", r"pixel_decoder.\1_\2.0.\3"),
    (
        r"predictor\.transformer_self_attention_layers\.(\d+)\.self_attn\.in_proj_(.*)",
        _DECODER + r".self_attn.{qkv}_proj.\2",
    ),
    (r"predictor\.transformer_self_attention_layers\.(\d+)\.self_attn\.(.*)", _DECODER + r".self_attn.\2"),
    (r"predictor\.transformer_self_attention_layers\.(\d+)\.norm\.(.*)", _DECODER + r".self_attn_layer_norm.\2"),
    (r"predictor\.transformer_cross_attention_layers\.(\d+)\.multihead_attn\.(.*)", _DECODER + r".cross_attn.\2"),
    (r"predictor\.transformer_cross_attention_layers\.(\d+)\.norm\.(.*)", _DECODER + r".cross_attn_layer_norm.\2"),
    (r"predictor\.transformer_ffn_layers\.(\d+)\.linear(.*)", _DECODER + r".fc\2"),
    (r"predictor\.transformer_ffn_layers\.(\d+)\.norm\.(.*)", _DECODER + r".final_layer_norm.\2"),
    (r"predictor\.decoder_norm\.(.*)", r"transformer_module.decoder.layernorm.\1"),
    (r"predictor\.(?:query_feat|static_query)\.(.*)", r"transformer_module.queries_features.\1"),
    (r"predictor\.query_embed\.(.*)", r"transformer_module.queries_embedder.\1"),
    (r"predictor\.level_embed\.(.*)", r"transformer_module.level_embed.\1"),
    (r"predictor\.class_embed\.(.*)", r"class_predictor.\1"),
    (
        r"predictor\.mask_embed\.layers\.(\d)\.(.*)",
        r"transformer_module.decoder.mask_predictor.mask_embedder.\1.0.\2",
    ),
)
_PARTS = (
    ("backbone.", "encoder.backbone.", _ENCODER),
    ("sem_seg_head.", "main_head.", _HEAD),
    ("recon_head.", "reconstruction_head.", _HEAD),
)


def read_pickle(path: Path) -> dict[str, Tensor]:
    """The tensors of a detectron2 checkpoint (.pkl), by their names in it.

    Raises TttvError if the file cannot be read, holds anything but arrays, or is not such a checkpoint.
    """
    shown = printable(path)
    try:
        model = read_array_pickle(path)["model"]
        return {name: _tensor(name, value) for name, value in model.items() if not UNUSED.search(name)}
    except OSError as error:
        raise TttvError(f"{shown}: cannot be read ({error.strerror})") from error
    except Exception as error:  # Damaged pickles raise almost any exception.
        raise TttvError(f"{shown}: is not a checkpoint that can be imported ({printable(error)})") from error


def _tensor(name: str, value: Any) -> Tensor:
    if not isinstance(value, Array) or value.values is None:
        raise ValueError(f"{name} is no array")
    return torch.from_numpy(value.values)


def our_name(name: str) -> str:
    """Our name of a tensor; "{qkv}" in it stands for the q, k and v that the tensor is split into.

    Raises KeyError for an unknown name.
    """
    for theirs, ours, patterns in _PARTS:
        if name.startswith(theirs):
            for pattern, replacement in patterns:
                match = re.fullmatch(pattern, name[len(theirs) :])
                if match:
                    return ours + match.expand(replacement)
    raise KeyError(name)


def renamed(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The same tensors by our names. Raises KeyError for an unknown name."""
    for name, tensor in tensors.items():
        ours = our_name(name)
        if "{qkv}" in ours:
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                yield ours.replace("{qkv}", letter), part
        else:
            yield ours, tensor


def model_size(shapes: Mapping[str, tuple[int, ...]]) -> tuple[ModelSize, int]:
    """A checkpoint's model sizes and number of classes. shapes: of its tensors, by their names in the checkpoint.

    If the checkpoint has no reconstruction head (plain Mask2Former), that head gets the main head's sizes.
    """
    main = _head_size(shapes, "sem_seg_head.")
    has_reconstruction = any(name.startswith("recon_head.") for name in shapes)
    classes = shapes["sem_seg_head.predictor.class_embed.weight"][0] - 1
    return (
        ModelSize(
            encoder=_encoder_size(shapes),
            main_head=main,
            reconstruction_head=_head_size(shapes, "recon_head.") if has_reconstruction else main,
        ),
        classes,
    )


def _encoder_size(shapes: Mapping[str, tuple[int, ...]]) -> EncoderSize:
    blocks = [re.match(r"backbone\.layers\.(\d+)\.blocks\.(\d+)\.norm1\.weight", name) for name in shapes]
    stages = [int(match[1]) for match in blocks if match]
    tables = [
        shapes[f"backbone.layers.{stage}.blocks.0.attn.relative_position_bias_table"]
        for stage in range(max(stages) + 1)
    ]
    return EncoderSize(
        name="swin",
        swin_channels=shapes["backbone.patch_embed.proj.weight"][0],
        swin_depths=tuple(stages.count(stage) for stage in range(len(tables))),
        swin_attention_heads=tuple(heads for _, heads in tables),
        # The table has a row for each of the (2 window - 1) ** 2 offsets between two positions in a window.
        swin_window=(int(tables[0][0] ** 0.5) + 1) // 2,
    )


def _head_size(shapes: Mapping[str, tuple[int, ...]], head: str) -> HeadSize:
    def layers(pattern: str) -> int:
        return sum(re.fullmatch(re.escape(head) + pattern, name) is not None for name in shapes)

    encoder = f"{head}pixel_decoder.transformer.encoder.layers.0."
    queries = shapes.get(f"{head}predictor.query_feat.weight") or shapes[f"{head}predictor.static_query.weight"]
    return HeadSize(
        queries=queries[0] if head != "recon_head." else RECONSTRUCTION_QUERIES,
        channels=queries[1],
        attention_heads=shapes[f"{encoder}self_attn.sampling_offsets.weight"][0] // (POINTS * LEVELS * 2),
        pixel_decoder_layers=layers(r"pixel_decoder\.transformer\.encoder\.layers\.\d+\.norm1\.weight"),
        pixel_decoder_feedforward=shapes[f"{encoder}linear1.weight"][0],
        decoder_layers=layers(r"predictor\.transformer_ffn_layers\.\d+\.norm\.weight"),
        decoder_feedforward=shapes[f"{head}predictor.transformer_ffn_layers.0.linear1.weight"][0],
    )


def load_released(path: Path) -> tuple[TwoHeadedModel, int]:
    """The model in a checkpoint of the paper's release or of Mask2Former (Swin), and how many classes it knows.

    If the checkpoint has no reconstruction head or no fourth input channel, these start untrained, as in the paper's
    joint training. Raises TttvError as `read_pickle` does, and if tensors are missing or unknown.
    """
    tensors = read_pickle(path)
    try:
        size, classes = model_size({name: tuple(tensor.shape) for name, tensor in tensors.items()})
        state = dict(renamed(tensors))
    except (KeyError, IndexError, ValueError) as error:
        raise TttvError(f"{printable(path)}: is not a Mask2Former on Swin that is known here ({error})") from error
    stem = "encoder.backbone.swin.embeddings.patch_embeddings.projection.weight"
    if state[stem].shape[1] == INPUT_CHANNELS - 1:
        state[stem] = torch.cat([state[stem], torch.zeros_like(state[stem][:, :1])], dim=1)
    model = TwoHeadedModel(size, classes)
    missing, unknown = model.load_state_dict(state, strict=False)
    trained = "recon_head.predictor.query_feat.weight" in tensors
    # transformers' Swin has a final norm that the backbone never uses.
    missing = [name for name in missing if not name.startswith("encoder.backbone.swin.layernorm.")]
    missing = [name for name in missing if trained or not name.startswith("reconstruction_head.")]
    if missing or unknown:
        raise TttvError(f"{printable(path)}: lacks {missing[:3]}, and has no use for {unknown[:3]}")
    return model, classes
