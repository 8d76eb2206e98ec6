"""A training recipe: everything that determines the trained weights, read from one TOML file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ttt_cli.core.errors import UsageError, printable
from ttt_cli.core.pictures import Exposure
from ttt_cli.core.ranges import require_count, require_not_negative, require_share
from ttt_cli.model.own import MAIN_ONLY
from ttt_cli.model.settings import ModelSize, ReconstructionSettings
from ttt_cli.training.augmentation import Augmentation
from ttt_cli.training.losses import MainLossSettings
from ttt_cli.training.sources import StillsSource


@dataclass(frozen=True)
class Schedule:
    """Length and optimizer of joint training."""

    steps: int = 4000
    """Steps of joint training."""
    batch: int = 4
    """Images that pass through the model at once, in each process."""
    accumulate: int = 1
    """How many times so many make a step. Above 1 each passes twice, since l_m is of all images of a step together."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the activations in training; parameters, losses and validation are in fp32."""
    checkpoint_encoder: bool = False
    """Whether the backward pass computes the activations within f's blocks again, to hold fewer of them in memory."""
    learning_rate: float = 6e-4
    """Peak learning rate of both heads."""
    encoder_learning_rate: float = 2e-4
    """Peak learning rate of f."""
    warmup_steps: int = 200
    """Steps over which both learning rates rise linearly."""
    decay: Literal["cosine", "poly"] = "cosine"
    """Both learning rates then fall along a half cosine, or in proportion to (1 - share of the steps done) ** 0.9."""
    final_share: float = 0.05
    """At the end they are this share of their peak."""
    weight_decay: float = 0.05
    """AdamW's weight decay; none on vectors (norms, biases) and embeddings."""
    gradient_norm: float = 10.0
    """Gradients are clipped to this norm."""
    reconstruction_weight: float = 5.0
    """Factor of l_s relative to l_m; 0 trains only the main task."""
    reconstruction_batch: int = 4
    """How many images of each `batch` l_s is computed on."""
    average_decay: float = 0.998
    """The exported weights are an exponential average of the trained weights, with this decay per step."""
    seed: int = 0
    """Seed of all random numbers."""
    validate_every_steps: int = 500
    """Steps between validations."""
    checkpoint_every_minutes: float = 5.0
    """Minutes between checkpoints."""

    def __post_init__(self) -> None:
        require_count(self, "batch", "accumulate", "reconstruction_batch", "validate_every_steps")
        require_share(self, "final_share", "average_decay")
        require_not_negative(self, "steps", "warmup_steps", "learning_rate", "encoder_learning_rate", "weight_decay")
        require_not_negative(self, "gradient_norm", "reconstruction_weight", "checkpoint_every_minutes")


@dataclass(frozen=True)
class LookAheadSettings:
    """Look-ahead training of g (training/look_ahead.py)."""

    steps: int = 0
    """Steps after those of joint training; 0 for no look-ahead training."""
    batch: int = 2
    """Images per step, in each process."""
    learning_rate: float = 3e-4
    """Learning rate of g; it falls along a half cosine to 0."""
    inner_rate: float = 1e-3
    """Length of the trial step: the root mean square of the change of f's parameters."""
    weight: float = 1.0
    """Factor of the look-ahead gradient; the factor of l_s is the schedule's reconstruction_weight."""
    shift: Literal["sensor", "film"] = "sensor"
    """How images are changed: a name in SHIFTS."""
    shifted: float = 0.5
    """Share of the images that are changed."""
    stops: float = 4.0
    """The "sensor" shift takes 0 to this many stops of light away."""

    def __post_init__(self) -> None:
        require_count(self, "batch")
        require_share(self, "shifted")
        require_not_negative(self, "steps", "learning_rate", "inner_rate", "weight", "stops")


@dataclass(frozen=True)
class Recipe:
    """A whole recipe. recipes/street-plain.toml is an example and gives the reasons for its values."""

    name: str
    """Name of the trained weights."""
    sources: tuple[StillsSource, ...]
    """Folders of training images."""
    license: str
    """The terms of the weights and of their training data."""
    objective: str = "segmentation"
    """What the main head is taught: a name in OBJECTIVES."""
    imagenet: bool = True
    """Whether the encoder starts from ImageNet weights."""
    start: str = ""
    """Weights to start from: ours, of the same size, or a model of transformers, named as for --weights; empty: no."""
    new_classifier: bool = False
    """Whether a published model gets a classifier for other classes; one for as many starts from the old one's."""
    exposure: Exposure = "off"
    """Whether exposure and white balance are taken out of pictures and video (core/exposure.py)."""
    model: ModelSize = field(default_factory=ModelSize)
    """Sizes of the encoder and the heads."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """Random changes to the training images."""
    main_loss: MainLossSettings = field(default_factory=MainLossSettings)
    """Weights of the parts of l_m; for segmentation only."""
    reconstruction: ReconstructionSettings = field(default_factory=ReconstructionSettings)
    """Masking and target of l_s."""
    schedule: Schedule = field(default_factory=Schedule)
    """Length and optimizer of joint training."""
    look_ahead: LookAheadSettings = field(default_factory=LookAheadSettings)
    """Look-ahead training of g."""
    adaptation: dict[str, Any] = field(default_factory=dict)
    """Settings of test-time training that suit the weights, by their names in AdaptationSettings."""

    def __post_init__(self) -> None:
        if Path(self.name).name != self.name or self.name in ("", "..") or "\0" in self.name:
            raise UsageError(f"name {printable(self.name)!r}: must be the name of a file, without a folder")


def main_only(recipe: Recipe) -> Recipe:
    """The same recipe and budget with only l_m: the weights of the paper's row Main Task Only."""
    return replace(
        recipe,
        name=f"{recipe.name}-{MAIN_ONLY}",
        schedule=replace(recipe.schedule, reconstruction_weight=0.0),
        look_ahead=replace(recipe.look_ahead, steps=0),
    )
