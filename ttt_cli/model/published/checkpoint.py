"""Checkpoints of PyTorch: files from anybody, of which only tensors are read, so that no code in them runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ttt_cli.core.errors import TttvError, printable
from ttt_cli.core.replacing import replacing
from ttt_cli.model.published.torch_pickle import read_torch_pickle
from ttt_cli.model.released import read_pickle

# Normalization that the config gives, computed anchors, and counters of training.
UNUSED = re.compile(r"^pixel_(mean|std)$|\.cell_anchors\.\d+$|\.num_batches_tracked$")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name: a dict of them, or one under "model". A .pkl is read as detectron2's.

    Raises TttvError if the file cannot be read, holds anything but tensors and plain values, or no such dict.
    """
    if path.suffix == ".pkl":
        return read_pickle(path)
    shown = printable(path)
    try:
        content = read_torch_pickle(path)
    except Exception as error:  # Damaged pickles raise almost any exception.
        raise TttvError(
            f"{shown}: cannot be read: it is damaged, or holds more than tensors, which is not loaded; get it again"
        ) from error
    tensors = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise TttvError(f"{shown}: holds no tensors by name, neither at its top nor under 'model'")
    return tensors


def fill(model: nn.Module, tensors: Mapping[str, Tensor], shown: str) -> None:
    """Puts tensors into a model. Raises TttvError, which begins with `shown`, if they do not fit it exactly."""
    used = {name: tensor for name, tensor in tensors.items() if not UNUSED.search(name)}
    try:
        missing, unknown = model.load_state_dict(used, strict=False)
    except RuntimeError as error:
        *_, cause = str(error).strip().splitlines()
        raise TttvError(f"{shown}: tensors do not fit the model ({printable(cause.strip())})") from error
    missing = [name for name in missing if not UNUSED.search(name)]
    if missing or unknown:
        count, name = (len(missing), missing[0]) if missing else (len(unknown), unknown[0])
        what = "are missing" if missing else "are not known to the model"
        raise TttvError(f"{shown}: tensors do not fit the model ({count} {what}, {printable(name)} among them)")


def save_tensors(model: nn.Module, path: Path) -> None:
    """Writes a model's tensors as a checkpoint, through a temporary file."""
    with replacing(path) as temporary:
        torch.save({"model": model.state_dict()}, temporary)
