"""Semantic segmentation: one class for every pixel."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ttt_cli.frame import Prediction
from ttt_cli.model.two_headed import OUTPUT_STRIDE, MaskQueries


def class_probabilities(queries: MaskQueries) -> Tensor:
    """Mask2Former's semantic combination: sum over queries of softmax(class) x sigmoid(mask).

    Returns float32 (B, K, H/4, W/4) at the resolution of the mask logits, padding included, scaled to sum to 1 over K.
    """
    scores = torch.einsum(
        "bqk,bqhw->bkhw", queries.class_logits.float().softmax(-1)[..., :-1], queries.mask_logits.float().sigmoid()
    )
    return scores / scores.sum(dim=1, keepdim=True).clamp(min=1e-6)


def upsample(scores: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Scores of every class, (B, K, h, w), brought to the pixels of the image: (B, K, H, W)."""
    padded = (scores.shape[-2] * OUTPUT_STRIDE, scores.shape[-1] * OUTPUT_STRIDE)
    full = functional.interpolate(scores, size=padded, mode="bilinear", align_corners=False)
    return full[..., : image_size[0], : image_size[1]]


def postprocess(queries: MaskQueries) -> Prediction:
    """The prediction for a batch of one."""
    probabilities = class_probabilities(queries)
    class_map = upsample(probabilities, queries.image_size)[0].argmax(dim=0)
    return Prediction(class_map=class_map.to(torch.uint8), probabilities=probabilities[0])
