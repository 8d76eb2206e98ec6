"""Trains f and a new g on pictures without labels: distillation of the published f, and masked reconstruction.

The published f on a picture as it is teaches f on the same picture, as it is and as another camera would have shown it.
So f keeps what h reads, and bears more. At the same time g learns to reconstruct, and f to bear being shown little.
"""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from ttt_cli.adaptation.reconstruction import reconstruction_loss
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.replacing import replacing
from ttt_cli.model.added_head import add_head
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.split import SplitModel
from ttt_cli.preparation.settings import PreparationSettings
from ttt_cli.training.camera import Camera, seen_by_camera

CHANGED = Camera(share=1.0)
"""How the pictures are changed."""
PICTURES_FOR_SPREAD = 8
SMALLEST_SPREAD = 1e-3
Show = Callable[[Tensor], Tensor]
"""What the model sees of a picture, uint8 RGB (3, H, W)."""


class PreparationLosses(NamedTuple):
    """The losses of one step."""

    whole: float
    """Distance of f's maps from the published f's on pictures as they are, in squared spreads of these maps."""
    changed: float
    """The same on changed pictures."""
    reconstruction: float
    """l_s."""


class PreparationTraining:
    """Trains a model that has just been loaded; when it is done, the model has g, and its f is the prepared one."""

    def __init__(
        self,
        model: SplitModel,
        pictures: Sequence[Tensor],
        show: Show,
        reconstruction: ReconstructionSettings,
        settings: PreparationSettings,
    ) -> None:
        self.model, self.pictures, self.show = model, pictures, show
        self.reconstruction, self.settings = reconstruction, settings
        self.device = next(model.parameters()).device
        self.generator = Generator().manual_seed(0)
        self.published = copy.deepcopy(model).requires_grad_(False)
        maps = [self._published_maps(self.shown(picture)) for picture in pictures[:PICTURES_FOR_SPREAD]]
        self.spreads = [_spread_of(of_size) for of_size in zip(*maps, strict=True)]
        torch.manual_seed(0)
        self.shape = add_head(model, self.shown(pictures[0]), settings.head_width)
        assert model.reconstruction_head is not None, "this adds it"
        head = list(model.reconstruction_head.parameters())
        of_mask = [] if model.mask_input is None else list(model.mask_input.parameters())
        encoder = [*model.encoder.parameters(), *of_mask]
        self.trained = [*encoder, *head]
        model.requires_grad_(False)
        for parameter in self.trained:
            parameter.requires_grad_(True)
        self.optimizer = torch.optim.AdamW(
            [
                {"params": encoder, "peak": settings.encoder_learning_rate},
                {"params": head, "peak": settings.learning_rate},
            ],
            lr=0.0,
            weight_decay=0.0,
        )
        self.step = 0

    def run(self, on_step: Callable[[PreparationLosses], None]) -> None:
        """Takes the steps that are left."""
        while self.step < self.settings.steps:
            losses = [self._learn_from(self._draw()) for _ in range(self.settings.batch)]
            self._update()
            on_step(PreparationLosses._make(map(statistics.fmean, zip(*losses, strict=True))))

    def save(self, path: Path) -> None:
        """Writes everything that `resume` needs, through a temporary file."""
        state = {
            "trained": [parameter.detach() for parameter in self.trained],
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "step": self.step,
            "subject": self._subject(),
        }
        with replacing(path) as temporary:
            torch.save(state, temporary)

    def resume(self, path: Path) -> None:
        """Goes on from what `save` wrote. Raises TttvError if that is of another model."""
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            if not torch.equal(state["subject"], self._subject()):
                raise ValueError("made of other pictures or another model")
            with torch.no_grad():
                for parameter, value in zip(self.trained, state["trained"], strict=True):
                    parameter.copy_(value)
            self.optimizer.load_state_dict(state["optimizer"])
            self.generator.set_state(state["generator"])
            self.step = state["step"]
        except Exception as error:  # Files of others raise almost any exception.
            raise TttvError(f"{printable(path)}: of another preparation, or damaged; remove it") from error

    def _subject(self) -> Tensor:
        """Numbers by which other models and other pictures are told from these."""
        counts = [len(self.pictures), sum(picture.numel() for picture in self.pictures), self.settings.visible_only]
        sizes = torch.tensor(list(map(float, counts)))
        return torch.cat([sizes, *(spread.flatten().cpu() for spread in self.spreads)])

    def shown(self, picture: Tensor) -> Tensor:
        """What the model sees of a picture, as a batch of one on its device."""
        return self.show(picture)[None].to(self.device)

    def _learn_from(self, views: tuple[Tensor, Tensor]) -> PreparationLosses:
        """Adds the gradients of one picture. views: as it is, and changed."""
        share = 1 / self.settings.batch
        wanted = self._published_maps(views[0])
        distances = []
        for view in views:
            loss = self._distance(self.model.maps(self.model.encode(view)), wanted)
            (share * loss).backward()  # type: ignore[no-untyped-call]
            distances.append(float(loss.detach()))
        error = reconstruction_loss(self.model, views[0], self.reconstruction, self.generator)
        (share * self.settings.reconstruction_weight * error).backward()  # type: ignore[no-untyped-call]
        return PreparationLosses(distances[0], distances[1], float(error.detach()))

    def _update(self) -> None:
        settings = self.settings
        rising = (self.step + 1) / settings.warmup_steps
        falling = 0.05 + 0.95 * (1 + math.cos(math.pi * self.step / settings.steps)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * min(rising, falling)
        nn.utils.clip_grad_norm_(self.trained, settings.gradient_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1

    def _draw(self) -> tuple[Tensor, Tensor]:
        """A picture as it is, (1, 3, h, w), and as another camera would have shown it: the same random part of both."""
        picture = self.pictures[int(torch.randint(len(self.pictures), (), generator=self.generator))]
        views = torch.cat([self.shown(picture), self.shown(seen_by_camera(picture, CHANGED, self.generator))])
        if not self.model.takes_one_size:
            for dimension, wanted in ((-2, self.settings.crop_height), (-1, self.settings.crop_width)):
                side = views.shape[dimension]
                start = int(torch.randint(max(1, side - wanted + 1), (), generator=self.generator))
                views = views.narrow(dimension, start, min(wanted, side))
        if float(torch.rand((), generator=self.generator)) < 0.5:
            views = views.flip(-1)
        return views[:1], views[1:]

    @torch.no_grad()
    def _published_maps(self, image: Tensor) -> Sequence[Tensor]:
        return self.published.maps(self.published.encode(image))

    def _distance(self, maps: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
        triples = zip(maps, wanted, self.spreads, strict=True)
        return torch.stack([((now - then) / spread).square().mean() for now, then, spread in triples]).mean()


def _spread_of(maps: Sequence[Tensor]) -> Tensor:
    """The deviation of each channel over pictures and positions: (1, C, 1, 1). maps: (B, C, h, w) each."""
    values = torch.cat([of_picture.transpose(0, 1).flatten(1) for of_picture in maps], dim=1)
    return values.std(dim=1).clamp(min=SMALLEST_SPREAD).view(1, -1, 1, 1)
