"""Whether a video looks like the pictures that the model was trained on: the reconstruction loss tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Generator

from ttt_cli.adaptation.reconstruction import reconstruction_loss
from ttt_cli.core.frame import Frame

if TYPE_CHECKING:
    from ttt_cli.adaptation.online import Adapter

UNFAMILIAR = 1.6
"""Multiple of the usual loss above which video counts as unfamiliar.

It lies above l_s of all held-out stills by day, and below that of all of them in low light.
"""


class Familiarity:
    """What is known of one video so far."""

    def __init__(self) -> None:
        self.frames = 0
        self.is_familiar = True

    def update(self, adapter: Adapter, frame: Frame, every: int) -> None:
        """Takes in the next frame; the first and every `every`-th after it are probed. 0 probes none."""
        self.frames += 1
        if every and (self.frames - 1) % every == 0:
            self.is_familiar = looks_familiar(adapter, frame, seed=self.frames)


@torch.no_grad()
def looks_familiar(adapter: Adapter, frame: Frame, seed: int) -> bool:
    """Whether f_0, g_0 reconstruct the frame nearly as well as pictures like those that they were trained on.

    seed: of the mask. True if nobody measured what is usual (`familiar_loss` of the weights).
    """
    usual = adapter.reconstruction.familiar_loss
    if usual is None:
        return True
    generator = Generator().manual_seed(seed)
    image = frame.image[None].to(adapter.compute.device)
    with adapter.as_trained(), adapter.compute.autocast():
        loss = reconstruction_loss(adapter.model, image, adapter.reconstruction, generator)
    return float(loss) <= UNFAMILIAR * usual
