"""Models with detectron2's interface: a stand-in that needs no detectron2, and tiny configs for the real one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 5
DIVISOR = 32

_TINY = """
VERSION: 2
MODEL:
  META_ARCHITECTURE: {architecture}
  MASK_ON: true
  BACKBONE: {{NAME: build_resnet_fpn_backbone}}
  RESNETS:
    DEPTH: 50
    OUT_FEATURES: [res2, res3, res4, res5]
    STEM_OUT_CHANNELS: 8
    WIDTH_PER_GROUP: 4
    RES2_OUT_CHANNELS: 16
  FPN: {{IN_FEATURES: [res2, res3, res4, res5], OUT_CHANNELS: 16}}
  ANCHOR_GENERATOR: {{SIZES: [[8], [16], [32], [64], [128]], ASPECT_RATIOS: [[0.5, 1.0, 2.0]]}}
  RPN: {{IN_FEATURES: [p2, p3, p4, p5, p6], POST_NMS_TOPK_TEST: 50}}
  ROI_HEADS: {{NAME: StandardROIHeads, IN_FEATURES: [p2, p3, p4, p5], NUM_CLASSES: {classes}}}
  ROI_BOX_HEAD: {{NAME: FastRCNNConvFCHead, NUM_FC: 1, FC_DIM: 32, POOLER_RESOLUTION: 7}}
  ROI_MASK_HEAD: {{NAME: MaskRCNNConvUpsampleHead, NUM_CONV: 1, CONV_DIM: 16, POOLER_RESOLUTION: 14}}
  SEM_SEG_HEAD: {{NUM_CLASSES: {classes}, CONVS_DIM: 16, NORM: ""}}
  PANOPTIC_FPN: {{COMBINE: {{INSTANCES_CONFIDENCE_THRESH: 0.3, STUFF_AREA_LIMIT: 16}}}}
DATASETS: {{TEST: []}}
INPUT: {{MIN_SIZE_TEST: 128, MAX_SIZE_TEST: 160, FORMAT: {channels}}}
"""


def tiny_config(architecture: str, channels: str = "BGR") -> str:
    """The text of a config for the real detectron2."""
    return _TINY.format(architecture=architecture, channels=channels, classes=CLASSES)


@torch.no_grad()
def save_detectron(architecture: str, folder: Path, channels: str = "BGR") -> str:
    """Writes a tiny model of the real detectron2 with random weights. Returns its name for --weights."""
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model

    folder.mkdir()
    path = folder / "config.yaml"
    path.write_text(tiny_config(architecture, channels))
    config = get_cfg()
    config.merge_from_file(str(path))
    config.MODEL.DEVICE = "cpu"
    torch.manual_seed(0)
    model = build_model(config)
    # Fresh weights are so small that no object is sure of its class.
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            parameter.normal_(
                std=parameter[0].numel() ** -0.5 * (3 if "cls_score" in name or "predictor" in name else 1)
            )
    torch.save({"model": model.state_dict(), "iteration": 7}, folder / "model.pth")
    return f"detectron2:{path}#{folder / 'model.pth'}"


class Backbone(nn.Module):
    """Maps at strides 4 and 8."""

    size_divisibility = DIVISOR

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.stages = nn.Sequential(
            nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)),
            nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, stride=2), nn.BatchNorm2d(8)),
        )

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        fine = self.stages[0](self.stem(pixels)).relu()
        return {"res2": fine, "res3": self.stages[1](fine).relu()}


class ClassHead(nn.Module):
    """Logits of every class at every pixel, in the manner of SemSegFPNHead."""

    def __init__(self) -> None:
        super().__init__()
        self.predictor = nn.Conv2d(16, CLASSES, 1)

    def forward(self, features: dict[str, Tensor], targets: None = None) -> tuple[Tensor, dict[str, Tensor]]:
        coarse = functional.interpolate(features["res3"], scale_factor=2.0)
        logits = self.predictor(torch.cat([features["res2"], coarse], dim=1))
        return functional.interpolate(logits, scale_factor=4.0, mode="bilinear", align_corners=False), {}


class QueryHead(nn.Module):
    """Queries, in the manner of MaskFormer's head."""

    def __init__(self) -> None:
        super().__init__()
        self.classes = nn.Parameter(torch.randn(1, 3, CLASSES + 1))
        self.masks = nn.Conv2d(8, 3, 1)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        masks = self.masks(features["res2"])
        return {"pred_logits": self.classes.expand(len(masks), -1, -1), "pred_masks": masks}


class Detector(nn.Module):
    """Boxes of one object a class, in pixels of what the model sees; the first has no pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.corners = nn.Linear(8, CLASSES * 4)

    @torch.no_grad()
    def forward(self, features: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        numbers = self.corners(features["res3"].mean(dim=(2, 3))).sigmoid().reshape(-1, CLASSES, 4)
        boxes = torch.cat([numbers[..., :2] * 20, 30 + numbers[..., 2:] * 30], dim=-1)
        boxes[:, 0, 2:] = boxes[:, 0, :2]
        return [{"boxes": boxes_of_one, "scores": boxes_of_one.mean(dim=-1) / 60} for boxes_of_one in boxes]


class StandIn(nn.Module):
    """What detectron2 asks of a model, and its habits: padding inside, boxes scaled in place, results of any size."""

    def __init__(self, head: nn.Module | None) -> None:
        super().__init__()
        self.backbone = Backbone()
        if head is not None:
            self.sem_seg_head = head
        self.roi_heads = Detector()
        self.register_buffer("pixel_mean", torch.tensor([103.0, 116.0, 123.0]).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor([57.0, 57.5, 58.0]).view(-1, 1, 1), persistent=False)

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        images = [(entry["image"] - self.pixel_mean) / self.pixel_std for entry in batched_inputs]
        height, width = images[0].shape[-2:]
        features = self.backbone(functional.pad(torch.stack(images), (0, -width % DIVISOR, 0, -height % DIVISOR)))
        found = self.roi_heads(features)
        results = []
        for number, entry in enumerate(batched_inputs):
            size = (entry["height"], entry["width"])
            boxes = found[number]["boxes"]
            boxes *= torch.tensor([size[1] / width, size[0] / height] * 2)
            results.append({"instances": _instances(boxes, found[number]["scores"], size)})
        if hasattr(self, "sem_seg_head"):
            output = self.sem_seg_head(features)
            logits = output[0] if isinstance(output, tuple) else _semantic(output)
            for result, entry, of_one in zip(results, batched_inputs, logits[..., :height, :width], strict=True):
                size = (entry["height"], entry["width"])
                result["sem_seg"] = functional.interpolate(of_one[None], size, mode="bilinear", align_corners=False)[0]
        return results


def _instances(boxes: Tensor, scores: Tensor, size: tuple[int, int]) -> Any:
    masks = torch.zeros(CLASSES, *size, dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes.round().int().tolist(), strict=True):
        mask[top:bottom, left:right] = True
    return SimpleNamespace(pred_classes=torch.arange(CLASSES), scores=scores, pred_masks=masks)


def _semantic(queries: dict[str, Tensor]) -> Tensor:
    masks = functional.interpolate(queries["pred_masks"], scale_factor=4.0, mode="bilinear", align_corners=False)
    return torch.einsum("bqk,bqhw->bkhw", queries["pred_logits"].softmax(-1)[..., :-1], masks.sigmoid())


def stand_in(kind: str) -> StandIn:
    """A model, always the same, in eval mode: "classes", "queries" or "objects"."""
    torch.manual_seed(0)
    return StandIn({"classes": ClassHead, "queries": QueryHead, "objects": lambda: None}[kind]()).eval()
