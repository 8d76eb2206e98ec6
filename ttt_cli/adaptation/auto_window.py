"""How many frames to train on, estimated while the video runs: the paper's Theorem 1 turned into a tool.

The theorem bounds the excess loss of a window of k frames by (k^2 b^2 e^2 + s^2 / k) / 2a: frames further back differ
more (bias), and more frames average out noise (variance). The best k is (s^2 / (b^2 e^2))^(1/3), up to a constant that
the bound leaves open.

b e, the smoothness of the loss in the input times the change between adjacent frames, bounds how much the gradient
changes from one frame to the next. So b^2 e^2 is estimated by the squared length of that change, in the units of the
gradient of l_s with respect to f, squared. In the paper, s^2 is the variance of the main task's gradient minus that of
l_s. Without labels the main task's gradient is unknown, so the variance of l_s's gradient over masks replaces s^2. This
is right as far as assumption 3 of the theorem holds (the two gradients differ only by noise) and random masks are that
noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from ttt_cli.adaptation.device import Compute
from ttt_cli.core.frame import WindowEstimate
from ttt_cli.core.resumable import Resumable

if TYPE_CHECKING:
    from ttt_cli.adaptation.online import Adapter

SMALLEST, LARGEST = 1, 128

# An estimate costs four gradients of one image, a frame about 1.35 (a step and a prediction): 3 % in the long run.
FIRST_FRAME, EVERY_FRAMES = 16, 100

GradientOf = Callable[[int, int], Sequence[Tensor]]
"""(frames back, mask seed) -> the gradient of l_s with respect to f. Frames back: 0 = this frame, 1 = the previous."""


class AutoWindow(Resumable):
    """Averages the estimates over the video so far."""

    varying = ("frames", "drift", "variance", "count")

    def __init__(self) -> None:
        self.frames = 0
        self.drift = 0.0
        self.variance = 0.0
        self.count = 0

    def update(self, adapter: Adapter) -> WindowEstimate | None:
        """Counts the frame just pushed into the window. If an estimate is due, the window is resized to it.

        Returns None if no estimate is due, or if a cut left too few frames for it.
        """
        self.frames += 1
        if not self.is_due(self.frames) or len(adapter.window.images) < 2:
            return None
        estimate = self.estimate(gradients_of(adapter))
        adapter.window.size = estimate.window
        return estimate

    def is_due(self, frames_seen: int) -> bool:
        """Whether to estimate on this frame. frames_seen: counted from 1, this frame included."""
        return frames_seen >= FIRST_FRAME and (frames_seen - FIRST_FRAME) % EVERY_FRAMES == 0

    def estimate(self, gradient_of: GradientOf) -> WindowEstimate:
        """Estimates from four gradients: two frames, each under the same two masks.

        Both estimates are unbiased: in the product of two changes under independent masks the masks' noise averages
        out, and half the squared difference of two gradients of the same frame is their variance.
        """
        now, before = ([_flat(gradient_of(frame, mask)) for mask in (0, 1)] for frame in (0, 1))
        changes = [left - right for left, right in zip(now, before, strict=True)]
        self.count += 1
        squares = [(pair[0] - pair[1]).square().sum() for pair in (now, before)]
        product, *squared = Compute.read(changes[0] @ changes[1], *squares)
        self.drift += (product - self.drift) / self.count
        variance = sum(square / 2 for square in squared) / 2
        self.variance += (variance - self.variance) / self.count
        return WindowEstimate(self.drift, self.variance, best_window(self.variance, self.drift))


def gradients_of(adapter: Adapter) -> GradientOf:
    """The gradients of the method's loss at the adapter's current weights."""
    moving = [parameter for parameter in adapter.model.encoder.parameters() if parameter.requires_grad]

    def gradient_of(frames_back: int, mask: int) -> list[Tensor]:
        loss = adapter.loss(adapter.window.only(frames_back), Generator().manual_seed(mask))
        # Published encoders may have parameters that h does not use.
        return [gradient.float() for gradient in torch.autograd.grad(loss, moving, materialize_grads=True)]

    return gradient_of


def best_window(variance: float, drift: float) -> int:
    """k = (s^2 / (b^2 e^2))^(1/3), within 1 .. 128; the largest if the frames do not change."""
    if drift <= 0:
        return LARGEST
    return int(min(max(round((variance / drift) ** (1 / 3)), SMALLEST), LARGEST))


def _flat(gradients: Sequence[Tensor]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients])
