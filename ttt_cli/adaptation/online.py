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

from collections.abc import Generator as Stream
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Generator, Tensor

from ttt_cli.adaptation.agreement import ChosenClamp
from ttt_cli.adaptation.auto_window import LARGEST, AutoWindow
from ttt_cli.adaptation.device import Compute
from ttt_cli.adaptation.familiarity import Familiarity
from ttt_cli.adaptation.memory import Batch, Snapshot, Window
from ttt_cli.adaptation.methods import method_named
from ttt_cli.adaptation.offline import OnOfflineStep
from ttt_cli.adaptation.optimizer import GuardedOptimizer, moving_parameters
from ttt_cli.adaptation.prepared import prepared
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.core.frame import Frame, Prediction, Result, Timing, Video
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
        self.window = Window(window or None, LARGEST if automatic else None)
        self.cuts = Cuts() if settings.cuts == "reset" else None
        self.familiarity = Familiarity()
        self.clamp = ChosenClamp()
        self.predictor = self.method.predictor()
        self.quick = quick_forwards(model) if self.compute.is_plain else []
        self.generator = Generator().manual_seed(settings.seed)
        self.frames = 0
        self.offline_seconds = 0.0

    def step(self, frame: Frame) -> Result:
        """Receives the next frame, adapts to it, and predicts it."""
        began = self.compute.now()
        cut = self.cuts is not None and self.cuts.begins_scene(frame.image)
        if cut:
            self.window.clear()
            self.predictor = self.method.predictor()
            self.clamp = ChosenClamp()
        known = self.task.prediction_without_model(frame.image)
        if known is not None:
            return Result(frame, known, None, 0, Timing((self.compute.now() - began) * 1000, 0.0), cut=cut)
        if self.steps:
            self.window.push(frame.image)
        due = self.frames % self.settings.every == 0
        self.frames += 1
        if due and not self.method.carry:
            self.reset()
        estimate = self.auto_window.update(self) if self.auto_window else None
        losses = self.adapt_to(frame) if due else []
        adapted = self.compute.now()
        with self.method.predicting(self):
            prediction = self.method.after_predict(self, frame, self.predict(frame))
        predicted = self.compute.now()
        finite = [loss for loss in losses if loss is not None]
        return Result(
            frame=frame,
            prediction=prediction,
            loss=sum(finite) / len(finite) if finite else None,
            skipped_steps=len(losses) - len(finite),
            timing=Timing((adapted - began) * 1000, (predicted - adapted) * 1000),
            window_estimate=estimate,
            cut=cut,
            dead_zone=self.clamp.chosen,
        )

    def adapt_to(self, frame: Frame) -> list[float | None]:
        """Takes the steps of a frame that is in the window. Returns the loss of each, None if it was undone."""
        self.method.before_step(self, frame)
        return [self.update() for _ in range(self.steps)]

    def update(self) -> float | None:
        """One gradient step on a batch from the window: the only place where an optimizer steps.

        A loss without gradient asks for no step. Returns the loss, or None if loss or gradient was not finite and the
        step was undone.
        """
        assert self.optimizer is not None
        loss = self.loss(self.window.sample(self.settings.batch, self.settings.crop, self.generator), self.generator)
        if loss.requires_grad and not self.optimizer.step(loss):
            return None
        self.start.pull(self.forgetting)
        self.method.after_step(self)
        return float(loss.detach())

    def loss(self, batch: Batch, generator: Generator) -> Tensor:
        """The method's loss on a batch, a scalar. generator: for the masks."""
        with self.compute.autocast():
            return self.method.loss(self.model, batch.to(self.compute.device), self.reconstruction, generator)

    def predict(self, frame: Frame) -> Prediction:
        """h_0(f_t(x_t)) on the whole frame, unmasked; or a vote or an average of such predictions."""
        return self.predictor(self.predict_image, frame.image)

    @torch.no_grad()
    def predict_image(self, image: Tensor) -> Prediction:
        """h_0(f_t(x)) for RGB in 0..255, (3, H, W)."""
        with self.compute.autocast(), replaced(self.quick):
            return self.task.predict(self.model, self.model.encode(image[None].to(self.compute.device)))

    def reset(self) -> None:
        """Back to f_0, g_0, without any trace of past training; the window stays."""
        self.start.restore()
        self.start_statistics.restore()
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
    video: Video, adapter: Adapter, on_offline_step: OnOfflineStep = lambda done, total: None
) -> Stream[Result, None, None]:
    """Yields one result for each frame of a video, in order. The model stays adapted."""
    adapter.method.begin(adapter, video, on_offline_step)
    for frame in video.frames():
        yield adapter.step(frame)


def adapt(
    video: Video, adapter: Adapter, on_offline_step: OnOfflineStep = lambda done, total: None
) -> Stream[Result, None, None]:
    """Yields one result for each frame of a video. However this ends, the model is restored."""
    try:
        yield from walk(video, adapter, on_offline_step)
    finally:
        adapter.restore()
