"""Offline test-time training (paper, section 6.1): first train on the whole video, then predict every frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ttt_cli.core.frame import Video

if TYPE_CHECKING:
    from ttt_cli.adaptation.online import Adapter

OnOfflineStep = Callable[[int, int], None]
"""Called with the number of steps done and the total."""


def train_offline(adapter: Adapter, video: Video, on_step: OnOfflineStep) -> None:
    """Takes as many steps as online training takes in one pass over the video. All frames are kept in memory.

    A second call continues the training.
    """
    if not adapter.window.images:
        for frame in video.frames():
            if adapter.task.prediction_without_model(frame.image) is None:
                adapter.window.push(frame.image)
    total = adapter.settings.steps * len(adapter.window.images)
    began = adapter.compute.moment()
    for done in range(total):
        adapter.update()
        on_step(done + 1, total)
    (milliseconds,) = adapter.compute.milliseconds(began, adapter.compute.moment())
    adapter.offline_seconds += milliseconds / 1000
