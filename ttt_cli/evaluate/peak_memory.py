"""The most memory that this process had in use since a moment of one's choice."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")


def forget_peak(device: torch.device) -> None:
    """From here on, `peak_mebibytes` counts anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):  # Linux alone has it, and some containers forbid it: then the peak is that of the process.
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_mebibytes(device: torch.device) -> float | None:
    """On CUDA the device's memory that torch had in use, else the process' resident set; None where nothing tells."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        found = re.search(r"VmHWM:\s*(\d+) kB", STATUS.read_text(encoding="ascii"))
    except OSError:
        return None
    return int(found[1]) / 1024 if found else None
