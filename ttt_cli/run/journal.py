"""What a run needs to go on after it was cut off, even by a loss of power: its state at its latest checkpoints."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ttt_cli.core.labels import Instance
from ttt_cli.draw.tracks import Seen
from ttt_cli.metrics.color import ColorMetric
from ttt_cli.metrics.perceptual import InceptionFeatures
from ttt_cli.metrics.semantic import SemanticMetric
from ttt_cli.run.folder import STATES
from ttt_cli.tasks.colorization import ColorPrediction
from ttt_cli.tasks.semantic import SemanticPrediction

RECORDS: list[Any] = [
    ColorMetric,
    ColorPrediction,
    InceptionFeatures,
    Instance,
    Seen,
    SemanticMetric,
    SemanticPrediction,
    frozenset,
]
"""What a state may hold besides numbers, texts, tensors, lists and dicts. Nothing else is made when it is read."""
STATES_KEPT = 2
DAMAGED = (ValueError, KeyError, TypeError, AttributeError, RuntimeError, EOFError, pickle.UnpicklingError)
"""What reading a damaged state raises."""


def packed(state: dict[str, Any]) -> bytes:
    """A state as bytes, for `Journal.write`."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def unpacked(content: bytes) -> dict[str, Any]:
    """The state that `packed` gave. Raises one of DAMAGED if it holds anything else."""
    with torch.serialization.safe_globals(RECORDS):
        state: dict[str, Any] = torch.load(io.BytesIO(content), weights_only=True)
    return state


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after a number of frames."""

    subject: dict[str, Any]
    """Everything that the rest of the run depends on besides."""
    frames: int
    """How many frames are done."""
    parts: dict[str, dict[str, Any]]
    """The states of the parts of the run."""


class Journal:
    """The checkpoints of a run in its folder of unfinished files. The last two are kept, lest one is damaged."""

    def __init__(self, folder: Path, subject: dict[str, Any]) -> None:
        self.folder, self.subject = folder, subject

    def write(self, frames: int, parts: dict[str, bytes]) -> None:
        """Adds a checkpoint. When this returns, it is on the disk. parts: see `packed`. Raises OSError."""
        digest = hashlib.sha256(b"".join(parts.values())).hexdigest()
        sizes = {name: len(content) for name, content in parts.items()}
        header = {"subject": self.subject, "frames": frames, "sizes": sizes, "sha256": digest}
        path = self.folder / STATES.replace("*", f"{frames:09d}")
        temporary = path.with_suffix(".part")
        try:
            with temporary.open("wb") as file:
                file.write(json.dumps(header).encode() + b"\n")
                file.writelines(parts.values())
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            temporary.unlink(missing_ok=True)  # The disk is full: there may be room for run.json now.
            raise
        temporary.replace(path)
        fsync([self.folder])
        for old in _states(self.folder)[STATES_KEPT:]:
            old.unlink()


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint of a journal; None if there is none. Raises OSError if it cannot be read."""
    for path in _states(folder):
        with suppress(*DAMAGED):
            return _read(path)
    return None


def _states(folder: Path) -> list[Path]:
    """The newest first."""
    return sorted(folder.glob(STATES), reverse=True)


def _read(path: Path) -> Checkpoint:
    line, _, content = path.read_bytes().partition(b"\n")
    header = json.loads(line)
    if hashlib.sha256(content).hexdigest() != header["sha256"]:
        raise ValueError("damaged")
    parts, begin = {}, 0
    for name, size in header["sizes"].items():
        parts[name] = unpacked(content[begin : begin + size])
        begin += size
    return Checkpoint(header["subject"], header["frames"], parts)


def fsync(paths: Iterable[Path]) -> None:
    """Waits until files and folders are on the disk, but for files that somebody has deleted, and Windows' folders."""
    for path in paths:
        with suppress(FileNotFoundError, PermissionError):
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
