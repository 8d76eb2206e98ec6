"""What joint training teaches the main head, besides reconstruction. To add one: write a class and add a line below."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ttt_cli.colour import grey_of, lab_of
from ttt_cli.datasets.low_light import low_light
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.tasks.classes import CAMVID, Class
from ttt_cli.tasks.semantic import SemanticTask
from ttt_cli.training.losses import MainLoss
from ttt_cli.training.recipe import Recipe
from ttt_cli.training.stills import Split, Still
from ttt_cli.weights import ALL_TASKS


class Lesson(nn.Module):
    """l_m. Parameters of its own are trained beside the model's and do not come out.

    tasks, classes: what the weights that come out are for.
    """

    tasks: ClassVar[tuple[str, ...]]
    classes: ClassVar[tuple[Class, ...]]

    def __init__(self, recipe: Recipe, split: Split) -> None:
        super().__init__()

    def seen(self, images: Tensor) -> Tensor:
        """What the model is shown of images in 0..255, (B, 3, H, W)."""
        return images

    @abstractmethod
    def forward(self, model: TwoHeadedModel, images: Tensor, batch: list[Still]) -> Tensor:
        """l_m, a scalar. images: as seen; they may be darker than those of `batch`, which are the truth."""

    @abstractmethod
    def validate(self, model: TwoHeadedModel, held_out: list[Still]) -> dict[str, float]:
        """Scores on stills held out. The model is in eval mode; its device is that of its parameters."""


class Segmentation(Lesson):
    """Classes and objects: Mask2Former's loss and the pixels' (losses.py)."""

    tasks = ALL_TASKS
    classes = CAMVID

    def __init__(self, recipe: Recipe, split: Split) -> None:
        super().__init__(recipe, split)
        self.main_loss = MainLoss(recipe.main_loss, split.trained.pixel_share(), recipe.model.main_head.channels)

    def forward(self, model: TwoHeadedModel, images: Tensor, batch: list[Still]) -> Tensor:
        loss: Tensor = self.main_loss(model.segment(model.encode(images)), batch)
        return loss

    @torch.no_grad()
    def validate(self, model: TwoHeadedModel, held_out: list[Still]) -> dict[str, float]:
        """mIoU on the stills as they are and in low light."""
        task = SemanticTask(CAMVID)
        pooled = {"clean": task.new_metric(), "low_light": task.new_metric()}
        device = next(model.parameters()).device
        for seed, still in enumerate(held_out):
            for name, image in (("clean", still.image), ("low_light", low_light(still.image, seed))):
                queries = model.segment(model.encode(image[None].to(device)))
                pooled[name].update(task.postprocess(queries).class_map, still.classes)
        return {f"miou_{name}": metric.compute().pooled for name, metric in pooled.items()}


class Colorization(Lesson):
    """Chroma from grey: the distance in a and b, in units of ten, where large errors count linearly."""

    tasks = ("colorization",)
    classes = ()

    def seen(self, images: Tensor) -> Tensor:
        return grey_of(images).float()

    def forward(self, model: TwoHeadedModel, images: Tensor, batch: list[Still]) -> Tensor:
        truth = torch.stack([lab_of(still.image)[1:] for still in batch]).to(images.device)
        predicted = model.colour(model.encode(images))
        small = functional.interpolate(truth, size=predicted.shape[-2:], mode="area")
        return functional.smooth_l1_loss(predicted / 10, small / 10)

    @torch.no_grad()
    def validate(self, model: TwoHeadedModel, held_out: list[Still]) -> dict[str, float]:
        """Mean distance of chroma from the truth, at the resolution of the prediction; and that of grey."""
        device = next(model.parameters()).device
        distances, greys = [], []
        for still in held_out:
            truth = lab_of(still.image)[None, 1:]
            predicted = model.colour(model.encode(grey_of(still.image)[None].to(device))).cpu()
            small = functional.interpolate(truth, size=predicted.shape[-2:], mode="area")
            distances.append(float((predicted - small).norm(dim=1).mean()))
            greys.append(float(small.norm(dim=1).mean()))
        count = max(1, len(held_out))
        return {"chroma_distance": sum(distances) / count, "chroma_distance_of_grey": sum(greys) / count}


LESSONS: dict[str, type[Lesson]] = {"segmentation": Segmentation, "colorization": Colorization}
