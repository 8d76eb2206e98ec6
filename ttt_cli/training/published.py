"""A published model as what is trained: the paper's joint training, which starts from the authors' checkpoint.

f is its encoder with a fourth input for masks, h the rest of it, and g a new light head. It is written as a folder in
the layout of transformers, like the one it came from, with g and the rest of what is ours in a companion file.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ttt_cli.adaptation.device import Compute
from ttt_cli.core.classes import VOID
from ttt_cli.core.errors import TttvError, UsageError, printable
from ttt_cli.core.replacing import replacing
from ttt_cli.model.added_head import add_head, head_tensors
from ttt_cli.model.companion import ORDINARY_FEATURES, Companion, companion_path, named, read_companion, write_companion
from ttt_cli.model.published.families import FAMILIES
from ttt_cli.model.published.model import EncodedPicture, PublishedModel, resized
from ttt_cli.model.published.snapshot import CARD, fingerprint, folder_snapshot
from ttt_cli.model.published.weights import PublishedWeights
from ttt_cli.model.split import SplitModel
from ttt_cli.tasks.published import PublishedSemanticTask
from ttt_cli.training.losses import MainLossSettings, new_matching, things_in
from ttt_cli.training.matching import Layer, mask_targets
from ttt_cli.training.objectives import Segmentation, TrainingObjective, semantic_scores
from ttt_cli.training.parts import Part, Terms
from ttt_cli.training.recipe import Recipe
from ttt_cli.training.stills import Split, Still, Stills
from ttt_cli.training.subject import Measured, Subject, have_same_names

HEAD_WIDTH = 64
"""Channels inside g."""
OF_QUERIES = ("class_weight", "mask_weight", "dice_weight", "points", "objects")
"""The settings of l_m that count for published models, if they have mask queries."""
PROBE_PIXELS = 64
"""Side of the picture by which the sizes of f's maps are found."""


class PublishedSegmentation(TrainingObjective):
    """The classes of the pixels, by their cross-entropy."""

    def __init__(self, recipe: Recipe, split: Split, weights: PublishedWeights) -> None:
        super().__init__(recipe, split)
        self.task = PublishedSemanticTask(split.classes, processing=weights.processing(resizes=True))

    def shown(self, image: Tensor) -> Tensor:
        return self.task.preprocess(image)

    def forward(self, model: SplitModel, images: Tensor, part: Part) -> Terms:
        assert isinstance(model, PublishedModel), "its subject has no other"
        with Compute(images.device, self.precision).autocast():
            encoded = model.encode(images)
            output = model.decode(encoded)
        return self.terms(model, output, encoded, part)

    def terms(self, model: PublishedModel, output: Any, encoded: EncodedPicture, part: Part) -> Terms:
        """What l_m is computed from. output: of h."""
        logits = model.pixel_logits(output)
        assert logits is not None, "only models with mask queries have none"
        truth = torch.stack([still.classes for still in part.stills]).long().to(logits.device)
        total = functional.cross_entropy(
            resized(logits.float(), encoded.image_size), truth, ignore_index=VOID, reduction="sum"
        )
        count = (truth != VOID).sum()
        return Terms((total / count.clamp(min=1))[None], count[None].float(), total.new_zeros(0))

    def loss(self, terms: Terms) -> Tensor:
        return terms.means.sum()

    @torch.no_grad()
    def validate(self, model: SplitModel, held_out: Stills) -> dict[str, float]:
        """mIoU on the stills as they are and in low light, as the model's own processing predicts."""
        return semantic_scores(model, self.task, self.shown, held_out)


class PublishedQueries(PublishedSegmentation):
    """Classes and objects by mask queries: Mask2Former's loss of every decoder layer whose output the model gives."""

    def __init__(self, recipe: Recipe, split: Split, weights: PublishedWeights) -> None:
        super().__init__(recipe, split, weights)
        self.things = things_in(recipe.main_loss, split.classes)
        self.matching = new_matching(recipe.main_loss, split.classes)

    def mask_count(self, still: Still) -> int:
        return len(mask_targets(still, self.things)[0])

    def terms(self, model: PublishedModel, output: Any, encoded: EncodedPicture, part: Part) -> Terms:
        layers = [_layer(output), *map(_layer, output.get("auxiliary_logits") or ())]
        return self.matching.terms(layers, part, self.things)

    def loss(self, terms: Terms) -> Tensor:
        return self.matching.mean_over_layers(terms.means)


def _layer(output: Any) -> Layer:
    return output["class_queries_logits"], output["masks_queries_logits"]


