"""What joint training teaches the main head. To add an objective, write a class and list it in OBJECTIVES."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ttt_cli.adaptation.device import Compute
from ttt_cli.core.classes import Class
from ttt_cli.core.color import gray_of, lab_of
from ttt_cli.core.errors import UsageError
from ttt_cli.core.exposure import exposure_matched
from ttt_cli.core.labels import Chroma, ClassMap, Picture
from ttt_cli.datasets.low_light import low_light
from ttt_cli.metrics.color import ColorMetric
from ttt_cli.model.split import SplitModel
from ttt_cli.model.weights import ALL_TASKS
from ttt_cli.tasks.semantic import SemanticTask
from ttt_cli.training.losses import MainLoss
from ttt_cli.training.parts import Part, Terms
from ttt_cli.training.recipe import Recipe
from ttt_cli.training.stills import Split, Still, Stills

BIN = 10.0
"""Side of a cell of the ab plane, in Lab's units."""
CLASSES_WEIGHT = 0.1
"""Weight of the classifier's loss relative to the chroma distance."""
ANNEALING = 0.38
"""Temperature T of the annealed mean (Zhang et al. 2016)."""


class TrainingObjective(nn.Module):
    """Computes l_m. Its own parameters are trained with the model's but not exported."""

    tasks: ClassVar[tuple[str, ...]]
    """Tasks that the exported weights can do."""

    def __init__(self, recipe: Recipe, split: Split) -> None:
        super().__init__()
        self.precision = recipe.schedule.precision
        # Exposure and white balance are matched to these; None leaves pictures as they are.
        self.ordinary = split.trained.statistics() if recipe.exposure == "match" else None

    @staticmethod
    def classes_of(split: Split) -> tuple[Class, ...]:
        """The classes that the exported weights know. Raises UsageError if the stills lack the labels needed."""
        return split.classes

    def shown(self, image: Tensor) -> Tensor:
        """What the model sees of a whole picture, uint8 RGB (3, H, W), at test time."""
        return self.preprocess(exposure_matched(image, self.ordinary))

    def preprocess(self, images: Tensor) -> Tensor:
        """The model's input made from images in 0..255, (B, 3, H, W)."""
        return images

    def mask_count(self, still: Still) -> int:
        """How many masks of a still queries are matched to."""
        return 0

    @abstractmethod
    def forward(self, model: SplitModel, images: Tensor, part: Part) -> Terms:
        """What l_m of a batch is computed from, or the part of it that comes from some of the batch's images.

        images: preprocessed, and possibly darker than those of `part`, which are the truth.
        """

    @abstractmethod
    def loss(self, terms: Terms) -> Tensor:
        """l_m, a scalar, from the terms of the whole batch."""

    @abstractmethod
    def validate(self, model: SplitModel, held_out: Stills) -> dict[str, float]:
        """Scores on the held-out stills. model: in eval mode; runs on the device of its parameters."""


class Segmentation(TrainingObjective):
    """Classes and objects, learned by Mask2Former's loss and pixel losses (training/losses.py)."""

    tasks = ALL_TASKS

    def __init__(self, recipe: Recipe, split: Split) -> None:
        super().__init__(recipe, split)
        self.task = SemanticTask(split.classes)
        share = split.trained.pixel_share(len(split.classes))
        self.main_loss = MainLoss(recipe.main_loss, split.classes, share, recipe.model.main_head.channels)

    @staticmethod
    def classes_of(split: Split) -> tuple[Class, ...]:
        if not split.classes:
            raise UsageError("sources: none has labels, which the objective segmentation needs; add one that has")
        return split.classes

    def mask_count(self, still: Still) -> int:
        return self.main_loss.mask_count(still)

    def forward(self, model: SplitModel, images: Tensor, part: Part) -> Terms:
        with Compute(images.device, self.precision).autocast():
            queries = model.decode(model.encode(images))
        return self.main_loss.terms(queries, part)

    def loss(self, terms: Terms) -> Tensor:
        loss: Tensor = self.main_loss(terms)
        return loss

    @torch.no_grad()
    def validate(self, model: SplitModel, held_out: Stills) -> dict[str, float]:
        """mIoU on the stills as they are and in low light."""
        return semantic_scores(model, self.task, self.shown, held_out)


def semantic_scores(
    model: SplitModel, task: SemanticTask, shown: Callable[[Tensor], Tensor], stills: Stills
) -> dict[str, float]:
    """mIoU on stills as they are and in low light. shown: what the model sees of a picture."""
    pooled = {"clean": task.new_metric(), "low_light": task.new_metric()}
    device = next(model.parameters()).device
    for seed, still in enumerate(stills):
        for name, image in (("clean", still.image), ("low_light", low_light(still.image, seed))):
            prediction = task.predict(model, model.encode(shown(image)[None].to(device)))
            height, width = still.classes.shape
            pooled[name].update(prediction.at_size((height, width)), ClassMap(still.classes))
    return {f"miou_{name}": metric.compute().pooled for name, metric in pooled.items()}


