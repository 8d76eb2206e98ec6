"""The frames of a run's video, passed through the model one by one."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from ttt_cli.adaptation.offline import OnOfflineStep
from ttt_cli.adaptation.online import Adapter, adapt
from ttt_cli.adaptation.resuming import resume, state_of
from ttt_cli.adaptation.strangeness import ASKED_EVERY, Strangeness, measuring, strangeness_to_trained
from ttt_cli.core.frame import Frame, Result, Video
from ttt_cli.core.labels import Labels
from ttt_cli.run.journal import Checkpoint
from ttt_cli.run.request import RunRequest
from ttt_cli.run.settings import task_of
from ttt_cli.video.threads import Stopwatch, prefetch
from ttt_cli.video.transforms import for_model, within

FRAMES_AHEAD = 4


@dataclass(frozen=True)
class Step:
    """The model's results for one frame."""

    result: Result
    """At the size of the model's input."""
    labels: Labels
    """The prediction, at the size of the input's frame."""
    fixed_labels: Labels | None
    """The fixed model's prediction, at the same size; None if it does not run beside."""
    milliseconds: dict[str, float]
    """Time by stage, so far."""
    strangeness: Strangeness | None = None
    """How unlike ordinary pictures the frame is to the fixed model; None if that is not known, or was not asked."""

    @property
    def frame(self) -> Frame:
        """The frame as it came from the input."""
        return self.result.frame.whole()


class Steps:
    """Adapts a model to the frames of a video and predicts them; the fixed model predicts them too, if wanted.

    saved: of an earlier run, with its `state` as part "model"; this one goes on from there.
    """

    def __init__(
        self,
        request: RunRequest,
        video: Video,
        saved: Checkpoint | None = None,
    ) -> None:
        settings, device = request.settings, request.device
        self.video, self.settings = video, settings
        self.frames_done = 0 if saved is None else saved.frames
        state = None if saved is None else saved.parts["model"]
        self._state = None if state is None else state["adapter"]
        model = request.load(request.weights).to(device)
        self.task = task_of(request.weights, settings)
        self.fixed: Adapter | None = None
        if settings.output.compares:
            fixed_settings = dataclasses.replace(settings.adaptation, method="joint", constants={})
            self.fixed = Adapter(copy.deepcopy(model), self.task, fixed_settings, settings.reconstruction, device)
            if state is not None:
                resume(self.fixed, state["fixed"])
        self.adapter = Adapter(model, self.task, settings.adaptation, settings.reconstruction, device)

    def state(self) -> dict[str, Any]:
        """What the frames so far have changed. Tensors are not copied."""
        return {"adapter": state_of(self.adapter), "fixed": None if self.fixed is None else state_of(self.fixed)}

    def run(self, on_offline_step: OnOfflineStep, check: Callable[[], None]) -> Generator[Step, None, None]:
        """Yields a step for each frame, with labels at the size of the input.

        check: called while the input is waited for; what it raises ends the waiting.
        """
        video = self.video
        stopwatch = Stopwatch()
        area = self.task.area_of(video)
        rest = dataclasses.replace(video, frames=lambda: video.frames_from(self.frames_done))
        smaller = for_model(within(rest, area), self.settings.input.size, self.task.preprocess)

        def frames() -> Iterator[Frame]:
            with closing(prefetch(smaller.frames(), FRAMES_AHEAD, stopwatch, check, video.interrupt)) as ahead:
                yield from ahead

        for result in adapt(dataclasses.replace(smaller, frames=frames), self.adapter, on_offline_step, self._state):
            milliseconds = {
                "decode": stopwatch.last_seconds * 1000,
                "adapt": result.timing.adapt_milliseconds,
                "predict": result.timing.predict_milliseconds,
            }
            fixed_labels = strangeness = None
            if self.fixed is not None:
                with measuring(self.fixed.model) as measurement:
                    fixed_result = self.fixed.step(result.frame)
                strangeness = measurement.strangeness
                fixed_labels = fixed_result.prediction.at_size(video.size).placed(area)
                milliseconds["predict_fixed"] = fixed_result.timing.predict_milliseconds
                notes = (result.out_of_memory, fixed_result.out_of_memory)
                result = dataclasses.replace(result, out_of_memory=next(filter(None, notes), None))
            elif self.adapter.frames % ASKED_EVERY == 1:
                strangeness = strangeness_to_trained(self.adapter, result.frame)
            labels = result.prediction.at_size(video.size).placed(area)
            yield Step(result, labels, fixed_labels, milliseconds, strangeness)
