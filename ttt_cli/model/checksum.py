"""The checksum that our files of weights carry in their metadata. Files of tttv 0.1 have none."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from ttt_cli.core.errors import TttvError, printable

KEY = "sha256"
"""Its name in the metadata."""


def checksum_of(record: str, tensors: Mapping[str, Tensor]) -> str:
    """The sha256, in hexadecimal, of a file's record and of the names, types, shapes and values of its tensors."""
    digest = hashlib.sha256(record.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_tensors(path: Path) -> tuple[dict[str, Tensor], bool]:
    """The tensors of a file of ours, and whether it carries a checksum.

    Raises TttvError if they do not have that checksum, SafetensorError or OSError if the file cannot be read.
    """
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    checksum = metadata.get(KEY)
    if checksum is not None and checksum != checksum_of(metadata["record"], tensors):
        raise TttvError(f"{printable(path)}: is damaged (its sha256 is not the one inside); get a complete copy")
    return tensors, checksum is not None


def require_finite(tensors: Iterable[tuple[str, Tensor]], path: Path) -> None:
    """Raises TttvError if a tensor of the file `path` holds a number that is not finite."""
    for name, tensor in tensors:
        if not torch.isfinite(tensor).all():
            raise TttvError(f"{printable(path)}: {printable(name)} holds numbers that are not finite; get a whole copy")
