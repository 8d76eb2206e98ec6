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
    gives_layers: bool = False
    """Whether its models can say what every layer of their decoder predicts."""
    is_trainable: bool = True
    """Whether `tttv train` can start from its models: f and h must be the same function in training, and h learn from
    pictures and labels alone."""


_PIXEL_LEVEL = AtModule("model.pixel_level_module.encoder")

FAMILIES: dict[str, Family] = {
    "Mask2FormerForUniversalSegmentation": Family(_PIXEL_LEVEL, ALL_TASKS, gives_layers=True),
    "MaskFormerForInstanceSegmentation": Family(_PIXEL_LEVEL, ALL_TASKS, gives_layers=True),
    # It learns from texts about the pictures too.
    "OneFormerForUniversalSegmentation": Family(_PIXEL_LEVEL, ALL_TASKS, asks_task=True, is_trainable=False),
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
    # In training it draws new positions for every pass, and f and h would get different ones.
    "EomtDinov3ForUniversalSegmentation": Family(
        BeforeQueries(), ALL_TASKS, 0.8, takes_one_size=True, token_embeddings="embeddings", is_trainable=False
    ),
}
