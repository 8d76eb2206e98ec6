"""Online test-time training: the paper's section 4.2. Read this file first.

A video is a smoothly changing sequence of frames x_1 ... x_T. Before it predicts x_t, the model is trained on x_t
itself and a few frames just before it, with no label and no frame of the future:

    push x_t into a window of the last k frames            explicit memory
    start from f_{t-1}, g_{t-1}, not from f_0, g_0         implicit memory
    take one gradient step on l_s(g(f(masked x)), x) for a batch x drawn from the window
    predict h_0(f_t(x_t))                                  h never moves

Every video starts from f_0, g_0, and the model is given back as it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Generator as Stream
from contextlib import AbstractContextManager

import torch
from torch import Generator, Tensor, nn

from ttt_cli.adaptation.auto_window import LARGEST, AutoWindow, WindowEstimate
from ttt_cli.adaptation.memory import Snapshot, Window
from ttt_cli.adaptation.methods import method_named
from ttt_cli.adaptation.optimizer import moving_parameters, new_optimizer
from ttt_cli.adaptation.reconstruction import ReconstructionSettings, reconstruction_loss
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.core.frame import Frame, Prediction, Result, Timing, Video
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.tasks.base import Task
from ttt_cli.video.cuts import Cuts

UNFAMILIAR = 1.6
"""Times the usual l_s: above that of all held-out stills by day, and below that of all of them in low light."""

OnStudy = Callable[[int, int], None]
"""Told how many steps of how many are done, where a method trains before the first prediction."""


class Adapter:
    """Everything that changes while one video is watched. Make a new one for each video.

    model: moved in place while the video runs; `restore` gives f_0, g_0 back.
    """

    def __init__(
        self,
        model: TwoHeadedModel,
        task: Task,
        settings: AdaptationSettings,
        reconstruction: ReconstructionSettings,
        device: torch.device,
    ) -> None:
        self.model = model.eval()
        self.task = task
        self.method = method_named(settings.method, settings.constants)
        self.settings = settings
        self.reconstruction = reconstruction
        self.device = device
        self.auto_window = AutoWindow() if settings.auto_window and self.method.window is None else None
        size = None if self.method.sees_all_first else self.method.window or settings.window or None
        self.window = Window(size, LARGEST if self.auto_window else None)
        self.cuts = Cuts() if settings.cuts == "reset" and not self.method.sees_all_first else None
        self.frames_seen = 0
        self.familiar = True
        self.predictor = self.method.predictor()
        self.moving = moving_parameters(model, self.method.parameters(model), settings)
        steps = (self.method.steps or settings.steps) if self.moving else 0
        self.steps, self.study_steps = (0, steps) if self.method.sees_all_first else (steps, 0)
        self.study_seconds = 0.0
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        for parameter in self.moving:
            parameter.requires_grad_(True)
        self.start = Snapshot(self.moving)
        self.start_statistics = Snapshot(self.method.statistics(model))
        self.last_good = Snapshot(self.moving)
        self.reset()

    def reset(self) -> None:
        """Back to f_0, g_0, with nothing remembered of past training; the window stays."""
        self.restore()
        self.generator = Generator().manual_seed(self.settings.seed)
        self.optimizer = new_optimizer(self.model, self.moving, self.settings) if self.moving else None
        # Gradients in half precision vanish unless the loss is scaled up; in other precisions this does nothing.
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.settings.precision == "fp16")

    def step(self, frame: Frame) -> Result:
        """Trains on the frame and the window before it, then predicts the frame."""
        began = self._now()
        cut = self._begin_scene(frame)
        known = self.task.without_model(frame.image)
        if known is not None:
            return Result(frame, known, None, 0, Timing((self._now() - began) * 1000, 0.0), cut=cut)
        self.frames_seen += 1
        if self.steps:
            self.window.push(frame.image)
        if not self.method.carry:
            self.reset()
        estimate = self._estimate_window()
        self._follow(frame)
        losses = [self.update() for _ in range(self.steps)]
        trained = self._now()
        prediction = self.predict(frame)
        self._teach_itself(prediction)
        finished = self._now()

        good = [loss for loss in losses if loss is not None]
        return Result(
            frame=frame,
            prediction=prediction,
            loss=sum(good) / len(good) if good else None,
            skipped_steps=len(losses) - len(good),
            timing=Timing((trained - began) * 1000, (finished - trained) * 1000),
            window_estimate=estimate,
            cut=cut,
        )

    def study(self, video: Video, on_study: OnStudy) -> None:
        """Offline: trains on the whole video, all in memory, as many steps as `online` takes in one go through it."""
        if not self.window.images:
            for frame in video.frames():
                if self.task.without_model(frame.image) is None:
                    self.window.push(frame.image)
        total = self.study_steps * len(self.window.images)
        began = self._now()
        for done in range(total):
            self.update()
            on_study(done + 1, total)
        self.study_seconds += self._now() - began

    def update(self) -> float | None:
        """One gradient step on a batch from the window: the only place where an optimiser steps.

        Returns the loss, or None where loss or gradient was not finite: then the last weights that gave a finite
        loss are back, and the optimiser's own memory is cleared.
        """
        assert self.optimizer is not None
        batch = self.window.sample(self.settings.batch, self.settings.crop, self.generator).to(self.device)
        with self._precision():
            loss = self.method.loss(self.model, batch, self.reconstruction, self.generator)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.moving, self.settings.gradient_norm)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            self.last_good.restore()
            self.scaler.update()
            self.optimizer = new_optimizer(self.model, self.moving, self.settings)
            return None
        self.last_good.capture()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.start.pull(self.settings.forgetting)
        return float(loss.detach())

    @torch.no_grad()
    def predict(self, frame: Frame) -> Prediction:
        """h_0(f_t(x_t)) on the whole frame, nothing hidden."""
        prediction = self.predictor(self._predict, frame.image)
        if self.method.balance is None:
            return prediction
        moved = Snapshot([*self.start.parameters, *self.start_statistics.parameters])
        self.restore()
        fixed = self._predict(frame.image)
        if self.method.balance.is_lost(fixed, prediction):
            self.reset()
            return fixed
        moved.restore()
        return prediction

    def _begin_scene(self, frame: Frame) -> bool:
        """Whether a scene begins with this frame; what is remembered of the one before is forgotten then."""
        if self.cuts is None or not self.cuts.begins_scene(frame.image):
            return False
        self.window.clear()
        self.predictor = self.method.predictor()
        return True

    def _follow(self, frame: Frame) -> None:
        """Statistics follow the frame, for methods that want it, where they ask for it on video that is unfamiliar."""
        every = self.method.probe_every
        if every and (self.frames_seen - 1) % every == 0:
            self.familiar = self._looks_familiar(frame)
        if not (every and self.familiar):
            self.method.look(self.model, frame.image[None].to(self.device))
            self.start_statistics.pull(self.settings.forgetting)

    def _teach_itself(self, prediction: Prediction) -> None:
        """Keeps the prediction as a label for later steps, for methods that want it and video that is familiar."""
        pseudo_labels = self.method.pseudo_labels(prediction) if self.steps and self.familiar else None
        if pseudo_labels is not None:
            self.window.label(pseudo_labels)

    @torch.no_grad()
    def _looks_familiar(self, frame: Frame) -> bool:
        """Whether f_0, g_0 reconstruct the frame nearly as well as pictures like those that they were trained on."""
        usual = self.reconstruction.familiar_loss
        if usual is None:
            return True
        moved = Snapshot([*self.start.parameters, *self.start_statistics.parameters])
        self.restore()
        generator = Generator().manual_seed(self.frames_seen)
        with self._precision():
            loss = reconstruction_loss(self.model, frame.image[None].to(self.device), self.reconstruction, generator)
        moved.restore()
        return float(loss) <= UNFAMILIAR * usual

    def restore(self) -> None:
        """Back to f_0, g_0."""
        self.start.restore()
        self.start_statistics.restore()

    def _estimate_window(self) -> WindowEstimate | None:
        if self.auto_window is None or not self.steps or not self.auto_window.is_due(self.frames_seen):
            return None
        if len(self.window.images) < 2:
            return None
        encoder = list(self.model.encoder.parameters())
        moving = [parameter for parameter in encoder if parameter.requires_grad]

        def gradient_of(frames_back: int, mask: int) -> list[Tensor]:
            batch = self.window.only(frames_back).to(self.device)
            generator = Generator().manual_seed(mask)
            with self._precision():
                loss = self.method.loss(self.model, batch, self.reconstruction, generator)
            return [gradient.float() for gradient in torch.autograd.grad(loss, moving)]

        estimate = self.auto_window.estimate(gradient_of)
        self.window.size = estimate.window
        return estimate

    def _predict(self, image: Tensor) -> Prediction:
        with self._precision():
            features = self.model.encode(image[None].to(self.device))
            return self.task.predict(self.model, features)

    def _now(self) -> float:
        """Seconds on a clock, once the device has done all that it was given so far."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _precision(self) -> AbstractContextManager[object]:
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.settings.precision]
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not torch.float32)


def adapt(video: Video, adapter: Adapter, on_study: OnStudy = lambda done, total: None) -> Stream[Result, None, None]:
    """Walks through a video, one result a frame, in order. However the walk ends, the model is as it was before."""
    try:
        if adapter.method.sees_all_first:
            adapter.study(video, on_study)
        for frame in video.frames():
            yield adapter.step(frame)
    finally:
        adapter.restore()
