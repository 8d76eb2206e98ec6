"""The device and precision that the model computes with: what goes to the device, what comes back, and a clock for it.

A graphics card works behind the program, which only tells it what to do next. The loop waits for it in two places, so
that it always has something to do: where numbers are read, and once at the end of a frame, where its times are.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from ttt_cli.adaptation.settings import Precision
from ttt_cli.core.frame import Timing

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
Moment = float | torch.cuda.Event
"""Seconds on a clock, or on CUDA an event among the work that the device has been given."""


def place(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device. To CUDA it is copied while the program goes on, which takes memory that is pinned."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def total(tensors: Iterable[Tensor]) -> Tensor:
    """The sum of all numbers of some tensors of one device, a scalar, which is finite only if all of them are."""
    sums = [tensor.detach().float().sum() for tensor in tensors]
    return torch.stack(sums).sum() if sums else torch.zeros(())


@dataclass(frozen=True)
class Compute:
    """A device and the precision of forward passes on it."""

    device: torch.device
    precision: Precision
    """Of activations; parameters stay in float32."""

    @property
    def is_plain(self) -> bool:
        """Whether it is a CPU in single precision, for which model/quick.py is."""
        return self.device.type == "cpu" and self.precision == "fp32"

    def autocast(self) -> AbstractContextManager[object]:
        """A context whose forward passes are in `precision`."""
        dtype = DTYPES[self.precision]
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not torch.float32)

    def place(self, tensor: Tensor) -> Tensor:
        """The tensor on the device, see `place`."""
        return place(tensor, self.device)

    @staticmethod
    def read(*scalars: Tensor) -> list[float]:
        """The values of scalars of one device, all in one transfer: the only place where the loop waits for numbers."""
        values: list[float] = torch.stack([scalar.detach().float() for scalar in scalars]).tolist()
        return values

    def send(self, scalar: Tensor) -> Tensor:
        """A copy of a scalar on its way to the CPU, where it is when `timing` returns. Nothing waits for it here."""
        # CUDA copies to memory that PyTorch pins. On other devices nothing would say when it has arrived.
        return scalar.to("cpu", non_blocking=self.device.type == "cuda")

    @staticmethod
    def arrived(sent: Tensor) -> float:
        """The value of what `send` gave, once `timing` has returned."""
        return float(sent)

    def moment(self) -> Moment:
        """Now; on CUDA, when the device is done with all that it has been given. Nothing waits for it here."""
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self.device))
        return event

    def milliseconds(self, began: Moment, *ends: Moment) -> list[float]:
        """From each moment to the next, once the device has reached the last one."""
        last = ends[-1]
        if not isinstance(last, float):
            last.synchronize()
        return list(map(_between, (began, *ends[:-1]), ends))

    def timing(self, began: Moment, adapted: Moment) -> Timing:
        """How long a frame took that ends now: the only place where the loop waits for times."""
        return Timing(*self.milliseconds(began, adapted, self.moment()))


def _between(began: Moment, ended: Moment) -> float:
    if isinstance(began, float) and isinstance(ended, float):
        return (ended - began) * 1000
    assert not isinstance(began, float) and not isinstance(ended, float), "all moments are of one device"
    return float(began.elapsed_time(ended))
