"""What the model of a run reconstructs of a frame, before and after a step on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor

from ttt_cli.adaptation.online import Adapter
from ttt_cli.adaptation.reconstruction import draw_visible, pixels_of
from ttt_cli.core.frame import Video
from ttt_cli.core.toml import from_table
from ttt_cli.model.opening import open_weights
from ttt_cli.model.split import SplitModel
from ttt_cli.report.collect import SegmentRun
from ttt_cli.report.gallery import data_uri, jpeg
from ttt_cli.run.settings import RunSettings, task_of
from ttt_cli.video.opening import open_input
from ttt_cli.video.transforms import shrink

MASK_SEED = 0
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Picture:
    """A picture inside the page."""

    caption: str
    """Text under the picture."""
    address: str
    """The picture as a data URI."""


def reconstructions(run: SegmentRun) -> list[Picture]:
    """The middle frame: masked, reconstructed by the trained model, and after one step on it (the paper's Figure 3).

    Raises TttvError if the input or the weights no longer exist.
    """
    settings = from_table(RunSettings, run.report["settings"], str(run.folder.run))
    weights = open_weights(run.report["weights"]["path"])
    frame = _frame(open_input(Path(run.report["input"]), settings.input), len(run.frames) // 2)
    model = weights.load()
    task = task_of(weights, settings)
    image = task.preprocess(shrink(frame, settings.input.size))
    adapter = Adapter(model, task, settings.adaptation, settings.reconstruction, CPU)
    if not adapter.moving:
        return []
    visible = draw_visible(image[None], settings.reconstruction, Generator().manual_seed(MASK_SEED))
    pictures = [
        Picture("the frame", _address(image)),
        Picture("what the model is shown", _address((image * visible[0]).to(torch.uint8))),
        Picture("reconstructed, step 0", _address(_reconstructed(model, image, visible, settings))),
    ]
    adapter.window.push(image)
    adapter.update()
    after = Picture("reconstructed, step 1", _address(_reconstructed(model, image, visible, settings)))
    adapter.restore()
    return [*pictures, after]


@torch.no_grad()
def _reconstructed(model: SplitModel, image: Tensor, visible: Tensor, settings: RunSettings) -> Tensor:
    """g's reconstruction where the image was hidden, the image itself elsewhere: uint8 (3, H, W)."""
    reconstruction = pixels_of(
        model.reconstruct(model.encode(image[None], visible)), image[None], settings.reconstruction
    )
    return torch.where(visible[0] > 0, image, reconstruction[0])


def _frame(video: Video, position: int) -> Tensor:
    for index, frame in enumerate(video.frames()):
        if index == position:
            return frame.image
    return frame.image


def _address(image: Tensor) -> str:
    """An image, uint8 (3, H, W), as a data URI."""
    return data_uri(jpeg(image.permute(1, 2, 0).contiguous().numpy()))