class PublishedSubject(Subject):
    """A model of transformers."""

    model: PublishedModel

    def __init__(self, recipe: Recipe, split: Split, start: PublishedWeights) -> None:
        """Raises UsageError if the recipe asks for what is only for our own models, TttvError if the model cannot be
        trained, or has other classes than the stills.
        """
        self.recipe, self.start, shown = recipe, start, printable(start.name)
        if not start.family.is_trainable:
            known = ", ".join(name for name, family in FAMILIES.items() if family.is_trainable)
            raise TttvError(f"{shown}: is a {start.architecture}, which cannot be trained; start from one of {known}")
        _require_settings_for_published(recipe)
        self.classes = Segmentation.classes_of(split)
        self.model = self._model(shown)
        side = self.model.side
        if side is not None and (recipe.augmentation.crop_height, recipe.augmentation.crop_width) != (side, side):
            raise UsageError(f"augmentation: {shown} takes squares, so crop_height and crop_width must be {side}")
        probe = torch.zeros(1, 3, side or PROBE_PIXELS, side or PROBE_PIXELS)
        self.shape = add_head(self.model, probe, HEAD_WIDTH)
        kind = PublishedQueries if "instance" in start.family.tasks else PublishedSegmentation
        self.objective = kind(recipe, split, start)

    def _model(self, shown: str) -> PublishedModel:
        if self.recipe.new_classifier:
            return self.start.load_for(self.classes)
        if not have_same_names(self.start.classes, self.classes):
            raise TttvError(
                f"{shown}: has other classes than the recipe's sources, or in another order; relabel the stills, or "
                "say new_classifier = true in the recipe"
            )
        return self.start.load_alone()

    def path_in(self, folder: Path) -> Path:
        """A folder named after the recipe."""
        return folder / self.recipe.name

    def is_ours(self, path: Path) -> bool:
        """Whether it is such a folder; a model that was prepared has a companion too, but of another kind."""
        try:
            companion = read_companion(companion_path(path)) if path.is_dir() else None
        except TttvError:
            return False
        return companion is not None and not companion.has_encoder

    def save(self, model: SplitModel, path: Path, measured: Measured) -> None:
        """Writes the folder. What an earlier training left there is replaced; raises TttvError for anything else."""
        self.check_place(path)
        with replacing(path) as temporary:
            self.start.save(model, temporary)
            (temporary / CARD).write_text(self._card(), encoding="utf-8")
            self._write_companion(model, temporary, measured)
            if others := _names(path) - _names(temporary):
                raise TttvError(
                    f"{printable(path / min(others))}: no training wrote it; move it away, and go on with --resume"
                )

    def _write_companion(self, model: SplitModel, folder: Path, measured: Measured) -> None:
        tensors = named(ORDINARY_FEATURES, measured.features.state_dict())
        has_head = self.recipe.schedule.reconstruction_weight > 0
        companion = Companion(
            fingerprint=fingerprint(folder_snapshot(folder)),
            pictures=measured.pictures,
            ordinary=measured.ordinary,
            head=self.shape if has_head else None,
            reconstruction=dataclasses.replace(self.recipe.reconstruction, familiar_loss=measured.familiar_loss),
            has_encoder=False,
            adaptation=self.recipe.adaptation,
        )
        write_companion(companion_path(folder), companion, tensors | (head_tensors(model) if has_head else {}))

    def _card(self) -> str:
        """The model card: the license, in YAML, and where the weights come from."""
        recipe = self.recipe
        return (
            f"---\nlicense: {json.dumps(recipe.license)}\n---\n\n# {recipe.name}\n\n"
            f"Trained by tttv from {self.start.name} (license: {self.start.license}).\n"
        )


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _require_settings_for_published(recipe: Recipe) -> None:
    """Raises UsageError for settings that a published model has no use for."""
    usual, main_loss = Recipe(recipe.name, recipe.sources, recipe.license), MainLossSettings()
    unused = {name: getattr(recipe, name) != getattr(usual, name) for name in ("objective", "exposure", "model")}
    unused["look_ahead"] = recipe.look_ahead.steps > 0
    for setting in dataclasses.fields(main_loss):
        is_usual = getattr(recipe.main_loss, setting.name) == getattr(main_loss, setting.name)
        unused[f"main_loss.{setting.name}"] = setting.name not in OF_QUERIES and not is_usual
    for name, is_unused in unused.items():
        if is_unused:
            raise UsageError(f"{name}: is for models of ours, and start names a published one; leave it out")
