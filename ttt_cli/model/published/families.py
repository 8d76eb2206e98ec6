"""The table of model families: a published model of any of these can be split and adapted.

To add a family, add a row: the name of its class, and where its encoder is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ttt_cli.model.published.replay import AtModule, BeforeQueries, Split
from ttt_cli.model.weights import ALL_TASKS


@dataclass(frozen=True)
class Family:
    """How the models of one class are split and fed."""

    split: Split
    """Into f and h."""
    tasks: Sequence[str] = ("semantic",)
    """What its image processor can make of its output, besides what the weights themselves say."""
    object_threshold: float = 0.5
    """How sure of its class a query must be to give a region, by its image processor's default."""
    takes_one_size: bool = False
    """Whether its models take squares of `config.image_size` alone."""
    token_embeddings: str | None = None
    """Path of the module that makes the tokens of a plain vision transformer; None for encoders of other kinds."""
    asks_task: bool = False
    """Whether its models are told the task, in words."""


_PIXEL_LEVEL = AtModule("model.pixel_level_module.encoder")

FAMILIES: dict[str, Family] = {
    "Mask2FormerForUniversalSegmentation": Family(_PIXEL_LEVEL, ALL_TASKS),
    "MaskFormerForInstanceSegmentation": Family(_PIXEL_LEVEL, ALL_TASKS),
    "OneFormerForUniversalSegmentation": Family(_PIXEL_LEVEL, ALL_TASKS, asks_task=True),
    "UperNetForSemanticSegmentation": Family(AtModule("backbone")),
    "SegformerForSemanticSegmentation": Family(AtModule("segformer")),
    "MobileViTForSemanticSegmentation": Family(AtModule("mobilevit")),
    "MobileViTV2ForSemanticSegmentation": Family(AtModule("mobilevitv2")),
    "MobileNetV2ForSemanticSegmentation": Family(AtModule("mobilenet_v2")),
    "DPTForSemanticSegmentation": Family(AtModule("dpt"), takes_one_size=True, token_embeddings="dpt.embeddings"),
    "BeitForSemanticSegmentation": Family(AtModule("beit"), takes_one_size=True, token_embeddings="beit.embeddings"),
    "Data2VecVisionForSemanticSegmentation": Family(
        AtModule("data2vec_vision"), takes_one_size=True, token_embeddings="data2vec_vision.embeddings"
    ),
    "EomtForUniversalSegmentation": Family(
        BeforeQueries(), ALL_TASKS, 0.8, takes_one_size=True, token_embeddings="embeddings"
    ),
    "EomtDinov3ForUniversalSegmentation": Family(
        BeforeQueries(), ALL_TASKS, 0.8, takes_one_size=True, token_embeddings="embeddings"
    ),
}
