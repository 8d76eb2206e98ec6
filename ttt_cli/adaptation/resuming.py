"""The state of the adaptation to a video that was left off, so that it can go on as if it never had been."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ttt_cli.adaptation.memory import Snapshot

if TYPE_CHECKING:
    from ttt_cli.adaptation.online import Adapter
    from ttt_cli.core.resumable import Resumable


def state_of(adapter: Adapter) -> dict[str, Any]:
    """All that a video has changed so far. Tensors are not copied.

    Of f and g only what moves is in it, so that f_0 and g_0 must be the same when it goes on.
    """
    optimizer = adapter.optimizer
    return {
        "moving": [parameter.detach() for parameter in adapter.moving],
        "statistics": [buffer.detach() for buffer in adapter.start_statistics.parameters],
        "average": None if adapter.average is None else adapter.average.values,
        "optimizer": None if optimizer is None else optimizer.state(),
        "generator": adapter.generator.get_state(),
        "frames": adapter.frames,
        "at_rest": adapter.at_rest,
        "parts": {name: part and part.state() for name, part in _parts(adapter).items()},
    }


@torch.no_grad()
def resume(adapter: Adapter, state: dict[str, Any]) -> None:
    """Gives an adapter that is new, and has been told of the video's length, the state of an earlier one."""
    for present, value in zip(adapter.moving, state["moving"], strict=True):
        present.copy_(value)
    for buffer, value in zip(adapter.start_statistics.parameters, state["statistics"], strict=True):
        buffer.copy_(value)
    if state["average"] is not None:
        adapter.average = Snapshot(adapter.moving)
        adapter.average.values = state["average"]
    if adapter.optimizer is not None:
        adapter.optimizer.resume(state["optimizer"])
    adapter.generator.set_state(state["generator"])
    adapter.frames = state["frames"]
    adapter.at_rest = state["at_rest"]
    if state["parts"]["cuts"] is None:
        adapter.cuts = None  # The method has seen the whole video before.
    for name, part in _parts(adapter).items():
        if part is not None:
            part.resume(state["parts"][name])


def _parts(adapter: Adapter) -> dict[str, Resumable | None]:
    return {
        "memory": adapter.memory,
        "window": adapter.window,
        "auto_window": adapter.auto_window,
        "cuts": adapter.cuts,
        "pace": adapter.pace,
        "familiarity": adapter.familiarity,
        "clamp": adapter.clamp,
        "predictor": adapter.predictor,
    }