class Colorization(TrainingObjective):
    """Chroma from gray, learned in two ways at once.

    The model predicts a and b themselves. Their loss is the distance from the truth in units of ten, in which large
    errors count linearly. A classifier, used only in training, predicts which BIN x BIN cell of the ab plane a pixel is
    in. Rare cells count more, as in Zhang et al. 2016 (rebalancing by lambda = 1/2, annealed mean with T = 0.38). The
    classifier keeps the features from grayish averages. Validation scores both.
    """

    tasks = ("colorization",)

    def __init__(self, recipe: Recipe, split: Split) -> None:
        super().__init__(recipe, split)
        self.bins: Tensor
        self.bin_weights: Tensor
        self.register_buffer("bins", _bins_of_srgb())
        self.register_buffer("bin_weights", _rarity(self.bins, split.trained.sample()))
        self.classifier = nn.Conv2d(recipe.model.main_head.channels, len(self.bins), 1)

    @staticmethod
    def classes_of(split: Split) -> tuple[Class, ...]:
        return ()

    def preprocess(self, images: Tensor) -> Tensor:
        return gray_of(images).float()

    def forward(self, model: SplitModel, images: Tensor, part: Part) -> Terms:
        """The chroma distance, a mean over images, and the classifier's loss."""
        truth = torch.stack([lab_of(still.image)[1:] for still in part.stills]).to(images.device)
        with Compute(images.device, self.precision).autocast():
            colors = model.decode(model.encode(images))
        small = functional.interpolate(truth, size=colors.ab.shape[-2:], mode="area")
        bins = _bins_of(small, self.bins)
        distance = functional.smooth_l1_loss(colors.ab.float() / BIN, small / BIN)
        classes = functional.cross_entropy(self.classifier(colors.pixel_features.float()), bins, self.bin_weights)
        weights = torch.stack([distance.new_tensor(len(images)), self.bin_weights[bins].sum()])
        return Terms(torch.stack([distance, classes]), weights, distance.new_zeros(0))

    def loss(self, terms: Terms) -> Tensor:
        return terms.means[0] + CLASSES_WEIGHT * terms.means[1]

    @torch.no_grad()
    def validate(self, model: SplitModel, held_out: Stills) -> dict[str, float]:
        """PSNR of the model's chroma, of the classifier's, and of gray, on the unchanged stills."""
        device = next(model.parameters()).device
        metrics = {name: ColorMetric() for name in ("psnr", "psnr_of_classes", "psnr_of_gray")}
        for still in held_out:
            colors = model.decode(model.encode(gray_of(still.image)[None].to(device)))
            likely = (self.classifier(colors.pixel_features) / ANNEALING).softmax(dim=1)
            annealed = torch.einsum("bqhw,qc->bchw", likely, self.bins)
            for metric, ab in zip(metrics.values(), (colors.ab, annealed, 0 * annealed), strict=True):
                metric.update(Chroma(ab[0].cpu()), Picture(still.image))
        return {name: metric.compute().pooled for name, metric in metrics.items()}


def _bins_of_srgb() -> Tensor:
    """The centers of the cells of the ab plane that contain sRGB colors: (Q, 2), in Lab's units."""
    values = torch.arange(0.0, 256.0, 3.0)
    colors = torch.stack(torch.meshgrid(values, values, values, indexing="ij")).reshape(3, 1, -1)
    cells: Tensor = torch.unique((lab_of(colors)[1:, 0] / BIN).round(), dim=1)
    return cells.T * BIN


def _bins_of(ab: Tensor, bins: Tensor) -> Tensor:
    """The index of the bin nearest to each pixel: (B, 2, H, W) to int64 (B, H, W)."""
    pixels = ab.movedim(1, -1).reshape(-1, 2)
    return torch.cdist(pixels, bins).argmin(dim=1).reshape(len(ab), *ab.shape[-2:])


def _rarity(bins: Tensor, stills: Iterable[Still]) -> Tensor:
    """The weight of each bin in the classifier's loss: (Q,), 1 on average over the pixels of the stills."""
    counts = torch.zeros(len(bins))
    for still in stills:
        counts += torch.bincount(
            _bins_of(lab_of(still.image[None, :, ::8, ::8])[:, 1:], bins).flatten(), None, len(bins)
        )
    share = counts / counts.sum()
    weights = 1 / (0.5 * share + 0.5 / len(bins))
    return weights / (weights * share).sum()


OBJECTIVES: dict[str, type[TrainingObjective]] = {"segmentation": Segmentation, "colorization": Colorization}
