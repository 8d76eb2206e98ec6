"""The peak memory of this process since the last `forget_peak`."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")


def forget_peak(device: torch.device) -> None:
    """Resets what `peak_mebibytes` measures."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):  # Only on Linux, and not in some containers. Otherwise the peak is that of the process.
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_mebibytes(device: torch.device) -> float | None:
    """On CUDA the peak of torch's device memory, else of the process's resident set; None if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        peak = re.search(r"VmHWM:\s*(\d+) kB", STATUS.read_text(encoding="ascii"))
    except OSError:
        return None
    return int(peak[1]) / 1024 if peak else None
