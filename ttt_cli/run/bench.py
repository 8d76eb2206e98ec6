"""Measures on this machine what a run takes on a video: its stages, and a step.

Kinds of work take turns in one process, so that whatever else the machine does harms all alike; figures are medians.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, get_args

from ttt_cli.adaptation.methods import method_named
from ttt_cli.adaptation.methods.auto import Auto
from ttt_cli.adaptation.methods.base import Method
from ttt_cli.adaptation.methods.offline import Offline
from ttt_cli.adaptation.online import Adapter
from ttt_cli.adaptation.out_of_memory import explained
from ttt_cli.adaptation.pace import SHORTEST_MILLISECONDS, Pace
from ttt_cli.adaptation.predictors import Predictor
from ttt_cli.adaptation.settings import BUDGET, AdaptationSettings, Precision
from ttt_cli.core.errors import PartialInput, TttvError, UsageError, printable
from ttt_cli.core.frame import Frame, Video
from ttt_cli.run.bench_result import WRITTEN, Bench, ModelMilliseconds, RunMilliseconds
from ttt_cli.run.peak_memory import forget_peak, peak_mebibytes
from ttt_cli.run.precision import prediction_seconds
from ttt_cli.run.request import RunRequest
from ttt_cli.run.runner import run_video
from ttt_cli.run.settings import task_of
from ttt_cli.video.opening import open_input
from ttt_cli.video.threads import prefetch
from ttt_cli.video.transforms import for_model, within

MOST_FRAMES, FEWEST_FRAMES = 30, 6
"""Of a whole run, unless a number is asked for."""
RUNS_SECONDS = 25.0
"""That all whole runs take together, about, if `FEWEST_FRAMES` allow it."""
ROUNDS, FEWEST_ROUNDS = 5, 2
"""Rounds in which the model's kinds of work take turns, after one that does not count."""
ROUNDS_SECONDS = 15.0
"""No further round begins after this time."""
TURNS = 2
"""Whole runs of either kind."""
PARTS = 2 + 2 * TURNS
"""How often `measure` says what it does next."""


def measure(
    request: RunRequest, frames: int | None = None, on_part: Callable[[str], None] = lambda part: None
) -> Bench:
    """Measures on the first frames of a video. Leaves nothing behind: whatever is written goes to a temporary folder.

    request: its `out` is not used. frames: of each whole run; None is MOST_FRAMES, or fewer to save time.
    on_part: called PARTS times, before each part, with what it is.
    Raises UsageError for a method that trains before the first frame, and for fewer than two frames. Raises TttvError
    as `run_video` does, and for a video of one frame.
    """
    own = request.settings.adaptation
    if isinstance(method_named(own.method), Offline):
        raise UsageError(f"{own.method} trains before the first frame: there are no steps between frames to time")
    if frames is not None and frames < 2:
        raise UsageError(f"the number of frames must be at least 2, since the first one does not count, not {frames}")
    video = open_input(request.source, request.settings.input)
    with explained():
        model_frames = _first_frames(request, video)
        on_part("tries precisions")
        seconds = prediction_seconds(request.weights, request.settings, video, request.device, get_args(Precision))
        own = dataclasses.replace(own, precision=min(seconds, key=seconds.__getitem__))
        request = _adapting_as(request, own)
        on_part("times the model")
        model = _model_milliseconds(request, model_frames)
    del model_frames
    count = frames or _affordable_frames(model)
    each_frame = dataclasses.replace(own, every=1, budget=0.0)
    fixed, adapting = [], []
    with tempfile.TemporaryDirectory(prefix="tttv-bench-") as folder:
        for turn in range(TURNS):
            on_part("runs the fixed model")
            joint = dataclasses.replace(each_frame, method="joint", constants={})
            fixed.append(_whole_run(_adapting_as(request, joint), count, Path(folder) / f"fixed-{turn}"))
            on_part(f"runs {own.method}")
            adapting.append(_whole_run(_adapting_as(request, each_frame), count, Path(folder) / f"adapting-{turn}"))
    return Bench(
        request=request,
        video=video,
        frames=fixed[0].frames,
        shortened=frames is None and fixed[0].frames == count < MOST_FRAMES,
        reason=fixed[0].reason,
        precisions={precision: 1000 * median for precision, median in seconds.items()},
        model=model,
        run=RunMilliseconds(
            fixed=statistics.median(run.milliseconds for run in fixed),
            adapting=statistics.median(run.milliseconds for run in adapting),
            stages={
                stage: statistics.median(spent for run in (*fixed, *adapting) for spent in run.stages[stage])
                for stage in WRITTEN
            },
        ),
        peak_mebibytes=max((run.peak_mebibytes for run in adapting if run.peak_mebibytes is not None), default=None),
    )


def _adapting_as(request: RunRequest, adaptation: AdaptationSettings) -> RunRequest:
    return dataclasses.replace(request, settings=dataclasses.replace(request.settings, adaptation=adaptation))


