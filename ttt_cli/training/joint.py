"""Joint training on labeled stills: min over f, g, h of l_m + l_s (paper, section 4.1), then look-ahead for g."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from ttt_cli.adaptation.reconstruction import reconstruction_loss
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.model.feature_statistics import FeatureStatistics
from ttt_cli.model.own import OwnWeights, find, read_own, save_weights
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.training.camera import seen_by_camera
from ttt_cli.training.look_ahead import LookAhead
from ttt_cli.training.objectives import OBJECTIVES, TrainingObjective
from ttt_cli.training.recipe import Recipe, Schedule
from ttt_cli.training.stills import Split, Still

PICTURES_MEASURED = 256
"""Training pictures behind the statistics of f's channels."""


@dataclass(frozen=True)
class Losses:
    """The losses of one training step. In look-ahead training they are measured on shifted images."""

    main: float
    """l_m."""
    reconstruction: float
    """l_s."""
    main_ahead: float | None = None
    """l_m after the trial step; None in joint training."""


@dataclass(frozen=True)
class Progress:
    """The outcome of one training step."""

    step: int
    """Steps done so far, this one included."""
    steps: int
    """Steps of the whole run."""
    losses: Losses
    """Losses of this step."""
    scores: dict[str, float] | None
    """Validation scores; None if this step was not followed by a validation."""


