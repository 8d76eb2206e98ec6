"""Joint training on labeled stills: min over f, g, h of l_m + l_s (paper, section 4.1), then look-ahead for g."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Generator, Tensor, nn
from torch.random import fork_rng
from torch.utils.checkpoint import checkpoint

from ttt_cli.adaptation.device import Compute
from ttt_cli.adaptation.reconstruction import reconstruction_loss
from ttt_cli.core.errors import TttvError, UsageError, printable
from ttt_cli.core.replacing import replacing
from ttt_cli.model.feature_statistics import FeatureStatistics
from ttt_cli.model.opening import open_alone
from ttt_cli.model.own import OwnWeights
from ttt_cli.model.published.weights import PublishedWeights
from ttt_cli.model.recompute import recomputable, recompute
from ttt_cli.training.augmentation import augment, draw_view
from ttt_cli.training.camera import seen_by_camera
from ttt_cli.training.look_ahead import LookAhead
from ttt_cli.training.optimizer import new_optimizer, set_learning_rate
from ttt_cli.training.own import OwnSubject
from ttt_cli.training.parts import Part, draw_visible_of_batch, reconstruction_of_part, terms_of_batch
from ttt_cli.training.processes import ALONE, Processes
from ttt_cli.training.published import PublishedSubject
from ttt_cli.training.recipe import Recipe
from ttt_cli.training.stills import Split, Still
from ttt_cli.training.subject import Measured, Subject

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

    def __init__(self, recipe: Recipe, split: Split, device: torch.device, processes: Processes = ALONE) -> None:
        self.schedule = recipe.schedule
        torch.manual_seed(self.schedule.seed)
        self.generator = Generator().manual_seed(self.schedule.seed)
        self.recipe, self.split, self.device, self.processes = recipe, split, device, processes
        self.subject = subject_of(recipe, split)
        self.model = self.subject.model.to(device)
        self.average = copy.deepcopy(self.model).requires_grad_(False).eval()
        if self.schedule.checkpoint_encoder:
            recompute(recomputable(self.model))
        self.objective = self.subject.objective.to(device)
        self.augmentation = replace(recipe.augmentation, ordinary=self.objective.ordinary)
        self.optimizer = new_optimizer(self.model, self.objective, self.schedule)
        self.look_ahead = LookAhead(self.model, recipe.look_ahead, self.schedule.reconstruction_weight, processes)
        self.steps = self.schedule.steps + recipe.look_ahead.steps
        self.step = 0

    def run(self, checkpoint: Path) -> Iterator[Progress]:
        """Joint training, then look-ahead training. Yields once per step; saves the state to `checkpoint` regularly.

        Only the first process validates and saves.
        """
        saved = time.monotonic()
        while self.step < self.steps:
            if self.step == self.schedule.steps:
                self.model.load_state_dict(self.average.state_dict())
            losses = self._joint_step() if self.step < self.schedule.steps else self._look_ahead_step()
            self.step += 1
            at_end, is_first = self.step in (self.schedule.steps, self.steps), self.processes.is_first
            is_due = at_end or self.step % self.schedule.validate_every_steps == 0
            scores = self.validate() if is_first and is_due else None
            if is_first and (at_end or time.monotonic() - saved > 60 * self.schedule.checkpoint_every_minutes):
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
        with replacing(path) as temporary:
            torch.save(state, temporary)

    def resume(self, path: Path) -> None:
        """Restores the state that `save` wrote. Raises TttvError if it is of another model, or damaged."""
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.objective.load_state_dict(state["objective"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.look_ahead.load_state(state["look_ahead"])
            self.generator.set_state(state["generator"])
            torch.set_rng_state(state["random"])
            self.step = state["step"]
        except Exception as error:  # Files of others raise almost any exception.
            raise TttvError(
                f"{printable(path)}: is of another recipe, or damaged; take the recipe that began"
            ) from error

    def export(self, path: Path) -> None:
        """Writes the averaged weights with everything needed to use them."""
        trained = self.split.trained
        measured = Measured(self._ordinary_features(), self._familiar_loss(), trained.statistics(), len(trained.stills))
        self.subject.save(self.average, path, measured)

    @torch.no_grad()
    def _familiar_loss(self) -> float | None:
        """Mean l_s on the held-out stills, one mask each; None if there are none or g was not trained."""
        stills = self.split.all_held_out
        if not stills or not self.schedule.reconstruction_weight:
            return None
        generator, settings = Generator().manual_seed(0), self.recipe.reconstruction
        images = (self.objective.shown(still.image)[None].to(self.device) for still in stills)
        losses = [float(reconstruction_loss(self.average, image, settings, generator)) for image in images]
        return round(statistics.fmean(losses), 4)

    @torch.no_grad()
    def _ordinary_features(self) -> FeatureStatistics:
        """The statistics of f's channels on whole training pictures, changed as in training but not cropped."""
        generator = Generator().manual_seed(0)
        chosen = self.split.trained.choose(PICTURES_MEASURED, generator)
        images = (self.split.trained.stills[index].image for index in chosen)
        seen = (seen_by_camera(image, self.augmentation.camera, generator) for image in images)
        shown = (self.objective.shown(image)[None].to(self.device) for image in seen)
        return FeatureStatistics.of(map(self.average.channel_statistics, shown))

    def _joint_step(self) -> Losses:
        schedule = self.schedule
        set_learning_rate(self.optimizer, schedule, self.step)
        self.model.train()
        stills, images = self.draw(schedule.batch * schedule.accumulate)
        parts = self._parts(stills, schedule.accumulate)
        shown = [self.objective.preprocess(images[index :: len(parts)]) for index in range(len(parts))]
        main = self._main_loss(parts, shown)
        main.backward()  # type: ignore[no-untyped-call]
        reconstruction = self._reconstruct(parts, shown) if schedule.reconstruction_weight > 0 else torch.zeros(())
        trained = [*self.model.parameters(), *self.objective.parameters()]
        self.processes.sum_each([parameter.grad for parameter in trained if parameter.grad is not None])
        nn.utils.clip_grad_norm_(trained, schedule.gradient_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        # Early on, the average would mostly hold the random start, so the decay grows with the number of steps.
        self._update_average(min(schedule.average_decay, (1 + self.step) / (10 + self.step)))
        return Losses(float(main.detach()), float(reconstruction))

    def _parts(self, stills: list[Still], count: int) -> list[Part]:
        """This process's share of a batch in `count` parts."""
        counts: list[int] = []
        if count * self.processes.count > 1:
            counts = self.processes.gathered([self.objective.mask_count(still) for still in stills], self.device)
        return [Part(stills[index::count], self.processes.share(index, count), counts) for index in range(count)]

    def _main_loss(self, parts: list[Part], images: list[Tensor]) -> Tensor:
        """l_m of the whole batch, whose gradient is that of this process's share.

        It is no sum over parts, so that it is there only when all of them are computed. Several are computed again,
        one after the other, in the backward pass, to hold the activations of one at a time.
        """
        if len(parts) == 1:
            return self.objective.loss(
                terms_of_batch([self.objective(self.model, images[0], parts[0])], self.processes)
            )
        terms, devices = [], [torch.cuda.current_device()] if self.device.type == "cuda" else []
        for image, part in zip(images, parts, strict=True):
            # Each part uses its share of the same random numbers, those of the whole batch.
            with fork_rng(devices, enabled=part is not parts[-1]):
                terms.append(checkpoint(self.objective, self.model, image, part, use_reentrant=False))
        return self.objective.loss(terms_of_batch(terms, self.processes))

    def _reconstruct(self, parts: list[Part], images: list[Tensor]) -> Tensor:
        """Adds the gradient of l_s, and returns l_s of the whole batch."""
        images = [image[: self.schedule.reconstruction_batch] for image in images]
        visible = draw_visible_of_batch(images[0], parts[0].share, self.recipe.reconstruction, self.generator)
        total = torch.zeros((), device=self.device)
        for image, part in zip(images, parts, strict=True):
            with Compute(self.device, self.schedule.precision).autocast():
                loss = reconstruction_of_part(self.model, image, visible, part.share, self.recipe.reconstruction)
            (self.schedule.reconstruction_weight * loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return self.processes.sum(total)

    def _look_ahead_step(self) -> Losses:
        self.model.eval()
        stills, images = self.draw(self.recipe.look_ahead.batch)
        (part,) = self._parts(stills, 1)
        ahead = self.look_ahead.step(self.objective, images, part, self.recipe.reconstruction, self.generator)
        self._update_average(0.0)
        return Losses(ahead.before, ahead.reconstruction, ahead.after)

    def draw(self, count: int) -> tuple[list[Still], Tensor]:
        """This process's share of a batch: `count` augmented stills, and their images on the device.

        The images are float32 in 0..255, (B, 3, H, W).
        """
        pool, processes = self.split.trained, self.processes
        chosen = pool.choose(count * processes.count, self.generator)
        views = [draw_view(self.augmentation, self.generator) for _ in chosen]
        own = processes.share().of(list(zip(chosen, views, strict=True)))
        batch = [augment(pool.stills[index], self.augmentation, view) for index, view in own]
        return batch, torch.stack([still.image for still in batch]).to(self.device)

    @torch.no_grad()
    def _update_average(self, decay: float) -> None:
        torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)


def subject_of(recipe: Recipe, split: Split) -> Subject:
    """What a recipe trains. Raises UsageError or TttvError if it cannot be trained, or not on these stills."""
    if not recipe.start:
        return OwnSubject(recipe, split, None)
    start = None if recipe.start.startswith(("detectron2:", "torchvision:")) else open_alone(recipe.start)
    if isinstance(start, OwnWeights):
        return OwnSubject(recipe, split, start)
    if isinstance(start, PublishedWeights):
        return PublishedSubject(recipe, split, start)
    raise UsageError(
        f"start {printable(recipe.start)}: cannot be trained; name weights of ours, or a model of transformers"
    )
