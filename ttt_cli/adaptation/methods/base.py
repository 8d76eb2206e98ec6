"""What a method is: which parameters move, by which loss, and what it remembers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Generator, Tensor, nn

from ttt_cli.adaptation.memory import Batch
from ttt_cli.adaptation.methods.class_balance import ClassBalance
from ttt_cli.adaptation.predictors import Plain
from ttt_cli.core.frame import Prediction
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.two_headed import TwoHeadedModel


@dataclass(frozen=True)
class Method:
    """The fixed model: nothing moves. Methods that adapt override `parameters` and `loss`.

    carry: implicit memory; False starts every frame afresh: weights, optimiser and random numbers.
    window: explicit memory where the method fixes it; None leaves it to the settings.
    steps: gradient steps a frame where the method fixes them; None leaves them to the settings.
    sees_all_first: the method trains on the whole video before it predicts the first frame, so it is not online.
    oracle: it does so again and again, and the labels choose the best time to stop; `tttv eval` alone can do that.
    balance: when to go back to f_0, or None for never.
    probe_every: after so many frames it is asked anew whether f_0, g_0 reconstruct the video well; then it gives
        pseudo-labels, and no look is taken, else the other way round. 0 is never: then it gives both.
    predictor: how the adapted model's output becomes the prediction.
    undefined_for: tasks that the method makes no sense for, and undefined_because: why.
    """

    name: str
    carry: bool = True
    window: int | None = None
    steps: int | None = None
    sees_all_first: bool = False
    oracle: bool = False
    balance: ClassBalance | None = None
    probe_every: int = 0
    predictor: type[Plain] = Plain
    undefined_for: tuple[str, ...] = ()
    undefined_because: str = ""

    def parameters(self, model: TwoHeadedModel) -> Iterator[nn.Parameter]:
        """The parameters that test-time training moves; h is never among them."""
        yield from ()

    def statistics(self, model: TwoHeadedModel) -> Iterator[Tensor]:
        """The buffers that `look` moves."""
        yield from ()

    def look(self, model: TwoHeadedModel, image: Tensor) -> None:
        """What a frame, (1, 3, H, W), changes without any gradient, before training on it."""

    def loss(
        self, model: TwoHeadedModel, batch: Batch, reconstruction: ReconstructionSettings, generator: Generator
    ) -> Tensor:
        """The loss of one step on a batch from the window: a scalar."""
        raise TypeError(f"{self.name} moves no parameters, so it has no loss")

    def pseudo_labels(self, prediction: Prediction) -> Tensor | None:
        """What later steps on this frame are told of its classes: uint8 (H, W), 255 = nothing; or None.

        It is asked on familiar video alone.
        """
        return None
