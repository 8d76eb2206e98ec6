"""Groups of options that several commands share. `with_options` in cli/_signature.py turns them into parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ttt_cli.cli import _options as options
from ttt_cli.cli._values import Device, Precision, parse_budget, parse_window
from ttt_cli.run.overrides import AdaptationOverrides, InputOverrides, Tables, parse_assignments


@dataclass(frozen=True, kw_only=True)
class ComputeOptions:
    """What the model may be read from, and how it computes: the device, the number format, the memory."""

    allow_pickle: options.AllowPickle = False
    device: options.DeviceName = Device.auto
    precision: options.PrecisionName = Precision.auto
    low_memory: options.LowMemory = False


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How the model trains on each frame."""

    steps: options.Steps = None
    batch: options.Batch = None
    mask_ratio: options.MaskRatio = None
    learning_rate: options.LearningRate = None
    depth: options.Depth = None
    moves: options.MovesName = None
    cuts: options.Cuts = None

    def overrides(self, compute: ComputeOptions) -> AdaptationOverrides:
        """The given options, and what `compute` says of steps; the mask ratio belongs to another section."""
        return AdaptationOverrides(
            steps=self.steps,
            batch=self.batch,
            learning_rate=self.learning_rate,
            depth=self.depth,
            moves=None if self.moves is None else self.moves.value,
            cuts=None if self.cuts is None else self.cuts.value,
            precision=None if compute.precision is Precision.auto else compute.precision.value,
            low_memory=True if compute.low_memory else None,
        )


@dataclass(frozen=True, kw_only=True)
class AdaptationOptions:
    """How one method adapts to one video."""

    method: options.Method = None
    budget: options.Budget = None
    every: options.Every = None
    window: options.Window = None
    training: TrainingOptions
    seed: options.Seed = None

    def overrides(self, compute: ComputeOptions) -> AdaptationOverrides:
        """The given options. Raises UsageError if the window is not valid."""
        automatic = self.window == "auto"
        return replace(
            self.training.overrides(compute),
            method=self.method,
            window=None if self.window is None or automatic else parse_window(self.window),
            auto_window=None if self.window is None else automatic,
            every=self.every,
            budget=None if self.budget is None else parse_budget(self.budget),
            seed=self.seed,
        )


@dataclass(frozen=True, kw_only=True)
class FrameOptions:
    """Which frames of labeled videos are read, and how large the model sees them."""

    size: options.Size = None
    stride: options.Stride = None
    max_frames: options.MaxFrames = None
    exposure: options.Exposure = None
    reader: options.Reader = None
    hwaccel: options.HwAccel = None

    def overrides(self) -> InputOverrides:
        """The given options."""
        return InputOverrides(
            size=self.size,
            stride=self.stride,
            max_frames=self.max_frames,
            exposure=None if self.exposure is None else self.exposure.value,
            reader=None if self.reader is None else self.reader.value,
            hwaccel=self.hwaccel,
        )


@dataclass(frozen=True, kw_only=True)
class InputOptions(FrameOptions):
    """Which frames of any video are read, and how large the model sees them."""

    start: options.Start = None
    end: options.End = None
    fps: options.Fps = None
    timeout: options.Timeout = None

    def overrides(self) -> InputOverrides:
        """The given options."""
        return replace(super().overrides(), start=self.start, end=self.end, fps=self.fps, timeout=self.timeout)


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Other settings, whether to overwrite files, and what to print."""

    overwrite: options.Overwrite = False
    config: options.Config = None
    assignments: options.Assignments = None
    as_json: options.Json = False
    quiet: options.Quiet = False

    def assigned(self) -> Tables:
        """What `--set` says. Raises UsageError if it is not SECTION.NAME=VALUE."""
        return parse_assignments(self.assignments or [])


@dataclass(frozen=True, kw_only=True)
class VideoRunOptions(RunOptions):
    """The same of a run that can be resumed; an evaluation goes on in its folder by itself."""

    resume: options.Resume = False