def _first_frames(request: RunRequest, video: Video) -> list[Frame]:
    """One frame for each round, and one before, as the model sees them. Raises TttvError if there is only one."""
    task = task_of(request.weights, request.settings)
    smaller = for_model(within(video, task.area_of(video)), request.settings.input.size, task.preprocess)
    found: list[Frame] = []
    with closing(prefetch(smaller.frames(), 1)) as frames:
        try:
            for frame in islice(frames, 1 + ROUNDS):
                found.append(dataclasses.replace(frame, original=None))
        except PartialInput:
            if len(found) < 2:
                raise
    if len(found) < 2:
        raise TttvError(f"{printable(video.source)}: has only one frame, which does not count; give a longer video")
    return found


class _EveryOther(Pace):
    """Leaves a frame alone, adapts to the next."""

    def __init__(self) -> None:
        self.adapts = True

    def due(self, begins_scene: bool) -> str | None:
        self.adapts = not self.adapts
        return "interval" if self.adapts else None


def _model_milliseconds(request: RunRequest, frames: list[Frame]) -> ModelMilliseconds:
    """Lets the model's kinds of work take turns on each frame; the first frame does not count."""
    settings = request.settings
    model, task = request.weights.load().to(request.device), task_of(request.weights, settings)

    def adapter_for(**changes: Any) -> Adapter:
        adaptation = dataclasses.replace(settings.adaptation, every=1, **changes)
        adapter = Adapter(model, task, adaptation, settings.reconstruction, request.device)
        if adapter.adapts:
            adapter.pace = _EveryOther()
        return adapter

    adapters = {"fixed": adapter_for(budget=BUDGET, method="joint", constants={}), "budget": adapter_for(budget=BUDGET)}
    if adapters["budget"].shares_forward:  # Which a step does only with a budget.
        adapters["every"] = adapter_for(budget=0.0)
    spent: dict[tuple[str, bool], list[float]] = defaultdict(list)
    began = time.perf_counter()
    for position, frame in enumerate(frames):
        if position > FEWEST_ROUNDS and time.perf_counter() - began > ROUNDS_SECONDS:
            break
        for name, adapter in adapters.items():
            for _ in range(2):
                result = adapter.step(frame)
                if position:
                    timing = result.timing
                    spent[name, result.adapted is not None].append(
                        timing.adapt_milliseconds + timing.predict_milliseconds
                    )
    if _predicts_as_fixed(adapters["budget"]):  # The same work: then it is measured twice as often.
        spent["fixed", False] = spent["budget", False] = spent["fixed", False] + spent["budget", False]
    median = {kind: statistics.median(measured) for kind, measured in spent.items()}

    def step_of(name: str) -> float | None:
        return max(0.0, median[name, True] - median[name, False]) if (name, True) in median else None

    step, method = step_of("budget"), adapters["budget"].method
    step_of_every = step_of("every") if "every" in adapters else step
    if step is not None and isinstance(method, Auto):
        step_of_every = step / method.choose_every  # Without a budget it looks at so few of the frames.
    return ModelMilliseconds(
        fixed=median["fixed", False],
        predict=median["budget", False],
        step=step,
        step_of_every=step_of_every,
        at_rest=adapters["budget"].at_rest,
    )


def _predicts_as_fixed(adapter: Adapter) -> bool:
    """Whether predictions are the same work as those of the fixed model, with weights of their own."""
    kind = type(adapter.method)
    has_hooks = kind.predicting is not Method.predicting or kind.after_predict is not Method.after_predict
    return type(adapter.predictor) is Predictor and not has_hooks


def _affordable_frames(model: ModelMilliseconds) -> int:
    """How many frames whole runs can have that take about RUNS_SECONDS."""
    milliseconds = model.fixed + model.predict + (model.step or 0.0)
    affordable = 1000 * RUNS_SECONDS / (TURNS * max(milliseconds, SHORTEST_MILLISECONDS))
    return max(FEWEST_FRAMES, min(MOST_FRAMES, int(affordable)))


@dataclass(frozen=True)
class _WholeRun:
    """What one whole run took."""

    frames: int
    reason: str | None
    """Why the input broke off, if it did."""
    milliseconds: float
    """From one frame to the next, on average; the first one does not count, as in the stages."""
    stages: dict[str, list[float]]
    """Milliseconds of each frame, for each stage in WRITTEN."""
    peak_mebibytes: float | None


def _whole_run(request: RunRequest, frames: int, out: Path) -> _WholeRun:
    """Makes a run of the first frames, with everything that it writes."""
    moments: list[float] = []
    limited = dataclasses.replace(request.settings.input, max_frames=frames)
    settings = dataclasses.replace(request.settings, input=limited)
    forget_peak(request.device)
    run = run_video(
        dataclasses.replace(request, settings=settings, out=out),
        on_step=lambda step: moments.append(time.perf_counter()),
    )
    if run.report.status == "interrupted":
        raise KeyboardInterrupt
    records = list(run)[1:]
    return _WholeRun(
        frames=len(moments),
        reason=run.report.reason,
        milliseconds=1000 * (moments[-1] - moments[0]) / len(records),
        stages={stage: [record.milliseconds[stage] for record in records] for stage in WRITTEN},
        peak_mebibytes=peak_mebibytes(request.device),
    )
