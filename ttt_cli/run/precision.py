"""Which precision is quickest. Most CPUs only imitate half precision and are many times slower, so it is tried."""

from __future__ import annotations

import dataclasses
import statistics
from contextlib import closing

import torch

from ttt_cli.adaptation.online import Adapter
from ttt_cli.adaptation.settings import Precision
from ttt_cli.core.frame import Video
from ttt_cli.model.weights import Weights
from ttt_cli.run.settings import RunSettings, task_of
from ttt_cli.video.threads import prefetch
from ttt_cli.video.transforms import frame_for_model

TRIALS = 3
"""Predictions of the first frame in each precision, in turn, after one that does not count."""
HOPELESS = 3.0
"""A precision whose first prediction takes this many times that of the first precision is not tried again."""


def with_quicker_precision(
    weights: Weights, settings: RunSettings, video: Video, device: torch.device
) -> tuple[RunSettings, str | None]:
    """The settings with fp32 if the half precision that they ask for is slower on this CPU.

    Also returns what was chosen, and why; None if there was nothing to choose.
    """
    wanted = settings.adaptation.precision
    if device.type != "cpu" or wanted == "fp32":
        return settings, None
    seconds = prediction_seconds(weights, settings, video, device, ("fp32", wanted))
    chosen = min(seconds, key=seconds.__getitem__)
    times = " and ".join(f"{median:.3g} s in {precision}" for precision, median in seconds.items())
    adaptation = dataclasses.replace(settings.adaptation, precision=chosen)
    note = f"precision {chosen}: on this processor a prediction takes {times}"
    return dataclasses.replace(settings, adaptation=adaptation), note


def prediction_seconds(
    weights: Weights, settings: RunSettings, video: Video, device: torch.device, precisions: tuple[Precision, ...]
) -> dict[Precision, float]:
    """The median seconds of a prediction of the first frame by the fixed model, in each precision.

    Of a precision without hope, the seconds of its only prediction.
    """
    model, task = weights.load(), task_of(weights, settings)
    with closing(prefetch(video.frames(), 1)) as frames:
        frame = frame_for_model(next(frames), settings.input.size, task.preprocess)
    adapters = {}
    for precision in precisions:
        fixed = dataclasses.replace(settings.adaptation, method="joint", constants={}, precision=precision)
        adapters[precision] = Adapter(model, task, fixed, settings.reconstruction, device)
    seconds: dict[Precision, list[float]] = {precision: [] for precision in precisions}
    for trial in range(1 + TRIALS):
        for precision, adapter in adapters.items():
            if trial and seconds[precision][0] > HOPELESS * seconds[precisions[0]][0]:
                continue
            seconds[precision].append(adapter.step(frame).timing.predict_milliseconds / 1000)
    return {precision: statistics.median(measured[1:] or measured) for precision, measured in seconds.items()}
