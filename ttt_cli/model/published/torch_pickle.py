"""Reads checkpoints of PyTorch that come from anybody: files of torch.save, since version 1.6 (zip) and before.

`torch.load(weights_only=True)` runs no code of a file either, but some files end the process, and before PyTorch 2.10
they could corrupt its memory (CVE-2026-24747). Here a tensor is a view of bytes that is known to lie within them.
"""

from __future__ import annotations

import io
import math
import mmap
import zipfile
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from ttt_cli.model.plain_pickle import Function, PickleReader

DTYPES = {
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
KNOWN = {
    *("collections.OrderedDict", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter", "torch.Size"),
    *DTYPES,
}
"""What a checkpoint names."""
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
"""What the files of before begin with, each in a pickle of its own."""
MOST_DIMENSIONS, LARGEST = 32, 2**40


@dataclass(frozen=True)
class Storage:
    """The memory of tensors, which are views of it."""

    memory: bytearray
    values: Tensor
    """(N,), in the same memory."""

    @classmethod
    def empty(cls, dtype: torch.dtype, count: int) -> Storage:
        """Memory for so many values."""
        memory = bytearray(count * dtype.itemsize)
        return cls(memory, torch.frombuffer(memory, dtype=dtype) if count else torch.empty(0, dtype=dtype))

    def view(self, offset: Any, shape: Any, strides: Any) -> Tensor:
        """A tensor of some of the values. Raises UnpicklingError if it would not lie within them, or repeats them."""
        count = len(self.values)
        for numbers in (shape, strides, (offset,)):
            if not isinstance(numbers, tuple) or not all(type(n) is int and 0 <= n <= LARGEST for n in numbers):
                raise UnpicklingError("it has a tensor whose shape is none")
        last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
        if len(shape) > MOST_DIMENSIONS or math.prod(shape) > count or offset > count or (all(shape) and last >= count):
            raise UnpicklingError("it has a tensor that is larger than its memory")
        return self.values.as_strided(shape, strides, offset)

    def fill(self, content: bytes) -> None:
        """Sets all values. Raises UnpicklingError if there are fewer or more."""
        if len(content) != len(self.memory):
            raise UnpicklingError("it has fewer or more numbers than it says")
        if self.values.dtype == torch.bool:  # In a damaged file a byte may be neither 0 nor 1.
            content = bytes(map(bool, content))
        self.memory[:] = content


def read_torch_pickle(path: Path) -> Any:
    """What a file of torch.save holds: dicts, lists, tuples, plain values and tensors, which may share memory.

    Raises OSError if the file cannot be read, and almost any Exception if it is damaged or asks for anything else.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return _read_zip(archive, path.stat().st_size)
    # A file that is mapped gives no more bytes than it has, however long a string is said to be.
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _read_legacy(content)


def _read_zip(archive: zipfile.ZipFile, size: int) -> Any:
    entries = archive.infolist()
    # PyTorch does not compress. What is packed, or is there once for several entries, could fill any memory.
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or sum(e.file_size for e in entries) > size:
        raise UnpicklingError("it is not a zip file of PyTorch's")
    names = [entry.filename for entry in entries]
    (folder,) = (name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl"))
    if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
        raise UnpicklingError("its numbers have another byte order")
    reader = _TensorReader(size)
    found = reader.read(io.BytesIO(archive.read(f"{folder}data.pkl")))
    for key, storage in reader.storages.items():
        storage.fill(archive.read(f"{folder}data/{key}"))
    return found


def _read_legacy(content: mmap.mmap) -> Any:
    """A file from before version 1.6: five pickles, and then the storages, each behind its number of values."""
    reader = _TensorReader(len(content))
    magic, protocol, system, found, keys = (reader.read(content) for _ in range(5))  # type: ignore[arg-type]
    is_right = (magic, protocol, system["little_endian"]) == (MAGIC, PROTOCOL, True)
    if not is_right or not all(isinstance(key, str) for key in keys):
        raise UnpicklingError("it is not a file of PyTorch's")
    for key in keys:
        storage = reader.storages.pop(key)
        content.seek(8, io.SEEK_CUR)
        storage.fill(content.read(len(storage.memory)))
    if reader.storages:
        raise UnpicklingError("it lacks some of its numbers")
    return found


class _TensorReader(PickleReader):
    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.storages: dict[str, Storage] = {}

    def knows(self, name: str) -> bool:
        return name in KNOWN

    def refer(self, identity: Any) -> Storage:
        """A storage, whose values are not there yet."""
        match identity:
            case ("storage", Function(name), str() as key, str(), int() as count, *_) if name in DTYPES and count >= 0:
                if key not in self.storages:
                    self.spend(count * DTYPES[name].itemsize)
                    self.storages[key] = Storage.empty(DTYPES[name], count)
                return self.storages[key]
        raise UnpicklingError("it refers to something that is no memory of tensors")

    def call(self, function: Any, arguments: Any) -> Any:
        match function, arguments:
            case Function("torch.Size"), (tuple() as shape,):
                return shape
            case Function("torch._utils._rebuild_parameter"), (Tensor() as tensor, *_):
                return tensor
            case Function("torch._utils._rebuild_tensor_v2"), (Storage() as storage, offset, shape, strides, *_):
                return storage.view(offset, shape, strides)
        return super().call(function, arguments)
