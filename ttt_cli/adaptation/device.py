"""The device and precision that the model computes with, and a clock for it."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from ttt_cli.adaptation.settings import Precision

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


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

    def now(self) -> float:
        """Seconds on a clock, read after the device has finished all its work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