class Trainer:
    """Runs a recipe. Holds the whole state: model, averaged model, optimizer, generator, step."""

    def __init__(self, recipe: Recipe, split: Split, device: torch.device) -> None:
        self.schedule = recipe.schedule
        torch.manual_seed(self.schedule.seed)
        self.generator = Generator().manual_seed(self.schedule.seed)
        self.recipe, self.split, self.device = recipe, split, device
        objective = OBJECTIVES[recipe.objective]
        self.model = TwoHeadedModel(recipe.model, len(objective.classes), pretrained_encoder=recipe.imagenet)
        if recipe.start:
            self._start_from(read_own(find(recipe.start)))
        self.model.to(device)
        self.average = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.objective = objective(recipe, split).to(device)
        self.augmentation = replace(recipe.augmentation, ordinary=self.objective.ordinary)
        self.optimizer = torch.optim.AdamW(_groups(self.model, self.objective, self.schedule), betas=(0.9, 0.999))
        self.look_ahead = LookAhead(self.model, recipe.look_ahead, self.schedule.reconstruction_weight)
        self.steps = self.schedule.steps + recipe.look_ahead.steps
        self.step = 0

    def _start_from(self, weights: OwnWeights) -> None:
        """Raises TttvError if the weights are of a model of another size."""
        if weights.model_size != self.recipe.model:
            raise TttvError(f"{printable(weights.path)}: of another size than the recipe's model; see start there")
        state = weights.load().state_dict()
        self.model.load_state_dict({name: state[name] for name in self.model.state_dict()})

    def run(self, checkpoint: Path) -> Iterator[Progress]:
        """Joint training, then look-ahead training. Yields once per step; saves the state to `checkpoint` regularly."""
        saved = time.monotonic()
        while self.step < self.steps:
            if self.step == self.schedule.steps:
                self.model.load_state_dict(self.average.state_dict())
            losses = self._joint_step() if self.step < self.schedule.steps else self._look_ahead_step()
            self.step += 1
            at_end = self.step in (self.schedule.steps, self.steps)
            scores = self.validate() if at_end or self.step % self.schedule.validate_every_steps == 0 else None
            if at_end or time.monotonic() - saved > 60 * self.schedule.checkpoint_every_minutes:
                self.save(checkpoint)
                saved = time.monotonic()
            yield Progress(self.step, self.steps, losses, scores)

    def validate(self) -> dict[str, float]:
        """Scores of the averaged model on the held-out stills."""
        return self.objective.validate(self.average, self.split.all_held_out)

    def save(self, path: Path) -> None:
        """Writes the whole state to a temporary file and renames it, so that a crash never leaves half a checkpoint."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "look_ahead": self.look_ahead.state(),
            "generator": self.generator.get_state(),
            "random": torch.get_rng_state(),
            "step": self.step,
        }
        temporary = path.with_suffix(".part")
        torch.save(state, temporary)
        temporary.replace(path)

    def resume(self, path: Path) -> None:
        """Restores the state that `save` wrote."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.look_ahead.load_state(state["look_ahead"])
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["random"])
        self.step = state["step"]

    def export(self, path: Path) -> None:
        """Writes the averaged weights with everything needed to use them."""
        recipe = self.recipe
        model = copy.deepcopy(self.average)
        model.ordinary_features = self._ordinary_features()
        record = OwnWeights(
            path=path,
            name=recipe.name,
            tasks=self.objective.tasks,
            classes=self.objective.classes,
            license=recipe.license,
            model_size=recipe.model,
            reconstruction=replace(recipe.reconstruction, familiar_loss=self._familiar_loss()),
            adaptation=recipe.adaptation,
            ordinary=self.split.trained.statistics(),
            exposure=recipe.exposure,
        )
        save_weights(model, record)

    @torch.no_grad()
    def _familiar_loss(self) -> float | None:
        """Mean l_s on the held-out stills, one mask each; None if there are none or g was not trained."""
        stills = self.split.all_held_out
        if not stills or not self.schedule.reconstruction_weight:
            return None
        generator, settings = Generator().manual_seed(0), self.recipe.reconstruction
        images = [self.objective.shown(still.image)[None].to(self.device) for still in stills]
        losses = [float(reconstruction_loss(self.average, image, settings, generator)) for image in images]
        return round(statistics.fmean(losses), 4)

    @torch.no_grad()
    def _ordinary_features(self) -> FeatureStatistics:
        """The statistics of f's channels on whole training pictures, changed as in training but not cropped."""
        generator = Generator().manual_seed(0)
        chosen = self.split.trained.choose(PICTURES_MEASURED, generator)
        seen = (seen_by_camera(still.image, self.augmentation.camera, generator) for still in chosen)
        shown = (self.objective.shown(image)[None].to(self.device) for image in seen)
        return FeatureStatistics.of(map(self.average.channel_statistics, shown))

    def _joint_step(self) -> Losses:
        schedule = self.schedule
        self._set_learning_rate()
        self.model.train()
        batch, images = self.draw(schedule.batch)
        images = self.objective.preprocess(images)
        main: Tensor = self.objective(self.model, images, batch)
        main.backward()  # type: ignore[no-untyped-call]
        reconstruction = torch.zeros(())
        if schedule.reconstruction_weight > 0:
            shown = images[: schedule.reconstruction_batch]
            reconstruction = reconstruction_loss(self.model, shown, self.recipe.reconstruction, self.generator)
            (schedule.reconstruction_weight * reconstruction).backward()  # type: ignore[no-untyped-call]
        trained = [*self.model.parameters(), *self.objective.parameters()]
        nn.utils.clip_grad_norm_(trained, schedule.gradient_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        # Early on, the average would mostly hold the random start, so the decay grows with the number of steps.
        self._update_average(min(schedule.average_decay, (1 + self.step) / (10 + self.step)))
        return Losses(float(main.detach()), float(reconstruction.detach()))

    def _look_ahead_step(self) -> Losses:
        self.model.eval()
        batch, images = self.draw(self.recipe.look_ahead.batch)
        ahead = self.look_ahead.step(self.objective, images, batch, self.recipe.reconstruction, self.generator)
        self._update_average(0.0)
        return Losses(ahead.before, ahead.reconstruction, ahead.after)

    def draw(self, count: int) -> tuple[list[Still], Tensor]:
        """`count` augmented stills, and their images as a batch on the device: float32 in 0..255, (B, 3, H, W)."""
        batch = self.split.trained.draw(count, self.augmentation, self.generator)
        return batch, torch.stack([still.image for still in batch]).to(self.device)

    @torch.no_grad()
    def _update_average(self, decay: float) -> None:
        torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)

    def _set_learning_rate(self) -> None:
        schedule, step = self.schedule, self.step
        if step < schedule.warmup_steps:
            share = (step + 1) / schedule.warmup_steps
        else:
            done = (step - schedule.warmup_steps) / max(1, schedule.steps - schedule.warmup_steps)
            share = schedule.final_share + (1 - schedule.final_share) * (1 + math.cos(math.pi * done)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * share


def _groups(model: TwoHeadedModel, objective: TrainingObjective, schedule: Schedule) -> list[dict[str, object]]:
    """Parameter groups: separate learning rates for encoder and heads; no weight decay on vectors and embeddings."""
    embeddings = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    encoder = {id(p) for p in model.encoder.parameters()}
    groups = []
    for in_encoder in (True, False):
        for decayed in (True, False):
            parameters = [
                p
                for p in (*model.parameters(), *objective.parameters())
                if (id(p) in encoder) == in_encoder and (p.dim() > 1 and id(p) not in embeddings) == decayed
            ]
            peak = schedule.encoder_learning_rate if in_encoder else schedule.learning_rate
            decay = schedule.weight_decay if decayed else 0.0
            groups.append({"params": parameters, "peak": peak, "lr": peak, "weight_decay": decay})
    return groups
