"""The settings of test-time training, validated once. Importing this does not import torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from ttt_cli.core.errors import UsageError
from ttt_cli.core.ranges import require_count, require_not_negative, require_within

AtCuts = Literal["reset", "ignore"]
Moves = Literal["all", "norm", "bias"]
Precision = Literal["fp32", "bf16", "fp16"]

BUDGET = 1.1
"""That `tttv segment` and `tttv colorize` keep to unless they are told otherwise."""


@dataclass(frozen=True)
class AdaptationSettings:
    """How a method adapts."""

    method: str = "online"
    """A name in METHODS, with or without a predictor's."""
    window: int = 16
    """k, how many frames the explicit memory holds (paper: 16, at 10 frames a second); 0 keeps every frame."""
    auto_window: bool = False
    """Start with `window`, then estimate the size from the video (auto_window.py)."""
    steps: int = 1
    """Gradient steps a frame (paper: 1)."""
    every: int = 1
    """Adapt on every so manyth frame, and on the first ones of a scene (paper: 1); the others are predicted alone."""
    budget: float = 0.0
    """Adapt as often as keeps the whole run within this multiple of its predictions; 0 leaves it to `every`."""
    batch: int = 1
    """Images a step, drawn with replacement from the window."""
    crop: float = 1.0
    """Share of a frame's sides that a step sees, at a random place (1 is the whole frame; release: 0.5)."""
    depth: int = 0
    """Only so many blocks of f move, the last ones of a forward pass, so that a step costs less; 0 is all of f."""
    moves: Moves = "all"
    """What moves of f: "all", or only scale and offset of normalization layers ("norm"), or only biases ("bias")."""
    learning_rate: float = 1e-4
    """Of f, or of the part of f that the method trains (release: 1e-5)."""
    reconstruction_rate_factor: float = 1.0
    """g's learning rate is this times f's (release: 10). 0 freezes g, for weights whose g was trained to look ahead."""
    weight_decay: float = 0.0
    """Of AdamW."""
    forgetting: float = 0.0
    """After each step the weights move this share of the way back to f_0, g_0 (0 in the paper).

    Training on frames long past then fades, and the weights stay within learning_rate / forgetting of their start.
    """
    cuts: AtCuts = "ignore"
    """Whether a hard cut between scenes empties the window ("reset")."""
    gradient_norm: float = 1.0
    """Longer gradients are scaled down to this norm."""
    seed: int = 0
    """Of the masks, crops and draws from the window."""
    low_memory: bool = False
    """Steps compute f's activations again in the backward pass instead of holding them: the same numbers, more time."""
    precision: Precision = "fp32"
    """Of forward passes."""
    constants: dict[str, Any] = field(default_factory=dict)
    """The method's own settings by name, such as momentum of ln-adapt; docs/methods.md lists them."""

    def __post_init__(self) -> None:
        if self.window < 0:
            raise UsageError(f"window must be at least 1, or inf for every frame, not {self.window}")
        require_count(self, "steps", "batch", "every")
        require_within(self, 1, 10_000, "steps", "batch")
        if self.budget and not 1 <= self.budget < math.inf:
            raise UsageError(f"budget must be at least 1, the time of a run without steps, or none, not {self.budget}")
        if self.budget and self.every > 1:
            raise UsageError("every and budget both say how often to adapt: leave out one of them")
        if not 0 < self.crop <= 1:
            raise UsageError(f"crop must be above 0 and at most 1, not {self.crop}")
        if not 0 <= self.forgetting < 1:
            raise UsageError(f"forgetting must be at least 0 and below 1, not {self.forgetting}")
        require_not_negative(self, "reconstruction_rate_factor", "depth")
        if not 0 < self.learning_rate <= 1:
            raise UsageError(f"the learning rate must be above 0 and at most 1, not {self.learning_rate}")
        if not self.learning_rate * self.reconstruction_rate_factor <= 1:
            raise UsageError("reconstruction_rate_factor times the learning rate must be at most 1")
        if not 0 <= self.learning_rate * self.weight_decay < 1:
            raise UsageError("weight_decay must not be negative, and times the learning rate it must be below 1")
        if not 0 < self.gradient_norm < math.inf:
            raise UsageError(f"gradient_norm must be above 0 and finite, not {self.gradient_norm}")
