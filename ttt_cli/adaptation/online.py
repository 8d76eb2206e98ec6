"""Online test-time training: the paper's section 4.2. Read this file first.

A video is a smoothly changing sequence of frames x_1 ... x_T. Before the model predicts x_t, it is trained on x_t and
a few frames just before it, without labels or future frames:

    push x_t into a window of the last k frames            explicit memory
    start from f_{t-1}, g_{t-1}, not from f_0, g_0         implicit memory
    take one gradient step on l_s(g(f(masked x)), x) for a batch x drawn from the window
    predict h_0(f_t(x_t))                                  h never changes

Every video starts from f_0, g_0, and the model is restored at its end.
"""

from __future__ import annotations

import math
from collections.abc import Generator as Stream
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Generator, Tensor

from ttt_cli.adaptation.agreement import ChosenClamp
from ttt_cli.adaptation.auto_window import LARGEST, AutoWindow
from ttt_cli.adaptation.device import Compute, total
from ttt_cli.adaptation.familiarity import Familiarity
from ttt_cli.adaptation.memory import Batch, Snapshot, Window
from ttt_cli.adaptation.methods import method_named
from ttt_cli.adaptation.offline import OnOfflineStep
from ttt_cli.adaptation.optimizer import GuardedOptimizer, moving_parameters
from ttt_cli.adaptation.out_of_memory import Memory
from ttt_cli.adaptation.pace import Pace, pace_of
from ttt_cli.adaptation.predictors import Predictor
from ttt_cli.adaptation.prepared import prepared
from ttt_cli.adaptation.resuming import resume
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.core.frame import Frame, Prediction, Result, Video
from ttt_cli.model.published.replay import replaced
from ttt_cli.model.quick import quick_forwards
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.split import SplitModel
from ttt_cli.tasks.base import Task
from ttt_cli.video.cuts import Cuts


