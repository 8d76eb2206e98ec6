"""A training recipe: everything that decides what weights come out, read from one TOML file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ttt_cli.model.settings import ModelSize, ReconstructionSettings
from ttt_cli.model.weights import MAIN_ONLY
from ttt_cli.training.losses import MainLossSettings
from ttt_cli.training.stills import Augmentation, StillsSource


@dataclass(frozen=True)
class Schedule:
    """Joint training: the optimizer, and how long.

    learning_rate: of both heads; encoder_learning_rate: of f. Both warm up linearly over `warmup_steps`, then fall
        along a half cosine to `final_share` of themselves.
    reconstruction_weight: factor of l_s beside l_m; 0 trains the main task alone.
    reconstruction_batch: how many images of the batch l_s is taken of.
    average_decay: the weights that come out are an exponential average of the trained ones, with this decay a step.
    """

    steps: int = 4000
    batch: int = 4
    learning_rate: float = 6e-4
    encoder_learning_rate: float = 2e-4
    warmup_steps: int = 200
    final_share: float = 0.05
    weight_decay: float = 0.05
    gradient_norm: float = 10.0
    reconstruction_weight: float = 5.0
    reconstruction_batch: int = 4
    average_decay: float = 0.998
    seed: int = 0
    validate_every_steps: int = 500
    checkpoint_every_minutes: float = 5.0


@dataclass(frozen=True)
class LookAheadSettings:
    """How long and how far g is trained to look ahead.

    steps: after those of joint training; 0 leaves it out.
    batch: images a step.
    learning_rate: of g; it falls along a half cosine to nothing.
    inner_rate: the length of the step tried: the root mean square of what it changes each parameter of f by.
    weight: factor of the look-ahead gradient; that of l_s is the schedule's reconstruction_weight.
    shift: how images are changed, a name in SHIFTS. shifted: share of the images that are.
    stops: with "sensor" they lose 0 to this many stops of light.
    """

    steps: int = 0
    batch: int = 2
    learning_rate: float = 3e-4
    inner_rate: float = 1e-3
    weight: float = 1.0
    shift: Literal["sensor", "film"] = "sensor"
    shifted: float = 0.5
    stops: float = 4.0


@dataclass(frozen=True)
class Recipe:
    """The whole recipe; see recipes/street.toml for one with reasons beside the values.

    objective: what the main head is taught, a name in OBJECTIVES. imagenet: start the encoder from ImageNet.
    license: what the weights' users must know of the data's terms.
    adaptation: settings of test-time training that suit the weights (names of AdaptationSettings).
    """

    name: str
    sources: tuple[StillsSource, ...]
    license: str
    objective: str = "segmentation"
    imagenet: bool = True
    model: ModelSize = field(default_factory=ModelSize)
    augmentation: Augmentation = field(default_factory=Augmentation)
    main_loss: MainLossSettings = field(default_factory=MainLossSettings)
    reconstruction: ReconstructionSettings = field(default_factory=ReconstructionSettings)
    schedule: Schedule = field(default_factory=Schedule)
    look_ahead: LookAheadSettings = field(default_factory=LookAheadSettings)
    adaptation: dict[str, Any] = field(default_factory=dict)


def main_only(recipe: Recipe) -> Recipe:
    """The same recipe and budget on l_m alone: the weights of the paper's row Main Task Only."""
    return replace(
        recipe,
        name=f"{recipe.name}-{MAIN_ONLY}",
        schedule=replace(recipe.schedule, reconstruction_weight=0.0),
        look_ahead=replace(recipe.look_ahead, steps=0),
    )
