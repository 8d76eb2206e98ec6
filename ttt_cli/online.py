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
from collections.abc import Generator as Stream
from contextlib import AbstractContextManager

import torch
from torch import Generator, nn

from ttt_cli.adaptation import AdaptationSettings
from ttt_cli.frame import Frame, Prediction, Result, Timing, Video
from ttt_cli.memory import Snapshot, Window
from ttt_cli.methods import METHODS
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.reconstruction import ReconstructionSettings
from ttt_cli.tasks import semantic


class Adapter:
    """Everything that changes while one video is watched. Make a new one for each video.

    model: moved in place while the video runs; `restore` gives f_0, g_0 back.
    """

    def __init__(
        self,
        model: TwoHeadedModel,
        settings: AdaptationSettings,
        reconstruction: ReconstructionSettings,
        device: torch.device,
    ) -> None:
        self.model = model.eval()
        self.method = METHODS[settings.method]
        self.settings = settings
        self.reconstruction = reconstruction
        self.device = device
        self.generator = Generator().manual_seed(settings.seed)
        self.window = Window(settings.window)
        moving = list(self.method.parameters(model))
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        for parameter in moving:
            parameter.requires_grad_(True)
        self.start = Snapshot(moving)
        self.last_good = Snapshot(moving)
        self.optimizer = self._new_optimizer() if moving else None
        # Gradients in half precision vanish unless the loss is scaled up; in other precisions this does nothing.
        self.scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")

    def step(self, frame: Frame) -> Result:
        """Trains on the frame and the window before it, then predicts the frame."""
        began = self._now()
        self.window.push(frame)
        if not self.method.carry:
            self.restore()
        steps = self.settings.steps if self.optimizer is not None else 0
        losses = [self.update() for _ in range(steps)]
        trained = self._now()
        prediction = self.predict(frame)
        finished = self._now()

        good = [loss for loss in losses if loss is not None]
        return Result(
            frame=frame,
            prediction=prediction,
            loss=sum(good) / len(good) if good else None,
            skipped_steps=len(losses) - len(good),
            timing=Timing((trained - began) * 1000, (finished - trained) * 1000),
        )

    def update(self) -> float | None:
        """One gradient step on a batch from the window: the only place where an optimiser steps.

        Returns the loss, or None where loss or gradient was not finite: then the last weights that gave a finite
        loss are back, and the optimiser's own memory is cleared.
        """
        assert self.optimizer is not None
        images = self.window.sample(self.settings.batch, self.settings.crop, self.generator).to(self.device)
        with self._precision():
            loss = self.method.loss(self.model, images, self.reconstruction, self.generator)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.start.parameters, self.settings.gradient_norm)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            self.last_good.restore()
            self.scaler.update()
            self.optimizer = self._new_optimizer()
            return None
        self.last_good.capture()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.start.pull(self.settings.forgetting)
        return float(loss.detach())

    @torch.no_grad()
    def predict(self, frame: Frame) -> Prediction:
        """h_0(f_t(x_t)) on the whole frame, nothing hidden."""
        image = frame.image[None].to(self.device)
        with self._precision():
            queries = self.model.segment(self.model.encode(image))
        return semantic.postprocess(queries)

    def restore(self) -> None:
        """Back to f_0, g_0."""
        self.start.restore()

    def _new_optimizer(self) -> torch.optim.AdamW:
        settings = self.settings
        encoder_ids = {id(parameter) for parameter in self.model.encoder.parameters()}
        encoder = [parameter for parameter in self.start.parameters if id(parameter) in encoder_ids]
        heads = [parameter for parameter in self.start.parameters if id(parameter) not in encoder_ids]
        groups = [
            {"params": encoder, "lr": settings.learning_rate * settings.encoder_rate_factor},
            {"params": heads, "lr": settings.learning_rate},
        ]
        return torch.optim.AdamW(groups, weight_decay=settings.weight_decay)

    def _now(self) -> float:
        """Seconds on a clock, once the device has done all that it was given so far."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _precision(self) -> AbstractContextManager[object]:
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.settings.precision]
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not torch.float32)


def adapt(video: Video, adapter: Adapter) -> Stream[Result, None, None]:
    """Walks through a video, one result a frame, in order. However the walk ends, the model is as it was before."""
    try:
        for frame in video.frames():
            yield adapter.step(frame)
    finally:
        adapter.restore()