class Adapter:
    """Everything that changes while a video is processed. Make a new adapter for each video.

    model: changed in place during the video; `restore` brings f_0, g_0 back.
    """

    def __init__(
        self,
        model: SplitModel,
        task: Task,
        settings: AdaptationSettings,
        reconstruction: ReconstructionSettings,
        device: torch.device,
    ) -> None:
        self.model = model.eval()
        self.task = task
        self.settings = settings
        self.reconstruction = reconstruction
        self.compute = Compute(device, settings.precision)
        self.memory = Memory(settings)
        self.method = method_named(settings.method, settings.constants)
        self.published = None if self.method.as_published else prepared(model)
        self.moving = moving_parameters(model, self.method.parameters(model), settings)
        self.start = Snapshot(self.moving)
        self.average: Snapshot | None = None
        self.start_statistics = Snapshot(self.method.statistics(model))
        self.optimizer = GuardedOptimizer(model, self.moving, settings, self.compute) if self.moving else None
        self.forgetting = settings.forgetting if self.method.forgetting is None else self.method.forgetting
        steps = settings.steps if self.method.steps is None else self.method.steps
        self.steps = steps if self.moving else 0
        window = settings.window if self.method.window is None else self.method.window
        automatic = settings.auto_window and self.method.window is None and self.steps > 0
        self.auto_window = AutoWindow() if automatic else None
        self.window = Window(window or None, LARGEST if automatic else None, device)
        self.adapts = self.steps > 0 or self.method.looks_at_frames
        finds_scenes = settings.cuts == "reset" or (self.adapts and (settings.every > 1 or settings.budget > 0))
        self.cuts = Cuts() if finds_scenes else None
        self.expect(None)
        self.frames = 0
        self.due: str | None = None
        self.at_rest = False
        self.familiarity = Familiarity()
        self.clamp = ChosenClamp()
        self.predictor = self.method.predictor()
        self.quick = quick_forwards(model) if self.compute.is_plain else []
        self.generator = Generator().manual_seed(settings.seed)
        self.offline_seconds = 0.0

    def expect(self, length: int | None) -> None:
        """Sets the pace for a video of so many frames; None if that is not known."""
        self.pace = pace_of(self.settings, length) if self.adapts else Pace()

    def step(self, frame: Frame) -> Result:
        """Receives the next frame, adapts to it, and predicts it."""
        began = self.compute.moment()
        self.memory.place = f"frame {frame.index}"
        begins_scene = self.cuts is not None and self.cuts.begins_scene(frame.image)
        cut = begins_scene and self.settings.cuts == "reset"
        if cut:
            self.window.clear()
            self.predictor = self.method.predictor()
            self.clamp = ChosenClamp()
        known = self.task.prediction_without_model(frame.image)
        if known is not None:
            return Result(frame, known, None, 0, self.compute.timing(began, self.compute.moment()), cut=cut)
        if self.steps:
            self.window.push(frame.image)
        self.frames += 1
        due = self.due = self.pace.due(begins_scene)
        if due and not self.method.carry:
            self.reset()
        estimate = self.auto_window.update(self) if self.auto_window else None
        shared = due == "interval" and self.shares_forward
        losses = self.adapt_to(frame) if due and not shared else []
        adapted = self.compute.moment()
        if shared:
            prediction, losses = self.memory.step(lambda: self.predict_and_adapt(frame))
        else:
            prediction = self.predict_adapted(frame)
        prediction = self.method.after_predict(self, frame, prediction)
        checked = self.compute.send(total(prediction.numbers if self.moving else ()))
        timing = self.compute.timing(began, adapted)
        if not math.isfinite(self.compute.arrived(checked)):
            prediction, losses = self.predict_again(frame), [None] * max(len(losses), 1)
        finite = [loss for loss in losses if loss is not None]
        loss = sum(finite) / len(finite) if finite else None
        self.pace.record(timing, loss, self.at_rest)
        return Result(
            frame=frame,
            prediction=prediction,
            loss=loss,
            skipped_steps=len(losses) - len(finite),
            timing=timing,
            adapted=due,
            window_estimate=estimate,
            cut=cut,
            dead_zone=self.clamp.chosen,
            out_of_memory=self.memory.take_note(),
        )

    def adapt_to(self, frame: Frame) -> list[float | None]:
        """Takes the steps of a frame that is in the window. Returns the loss of each, None if it was undone."""
        self.method.before_step(self, frame)
        return [self.update() for _ in range(self.steps)]

    def update(self) -> float | None:
        """One gradient step on a batch from the window, see `descend`; if memory runs out, see `Memory`."""
        return self.memory.step(self._update)

    def _update(self) -> float | None:
        batch = self.window.sample(self.settings.batch, self.memory.crop, self.generator)
        return self.descend(self.loss(batch, self.generator))

    def descend(self, loss: Tensor) -> float | None:
        """A step down the gradient of a loss: the only place where an optimizer steps.

        A method that finds the video familiar takes no step, and is at rest until it looks again. Returns the loss, or
        None if loss or gradient was not finite and the step was undone.
        """
        assert self.optimizer is not None
        if self.method.may_rest:
            self.at_rest = self.method.finds_familiar(self.compute.read(loss)[0])
        moves = loss.requires_grad and not self.at_rest
        value = self.optimizer.step(loss) if moves else self.compute.read(loss)[0]
        if value is None:
            return None
        self.start.pull(self.forgetting)
        self.method.after_step(self)
        return value

    def loss(self, batch: Batch, generator: Generator) -> Tensor:
        """The method's loss on a batch, a scalar. generator: for the masks."""
        with self.compute.autocast(), self.memory.saving(self.model):
            return self.method.loss(self.model, batch.on(self.compute), self.reconstruction, generator)

    def predict_adapted(self, frame: Frame) -> Prediction:
        """The frame's prediction by the weights that the method predicts with."""
        with self.method.predicting(self):
            return self.predict(frame)

    def predict_again(self, frame: Frame) -> Prediction:
        """The prediction after a step that left numbers which are not finite: that step is undone, or else all are.

        Its loss and gradient were finite, and AdamW then moves a weight by a few learning rates at most, so weights are
        always finite. But they can be so large that f or h computes infinity with them, first of all in half precision.
        """
        assert self.optimizer is not None
        for go_back in (self.optimizer.undo, self.reset):
            go_back()
            self.predictor = self.method.predictor()
            prediction = self.method.after_predict(self, frame, self.predict_adapted(frame))
            if math.isfinite(self.compute.read(total(prediction.numbers))[0]):
                break
        return prediction

    def predict(self, frame: Frame) -> Prediction:
        """h_0(f_t(x_t)) on the whole frame, unmasked; or a vote or an average of such predictions."""
        return self.predictor(lambda image: self.memory.prediction(lambda: self.predict_image(image)), frame.image)

    @torch.no_grad()
    def predict_image(self, image: Tensor) -> Prediction:
        """h_0(f_t(x)) for RGB in 0..255, (3, H, W)."""
        with self.compute.autocast(), replaced(self.quick):
            return self.task.predict(self.model, self.model.encode(self.compute.place(image[None])))

    @property
    def shares_forward(self) -> bool:
        """Whether a frame's prediction and its step may share one forward pass of f, which a budget asks for."""
        settings = self.settings
        is_whole_frame = settings.batch == 1 and self.memory.crop == 1 and self.steps == 1
        is_one_prediction = type(self.predictor) is Predictor
        return bool(settings.budget) and self.method.shares_forward and is_whole_frame and is_one_prediction

    def predict_and_adapt(self, frame: Frame) -> tuple[Prediction, list[float | None]]:
        """h_0(f_{t-1}(x_t)) and a step from the same forward pass, which the next frames profit from.

        At rest the pass only measures the loss; a loss that asks for a step then gets it on the next frame.
        """
        with self.compute.autocast():
            image = self.compute.place(frame.image[None])
            if self.at_rest:
                with torch.no_grad(), replaced(self.quick):
                    encoded, loss = self.method.encode_with_loss(self.model, image)
            else:
                with self.memory.saving(self.model):
                    encoded, loss = self.method.encode_with_loss(self.model, image)
            with torch.no_grad(), replaced(self.quick):
                prediction = self.task.predict(self.model, encoded)
        return prediction, [self.descend(loss)]

    def reset(self) -> None:
        """Back to f_0, g_0, without any trace of past training; the window stays."""
        self.start.restore()
        self.start_statistics.restore()
        if self.average is not None:
            self.average = Snapshot(self.moving)
        self.generator.manual_seed(self.settings.seed)
        if self.optimizer is not None:
            self.optimizer.reset()

    def restore(self) -> None:
        """Back to f_0, g_0; if preparation had changed f_0, to the published f. After this, the adapter is done."""
        self.start.restore()
        self.start_statistics.restore()
        if self.published is not None:
            self.published.restore()

    @contextmanager
    def as_trained(self) -> Iterator[None]:
        """A context in which the model is f_0, g_0; afterwards it is the adapted model again."""
        with self.start.restored(), self.start_statistics.restored():
            yield


def walk(
    video: Video,
    adapter: Adapter,
    on_offline_step: OnOfflineStep = lambda done, total: None,
    state: dict[str, Any] | None = None,
) -> Stream[Result, None, None]:
    """Yields one result for each frame of a video, in order. The model stays adapted.

    state: of the adapter that saw the frames before these (adaptation/resuming.py).
    """
    adapter.expect(video.length)
    if state is None:
        adapter.method.begin(adapter, video, on_offline_step)
    else:
        resume(adapter, state)
    for frame in video.frames():
        yield adapter.step(frame)


def adapt(
    video: Video,
    adapter: Adapter,
    on_offline_step: OnOfflineStep = lambda done, total: None,
    state: dict[str, Any] | None = None,
) -> Stream[Result, None, None]:
    """Yields one result for each frame of a video, as `walk` does. However this ends, the model is restored."""
    try:
        yield from walk(video, adapter, on_offline_step, state)
    finally:
        adapter.restore()
