"""The Python API: `ttt_cli.segment("drive.mp4")` in one line; `load`, `open_video` and `adapt` in five.

`import ttt_cli` does not import this module. Its functions, and torch, are imported on first use.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ttt_cli.adaptation.online import Adapter, walk
from ttt_cli.core.errors import UsageError
from ttt_cli.core.frame import Frame, Result, Video
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.model.weights import COLOR, STREET, Weights, open_weights, save_weights, weights_for
from ttt_cli.run.overrides import AdaptationOverrides, InputOverrides, Overrides, TaskOverrides, assigned_tables
from ttt_cli.run.runner import Run, RunRequest, run_video
from ttt_cli.run.settings import RunSettings, choose_device, resolve
from ttt_cli.tasks.table import TASKS
from ttt_cli.video.reader import open_video
from ttt_cli.video.transforms import for_model, frame_for_model, within

__all__ = ["LoadedModel", "Session", "adapt", "colorize", "load", "open_video", "segment"]

RATE = 10
"""Frames a second that are assumed for frames that the caller supplies without time stamps."""

Image = np.ndarray | Tensor
"""A frame that the caller supplies: uint8 RGB, a numpy array (H, W, 3) or a tensor (3, H, W)."""


@dataclass(frozen=True)
class LoadedModel:
    """A model on its device. It never changes: a `Session` adapts a copy."""

    weights: Weights
    """What the weights file says about the model: `weights.classes`, `weights.tasks` and so on."""
    model: TwoHeadedModel
    device: torch.device


class Session:
    """A copy of a model that trains itself on one video. Iterate over it, or pass single frames to `step`."""

    def __init__(self, frames: Video | Iterable[Image], loaded: LoadedModel, settings: RunSettings) -> None:
        self.weights, self.settings = loaded.weights, settings
        self.model = copy.deepcopy(loaded.model)
        self.task = TASKS[settings.task.task](loaded.weights.classes, settings.task)
        self.adapter = Adapter(self.model, self.task, settings.adaptation, settings.reconstruction, loaded.device)
        self.frames_seen = 0
        self._frames = frames

    def __iter__(self) -> Iterator[Result]:
        """Yields one result per frame, in order. The model trains on each frame just before it predicts it."""
        if isinstance(self._frames, Video):
            video = within(self._frames, self.task.area_of(self._frames))
            yield from walk(for_model(video, self.settings.input.size, self.task.preprocess), self.adapter)
        else:
            yield from map(self.step, self._frames)

    def step(self, image: Image, seconds: float | None = None) -> Result:
        """Trains on the next frame and predicts it.

        seconds: its time stamp. The default assumes ten frames a second.
        Raises UsageError if the image is not uint8 RGB.
        """
        index = self.frames_seen
        self.frames_seen += 1
        frame = Frame(index, f"{index:06d}", index / RATE if seconds is None else seconds, _tensor(image))
        return self.adapter.step(frame_for_model(frame, self.settings.input.size, self.task.preprocess))

    def save(self, path: str | Path) -> Path:
        """Writes the model as adapted so far to a weights file for `load` and `--weights`. Returns its path."""
        weights = dataclasses.replace(self.weights, path=Path(path).absolute(), name=Path(path).stem)
        save_weights(self.model, weights)
        return weights.path


def load(weights: str | Path = STREET, *, device: str = "auto") -> LoadedModel:
    """The model of a weights file, by name (`tttv weights list`) or by path.

    device: "cpu", "cuda", "mps", or "auto" (CUDA if available, else the CPU).
    Raises UsageError for an unknown name or an unavailable device, TttvError for a damaged file.
    """
    opened, chosen = open_weights(str(weights)), choose_device(device)
    return LoadedModel(opened, opened.load().to(chosen), chosen)


def adapt(
    frames: Video | Iterable[Image],
    loaded: LoadedModel,
    *,
    method: str | None = None,
    window: int | None = None,
    task: str | None = None,
    size: int | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Session:
    """Starts test-time training on a video or on your own frames. Iterate over the session for one `Result` per frame.

    frames: from `open_video`, or any iterable of images, even an endless one such as a camera.
    method, task: by name, as on the command line. window: frames to train on, 0 for all so far. size: shortest side of
    the model's input, in pixels. settings: any other settings, by the names that `--set` takes, such as
    {"adaptation.learning_rate": 1e-4}. The default is what the weights recommend, else the command line's default.
    Raises UsageError for values that make no sense.
    """
    overrides = _overrides(method, window, task, size, seed, settings)
    return Session(frames, loaded, resolve(loaded.weights, None, overrides, loaded.device))


def segment(
    source: str | Path,
    *,
    weights: str | Path = STREET,
    out: str | Path | None = None,
    overwrite: bool = False,
    device: str = "auto",
    method: str | None = None,
    window: int | None = None,
    task: str | None = None,
    size: int | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Run:
    """Segments a video like `tttv segment`: writes a run folder with overlay.mp4, masks/, frames.jsonl and run.json.

    source: a video file, or a folder or glob of pictures. out: the folder to write, by default runs/NAME-METHOD.
    overwrite: replace an earlier run in it. The other parameters are those of `load` and `adapt`.
    Raises UsageError and TttvError, with the message that the command would print.
    """
    opened, chosen = open_weights(str(weights)), choose_device(device)
    resolved = resolve(opened, None, _overrides(method, window, task, size, seed, settings), chosen)
    method_weights = weights_for(resolved.adaptation.method, opened)
    folder = None if out is None else Path(out)
    return run_video(RunRequest(str(source), method_weights, resolved, chosen, folder, overwrite=overwrite))


def colorize(
    source: str | Path,
    *,
    weights: str | Path = COLOR,
    out: str | Path | None = None,
    overwrite: bool = False,
    device: str = "auto",
    method: str | None = None,
    window: int | None = None,
    size: int | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Run:
    """Colors a video like `tttv colorize`. The parameters are those of `segment`."""
    return segment(
        source,
        weights=weights,
        out=out,
        overwrite=overwrite,
        device=device,
        method=method,
        window=window,
        task="colorization",
        size=size,
        seed=seed,
        settings=settings,
    )


def _overrides(
    method: str | None,
    window: int | None,
    task: str | None,
    size: int | None,
    seed: int | None,
    settings: Mapping[str, Any] | None,
) -> Overrides:
    return Overrides(
        input=InputOverrides(size=size),
        task=TaskOverrides(task=task),
        adaptation=AdaptationOverrides(method=method, window=window, seed=seed),
        assigned=assigned_tables(settings or {}),
    )


def _tensor(image: Image) -> Tensor:
    """The image as a tensor, uint8 RGB (3, H, W). Raises UsageError if it is not uint8 RGB."""
    tensor = torch.from_numpy(image).movedim(-1, 0) if isinstance(image, np.ndarray) and image.ndim == 3 else image
    if not isinstance(tensor, Tensor) or tensor.dtype != torch.uint8 or tensor.ndim != 3 or len(tensor) != 3:
        description = f"{image.dtype}, {tuple(image.shape)}" if hasattr(image, "dtype") else type(image).__name__
        raise UsageError(f"a frame must be uint8 RGB, an array (H, W, 3) or a tensor (3, H, W), not {description}")
    return tensor.contiguous()
