"""Judges by the reconstruction loss whether a video looks like the pictures that the model was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Generator

from ttt_cli.adaptation.reconstruction import reconstruction_loss
from ttt_cli.core.frame import Frame
from ttt_cli.core.resumable import Resumable

if TYPE_CHECKING:
    from ttt_cli.adaptation.online import Adapter

UNFAMILIAR = 1.6
"""Multiple of the usual loss above which a video counts as unfamiliar.

It lies above l_s of all held-out stills by day, and below l_s of all held-out stills in low light.
"""


class Familiarity(Resumable):
    """Whether one video is familiar, as last probed."""

    varying = ("turn", "is_familiar")

    def __init__(self) -> None:
        self.turn = -1
        self.is_familiar = True

    def update(self, adapter: Adapter, frame: Frame, every: int) -> None:
        """Probes the first frame that is adapted to, and the next such one each time `every` are over; with 0, none."""
        if every and (adapter.frames - 1) // every != self.turn:
            self.turn = (adapter.frames - 1) // every
            self.is_familiar = looks_familiar(adapter, frame, seed=adapter.frames)


@torch.no_grad()
def looks_familiar(adapter: Adapter, frame: Frame, seed: int) -> bool:
    """Whether f_0, g_0 reconstruct the frame nearly as well as pictures like their training images.

    seed: of the mask. Always True if the weights have no `familiar_loss` to compare with.
    """
    usual = adapter.reconstruction.familiar_loss
    if usual is None:
        return True
    generator = Generator().manual_seed(seed)
    image = adapter.compute.place(frame.image[None])
    with adapter.as_trained(), adapter.compute.autocast():
        loss = reconstruction_loss(adapter.model, image, adapter.reconstruction, generator)
    return adapter.compute.read(loss)[0] <= UNFAMILIAR * usual
