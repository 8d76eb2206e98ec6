"""The reconstruction head that a model of others is given, and what a companion file keeps of it."""

from __future__ import annotations

import torch
from torch import Tensor

from ttt_cli.model.companion import HEAD, MASK_INPUT, HeadShape, named
from ttt_cli.model.light_head import LightHead
from ttt_cli.model.split import SplitModel


def add_head(model: SplitModel, image: Tensor, width: int) -> HeadShape:
    """Gives a model a new g, drawn at random, and an input for masks that changes nothing yet.

    image: any that the model takes, (1, 3, H, W), by which the sizes of f's maps are found. width: channels inside g.
    """
    with torch.no_grad():
        encoded = model.encode(image)
        shape = HeadShape(tuple(map_.shape[1] for map_ in model.maps(encoded)), model.strides(encoded), width)
    model.reconstruction_head = LightHead(shape.channels, shape.width, shape.strides).to(image.device)
    model.add_mask_input({})
    return shape


def head_tensors(model: SplitModel) -> dict[str, Tensor]:
    """What a companion keeps of it: g, and the input for masks."""
    assert model.reconstruction_head is not None, "add_head adds it"
    of_mask = {} if model.mask_input is None else model.mask_input.state_dict()
    return named(HEAD, model.reconstruction_head.state_dict()) | named(MASK_INPUT, of_mask)
