"""The Python API: `ttt_cli.segment("drive.mp4")` in one line; `load`, `open_video` and `adapt` in five.

`import ttt_cli` does not import this module. Its functions, and torch, are imported on first use.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Unpack

from ttt_cli.adaptation.online import Adapter, walk
from ttt_cli.adaptation.settings import BUDGET
from ttt_cli.core.choices import choices
from ttt_cli.core.errors import UsageError
from ttt_cli.core.frame import Frame, Result, Video
from ttt_cli.model.opening import open_weights, weights_for
from ttt_cli.model.own import COLOR, MAIN_ONLY, STREET
from ttt_cli.model.split import SplitModel
from ttt_cli.model.weights import Weights
from ttt_cli.run.overrides import AdaptationOverrides, InputOverrides, Overrides, TaskOverrides, assigned_tables
from ttt_cli.run.request import RunRequest
from ttt_cli.run.runner import Run, run_video
from ttt_cli.run.settings import RunSettings, choose_device, resolve, task_of
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
    model: SplitModel
    device: torch.device


class Options(TypedDict, total=False):
    """What `adapt`, `segment` and `colorize` can be told. The rest is as the weights recommend, else the defaults."""

    method: str
    """A name in the table of docs/methods.md."""
    window: int
    """Frames to train on: the current one and those just before it; 0 for all so far."""
    task: str
    """semantic, instance, panoptic or colorization, if the weights were trained for it."""
    size: int
    """Shortest side, in pixels, of the model's input."""
    seed: int
    budget: float
    """Time of the whole run as a multiple of its predictions, such as 1.1; 0 for a step before every frame."""
    settings: Mapping[str, Any]
    """Any other settings, by the names that `--set` takes, such as {"adaptation.learning_rate": 1e-4}."""


class Session:
    """A copy of a model that trains itself on one video. Iterate over it, or pass single frames to `step`."""

    def __init__(self, frames: Video | Iterable[Image], loaded: LoadedModel, settings: RunSettings) -> None:
        self.weights, self.settings = loaded.weights, settings
        self.model = copy.deepcopy(loaded.model)
        self.task = task_of(loaded.weights, settings)
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
        tensor, index = _tensor(image), self.frames_seen
        self.frames_seen += 1
        frame = Frame(index, f"{index:06d}", index / RATE if seconds is None else seconds, tensor)
        return self.adapter.step(frame_for_model(frame, self.settings.input.size, self.task.preprocess))

    def save(self, path: str | Path) -> Path:
        """Writes the model as adapted so far to a weights file for `load` and `--weights`. Returns its path."""
        written = Path(path).absolute()
        self.weights.save(self.model, written)
        return written


def load(weights: str | Path = STREET, *, device: str = "auto") -> LoadedModel:
    """The model of a weights file, by name (`tttv weights list`) or by path.

    device: "cpu", "cuda", "mps", or "auto" (CUDA if available, else the CPU).
    Raises UsageError for an unknown name or an unavailable device, TttvError for a damaged file.
    """
    opened, chosen = open_weights(str(weights)), choose_device(device)
    return LoadedModel(opened, opened.load().to(chosen), chosen)


def adapt(frames: Video | Iterable[Image], loaded: LoadedModel, **options: Unpack[Options]) -> Session:
    """Starts test-time training on a video or on your own frames. Iterate over the session for one `Result` per frame.

    frames: from `open_video`, or any iterable of images, even an endless one such as a camera.
    Raises UsageError for values that make no sense.
    """
    settings = resolve(loaded.weights, None, _overrides(options), loaded.device)
    if settings.adaptation.method.split("+")[0] == MAIN_ONLY:
        raise UsageError(f"method {MAIN_ONLY} has weights of its own: load those, and take the method joint")
    return Session(frames, loaded, settings)


def segment(
    source: str | Path,
    *,
    weights: str | Path = STREET,
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    device: str = "auto",
    truth: str | Path | None = None,
    **options: Unpack[Options],
) -> Run:
    """Segments a video like `tttv segment`: writes a run folder with overlay.mp4, masks/, frames.jsonl and run.json.

    source: a video file, or a folder or glob of pictures. out: the folder to write, by default runs/NAME-METHOD.
    overwrite: replace an earlier run in it. resume: go on with a run in it that was cut off. truth: a folder of label
    PNGs named like the frames, for metrics.json. weights, device: as in `load`.
    Raises UsageError and TttvError, with the message that the command would print; AlreadyDone, a TttvError, if there
    is nothing to resume.
    """
    request = _request(source, weights, device, options)
    request = dataclasses.replace(request, out=_path(out), overwrite=overwrite, resume=resume)
    return run_video(dataclasses.replace(request, truth=_path(truth)))


def colorize(
    source: str | Path,
    *,
    weights: str | Path = COLOR,
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    device: str = "auto",
    gray_first: bool = False,
    **options: Unpack[Options],
) -> Run:
    """Colors a video like `tttv colorize`: writes a run folder with overlay.mp4, frames.jsonl and run.json.

    gray_first: the input's own colors are the truth, for metrics.json. The other parameters are those of `segment`.
    """
    options["task"] = "colorization"
    request = _request(source, weights, device, options)
    request = dataclasses.replace(request, out=_path(out), overwrite=overwrite, resume=resume)
    return run_video(dataclasses.replace(request, gray_first=gray_first))


def _request(source: str | Path, weights: str | Path, device: str, options: Options) -> RunRequest:
    opened, chosen = open_weights(str(weights)), choose_device(device)
    settings = resolve(opened, None, _overrides(options), chosen, BUDGET)
    return RunRequest(str(source), weights_for(settings.adaptation.method, opened), settings, chosen)


def _overrides(options: Options) -> Overrides:
    unknown = set(options) - set(Options.__annotations__)
    if unknown:
        name = unknown.pop()
        raise TypeError(f"unknown option {name!r}; {choices(name, Options.__annotations__)}")
    return Overrides(
        input=InputOverrides(size=options.get("size")),
        task=TaskOverrides(task=options.get("task")),
        adaptation=AdaptationOverrides(
            method=options.get("method"),
            window=options.get("window"),
            seed=options.get("seed"),
            budget=options.get("budget"),
        ),
        assigned=assigned_tables(options.get("settings", {})),
    )


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)


def _tensor(image: Image) -> Tensor:
    """The image as a tensor, uint8 RGB (3, H, W). Raises UsageError if it is not uint8 RGB."""
    tensor = image
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3:
        tensor = torch.from_numpy(np.ascontiguousarray(image)).movedim(
            -1, 0
        )  # OpenCV's images turned to RGB run backward.
    if not isinstance(tensor, Tensor) or tensor.dtype != torch.uint8 or tensor.ndim != 3 or len(tensor) != 3:
        description = f"{image.dtype}, {tuple(image.shape)}" if hasattr(image, "dtype") else type(image).__name__
        raise UsageError(f"a frame must be uint8 RGB, an array (H, W, 3) or a tensor (3, H, W), not {description}")
    return tensor.contiguous()
