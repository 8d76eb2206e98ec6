"""What a method is: which parameters move, by which loss, and what it remembers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Generator, Tensor, nn

from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.reconstruction import ReconstructionSettings


@dataclass(frozen=True)
class Method:
    """The fixed model: nothing moves. Methods that adapt override `parameters` and `loss`.

    carry: implicit memory; False puts the weights back to f_0, g_0 before every frame.
    """

    name: str
    carry: bool = True

    def parameters(self, model: TwoHeadedModel) -> Iterator[nn.Parameter]:
        """The parameters that test-time training moves; h is never among them."""
        yield from ()

    def loss(
        self, model: TwoHeadedModel, images: Tensor, reconstruction: ReconstructionSettings, generator: Generator
    ) -> Tensor:
        """The loss of one step on a batch from the window, RGB in 0..255, (B, 3, H, W): a scalar."""
        raise TypeError(f"{self.name} moves no parameters, so it has no loss")
