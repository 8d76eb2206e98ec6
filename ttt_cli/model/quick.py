"""Quicker forward passes for predictions on a CPU. Only the rounding differs from the models' own.

Training goes on through the models' own forward passes: these here leave out what only a loss asks for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerMaskedAttentionDecoder,
    Mask2FormerMaskedAttentionDecoderOutput,
    Mask2FormerPixelDecoderEncoderOnly,
    Mask2FormerSinePositionEmbedding,
)

from ttt_cli.model.deformable import SamplingGrid, attend
from ttt_cli.model.encoder import Encoder
from ttt_cli.model.published.replay import Forward
from ttt_cli.model.split import SplitModel

PROBE_PIXELS = 64
"""Side of the picture by which convolutions and their normalizations are found."""
PLAIN = ("Conv2d", "Conv2dSame")
"""Classes of convolutions that do nothing to their weights; the second, of timm, pads as TensorFlow does."""
SIZES_KEPT = 8
"""Position embeddings are kept for this many sizes of maps; a model has three."""


def quick_forwards(model: SplitModel) -> list[tuple[nn.Module, Forward]]:
    """Modules of a model, and the forward passes that can stand in for theirs, see `replay.replaced`."""
    quick = [(module, forward) for part in model.modules() for module, forward in _of_part(part)]
    if isinstance(model.encoder, Encoder):
        watched = {id(block) for block in model.blocks}
        for convolution, norm in normalized_convolutions(model):
            if id(convolution) not in watched:
                activation = getattr(norm, "act", None) or nn.Identity()
                quick += [(convolution, partial(_normalized, convolution, norm)), (norm, activation.forward)]
    return quick


@torch.no_grad()
def normalized_convolutions(model: SplitModel) -> list[tuple[nn.Conv2d, nn.Module]]:
    """The plain convolutions of f whose output a batch normalization takes, with that."""
    made: list[tuple[Tensor, nn.Conv2d]] = []
    found: list[tuple[nn.Conv2d, nn.Module]] = []

    def note(module: nn.Conv2d, inputs: Any, output: Tensor) -> None:
        made.append((output, module))

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.extend((convolution, module) for output, convolution in made if output is inputs[0])

    parts = list(model.encoder.modules())
    handles = [part.register_forward_hook(note) for part in parts if type(part).__name__ in PLAIN]
    handles += [part.register_forward_pre_hook(look) for part in parts if isinstance(part, nn.BatchNorm2d)]
    try:
        model.encode(torch.zeros(1, 3, PROBE_PIXELS, PROBE_PIXELS))
    finally:
        for handle in handles:
            handle.remove()
    return found


def _of_part(part: nn.Module) -> Iterator[tuple[nn.Module, Forward]]:
    if isinstance(part, Mask2FormerPixelDecoderEncoderOnly):
        yield part, partial(_pixel_encoder, part)
    elif isinstance(part, Mask2FormerSinePositionEmbedding):
        yield part, lru_cache(SIZES_KEPT)(part.forward)
    elif isinstance(part, Mask2FormerMaskedAttentionDecoder):
        yield part, partial(_masked_decoder, part)
        for layer in part.layers:
            yield layer.cross_attn, partial(layer.cross_attn.forward, need_weights=False)


def _pixel_encoder(
    encoder: Any,
    inputs_embeds: Tensor,
    position_embeddings: Tensor,
    spatial_shapes_list: Sequence[tuple[int, int]],
    **unused: object,
) -> BaseModelOutput:
    """The layers of deformable attention in a pixel decoder, whose maps have no padding. Tensors: (B, Q, C)."""
    first = encoder.layers[0].self_attn
    grid = SamplingGrid(spatial_shapes_list, first.n_heads, first.n_points, inputs_embeds.device)
    pictures = []
    for states, positions in zip(inputs_embeds, position_embeddings.expand_as(inputs_embeds), strict=True):
        for layer in encoder.layers:
            states = layer.self_attn_layer_norm(states + attend(layer.self_attn, states, positions, grid))
            states = layer.final_layer_norm(states + layer.fc2(layer.fc1(states).relu_()))
        pictures.append(states)
    return BaseModelOutput(last_hidden_state=torch.stack(pictures))


def _masked_decoder(
    decoder: Any,
    inputs_embeds: Tensor,
    multi_stage_positional_embeddings: Sequence[Tensor],
    pixel_embeddings: Tensor,
    encoder_hidden_states: Sequence[Tensor],
    query_position_embeddings: Tensor,
    feature_size_list: Sequence[tuple[int, int]],
    **unused: object,
) -> Mask2FormerMaskedAttentionDecoderOutput:
    """The decoder with masked attention, and only its last masks.

    A mask is a linear function of the pixels' features, so the masks for the attention are made from smaller features.
    """
    smaller = [
        functional.interpolate(pixel_embeddings, size=size, mode="bilinear", align_corners=False).flatten(2)
        for size in feature_size_list
    ]
    embed = decoder.mask_predictor.mask_embedder
    states = inputs_embeds
    for number, layer in enumerate(decoder.layers):
        level = number % len(smaller)
        hidden = embed(decoder.layernorm(states).transpose(0, 1)) @ smaller[level] < 0
        hidden &= ~hidden.all(dim=-1, keepdim=True)
        (states,) = layer(
            states,
            level,
            None,
            multi_stage_positional_embeddings,
            query_position_embeddings,
            encoder_hidden_states,
            encoder_attention_mask=hidden.repeat_interleave(decoder.mask_predictor.num_heads, dim=0),
        )
    last = decoder.layernorm(states)
    masks = torch.einsum("bqc,bchw->bqhw", embed(last.transpose(0, 1)), pixel_embeddings)
    return Mask2FormerMaskedAttentionDecoderOutput(
        last_hidden_state=states.transpose(0, 1), intermediate_hidden_states=(last,), masks_queries_logits=(masks,)
    )


def _normalized(convolution: nn.Conv2d, norm: Any, inputs: Tensor) -> Tensor:
    """What a convolution and its batch normalization give, by one convolution.

    Its weights are made anew each time, since methods may have moved them; that costs little.
    """
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    shift = norm.bias - norm.running_mean * scale
    if convolution.bias is not None:
        shift = shift + convolution.bias * scale
    weight = convolution.weight * scale.view(-1, 1, 1, 1)
    padding: Any = convolution.padding
    if type(convolution).__name__ == "Conv2dSame":
        weight, padding = _evenly_padded(convolution, weight, inputs.shape[-2:])
    return functional.conv2d(
        inputs, weight, shift, convolution.stride, padding, convolution.dilation, convolution.groups
    )


def _evenly_padded(convolution: nn.Conv2d, weight: Tensor, size: Sequence[int]) -> tuple[Tensor, list[int]]:
    """TensorFlow's padding, with which an output has ceil(size / stride) cells, as one that is the same on both sides.

    If there is an odd number of rows or columns to add, one more comes behind the picture than before it. With a row or
    column of zeros before the kernel, which is not dilated then, there is one more to add. A padded copy of the input
    would take longer than the convolution.
    """
    padding, before = [], []
    for side, kernel, stride, dilation in zip(
        size, convolution.kernel_size, convolution.stride, convolution.dilation, strict=True
    ):
        missing = max((math.ceil(side / stride) - 1) * stride + (kernel - 1) * dilation + 1 - side, 0)
        padding.append((missing + 1) // 2)
        before.append(missing % 2)
    if any(before):
        weight = functional.pad(weight, (before[1], 0, before[0], 0)).contiguous(memory_format=torch.channels_last)
    return weight, padding
