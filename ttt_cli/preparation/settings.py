"""The settings of preparation, chosen on `street-plain-main-only` (docs/trials.md)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PreparationSettings:
    """How f and g are trained on pictures without labels."""

    steps: int = 200
    """How many steps are taken."""
    batch: int = 2
    """Pictures a step; of each, f sees it as it is, changed, and mostly hidden."""
    crop_height: int = 256
    """Height, in pixels, of what is seen of a picture; families that take one size see it whole."""
    crop_width: int = 320
    """Width of that."""
    encoder_learning_rate: float = 2e-4
    """Peak learning rate of f."""
    learning_rate: float = 1e-3
    """Peak learning rate of g."""
    warmup_steps: int = 30
    """Steps over which the rates rise; then they fall along a cosine."""
    reconstruction_weight: float = 0.3
    """Weight of l_s relative to the distance of f's maps from the published f's."""
    head_width: int = 64
    """Channels inside g."""
    visible_only: bool = False
    """Whether f encodes only what is shown of a masked picture, see SplitModel.encode_visible_only."""
    gradient_norm: float = 1.0
    """Largest norm of the gradient."""
