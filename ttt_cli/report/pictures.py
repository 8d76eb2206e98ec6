"""Pictures for the report, taken from the output and the input of a run of `tttv segment`."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Generator, Tensor

from ttt_cli.adaptation.online import Adapter
from ttt_cli.adaptation.reconstruction import draw_visible, pixels_of
from ttt_cli.core.frame import Video
from ttt_cli.core.toml import from_table
from ttt_cli.model.opening import open_weights
from ttt_cli.model.split import SplitModel
from ttt_cli.report.collect import SegmentRun
from ttt_cli.run.settings import RunSettings, task_of
from ttt_cli.video.opening import open_input
from ttt_cli.video.reader import open_video
from ttt_cli.video.transforms import shrink

WIDEST = 960
"""Largest width of a picture on the page, in pixels."""
MASK_SEED = 0
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Picture:
    """A picture inside the page."""

    caption: str
    """Text under the picture."""
    address: str
    """The picture as a data URI."""


def adjacent_frames(run: SegmentRun) -> list[Picture]:
    """Two adjacent frames of the overlay (the paper's Figures 7 and 8).

    If the run used `--compare`, these are the frames where the fixed and the adapted model differ most, else those in
    the middle. Raises TttvError if the overlay cannot be read.
    """
    compared = run.report["settings"]["output"]["layout"] != "overlay"
    video = open_video(run.folder.overlay)
    best = max(1, len(run.frames) // 2) if not compared else 1
    greatest = -1.0
    if compared:
        for position, frame in enumerate(video.frames()):
            left, right = frame.image.float().chunk(2, dim=-1)[0:2]
            difference = float((left[..., : right.shape[-1]] - right).abs().mean())
            if position > 0 and difference > greatest:
                best, greatest = position, difference
    kept = [frame for position, frame in enumerate(video.frames()) if position in (best - 1, best)]
    title = "fixed left, adapted right" if compared else "adapted"
    return [Picture(f"{frame.seconds:.2f} s, {title}", _address(frame.image)) for frame in kept]


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
    """An image, uint8 (3, H, W), as a JPEG in a data URI, at most WIDEST pixels wide."""
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    picture.thumbnail((WIDEST, WIDEST))
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
