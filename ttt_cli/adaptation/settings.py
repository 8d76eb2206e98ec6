"""The settings of test-time training, validated once. Torch is not needed to read them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from ttt_cli.core.errors import UsageError

AtCuts = Literal["reset", "ignore"]
Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class AdaptationSettings:
    """How a method adapts.

    method: a name in METHODS.
    window: k, how many frames the explicit memory holds (paper: 16, at 10 frames a second); 0 keeps every frame.
    auto_window: `window` is the start, and the video says how it goes on (auto_window.py).
    steps: gradient steps a frame (paper: 1).
    batch: images a step, drawn with replacement from the window.
    crop: share of a frame's sides that a step sees, at a random place (1 is all of it; release: 0.5).
    learning_rate: of f, or of whatever else of it the method moves (release: 1e-5).
    reconstruction_rate_factor: g's learning rate is this times f's (release: 10). With 0, g stays where it is: so do
        weights want it whose g was trained to look ahead.
    forgetting: after each step the weights go this share of the way back to f_0, g_0, so that training on frames
        long past fades (0 in the paper). The weights then stay within learning_rate / forgetting of where they began.
    cuts: at a hard cut between scenes the window is emptied, or it is not.
    gradient_norm: the gradient is scaled down to this norm where it is longer.
    constants: the method's own settings by name, such as momentum of ln-adapt; the README lists them.
    """

    method: str = "online"
    window: int = 16
    auto_window: bool = False
    steps: int = 1
    batch: int = 1
    crop: float = 1.0
    learning_rate: float = 1e-4
    reconstruction_rate_factor: float = 1.0
    weight_decay: float = 0.0
    forgetting: float = 0.0
    cuts: AtCuts = "ignore"
    gradient_norm: float = 1.0
    seed: int = 0
    precision: Precision = "fp32"
    constants: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.window < 0:
            raise UsageError(f"window must be at least 1, or inf for every frame, not {self.window}")
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 < self.crop <= 1:
            raise UsageError(f"crop must be above 0 and at most 1, not {self.crop}")
        if not 0 <= self.forgetting < 1:
            raise UsageError(f"forgetting must be at least 0 and below 1, not {self.forgetting}")
        if not 0 <= self.reconstruction_rate_factor < math.inf:
            raise UsageError(f"reconstruction_rate_factor must not be negative: {self.reconstruction_rate_factor}")
        if not 0 < self.learning_rate < math.inf:
            raise UsageError(f"the learning rate must be above 0, not {self.learning_rate}")
