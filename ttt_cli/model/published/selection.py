"""Well-known published models, a selection: any other id of the hub does as well.

Nothing of this was downloaded where the table was made, which had no network: ids, licenses, sizes and which
repositories have safetensors were read off stored copies of the hub's pages, most of them of 2024 and 2025; for the
sizes of EoMT, its numbers of parameters were multiplied by four. A model's own card says what it is now.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A model on the hub."""

    hub_id: str
    tasks: str
    """What it can predict."""
    classes: str
    """The data set whose classes it knows, and their number."""
    license: str
    """As its card states it. "other" means terms of its own, which its page names; many are non-commercial."""
    megabytes: int
    """About what is downloaded."""
    is_pickle: bool = False
    """Whether its main branch has only pickles, so that --allow-pickle is needed."""


ALL = "semantic, instance, panoptic"
ADE20K, CITYSCAPES, COCO, VOC = "ADE20K, 150 classes", "Cityscapes, 19 classes", "COCO, 133 classes", "VOC, 21 classes"

SELECTION = (
    Published("facebook/mask2former-swin-tiny-coco-panoptic", ALL, COCO, "other", 190),
    Published("facebook/mask2former-swin-small-coco-instance", "instance", "COCO, 80 classes", "other", 276),
    Published("facebook/mask2former-swin-small-cityscapes-semantic", "semantic", CITYSCAPES, "other", 275),
    Published("facebook/mask2former-swin-tiny-cityscapes-panoptic", ALL, CITYSCAPES, "other", 190),
    Published("facebook/mask2former-swin-small-ade-semantic", "semantic", ADE20K, "other", 276),
    Published(
        "facebook/mask2former-swin-large-mapillary-vistas-semantic",
        "semantic",
        "Mapillary Vistas, 65 classes",
        "other",
        866,
    ),
    Published("facebook/maskformer-swin-small-coco", ALL, COCO, "other", 253),
    Published("nvidia/segformer-b0-finetuned-ade-512-512", "semantic", ADE20K, "other", 15),
    Published(
        "nvidia/segformer-b0-finetuned-cityscapes-1024-1024", "semantic", CITYSCAPES, "other", 15, is_pickle=True
    ),
    Published("tue-mps/coco_panoptic_eomt_small_640_2x", ALL, COCO, "mit", 95),
    Published("tue-mps/ade20k_semantic_eomt_large_512", "semantic", ADE20K, "mit", 1270),
    Published("shi-labs/oneformer_ade20k_swin_tiny", ALL, ADE20K, "mit", 205, is_pickle=True),
    Published("openmmlab/upernet-convnext-tiny", "semantic", ADE20K, "mit", 241),
    Published("Intel/dpt-large-ade", "semantic", ADE20K, "apache-2.0", 1370, is_pickle=True),
    Published("microsoft/beit-base-finetuned-ade-640-640", "semantic", ADE20K, "apache-2.0", 900, is_pickle=True),
    Published("apple/deeplabv3-mobilevit-small", "semantic", VOC, "apple-amlr", 26, is_pickle=True),
    Published("google/deeplabv3_mobilenet_v2_1.0_513", "semantic", VOC, "other", 10, is_pickle=True),
)

SHORT_NAMES = {
    "coco": "facebook/mask2former-swin-tiny-coco-panoptic",
    "cityscapes": "facebook/mask2former-swin-small-cityscapes-semantic",
    "ade20k": "facebook/mask2former-swin-small-ade-semantic",
}


def expand(name: str) -> str:
    """The hub id that a short name stands for; any other text as it is."""
    return SHORT_NAMES.get(name, name)
