"""Reads pickles of NumPy arrays that come from anybody.

NumPy is never asked to unpickle: a dtype that is given a state of the file's choice takes bytes of the file for
addresses. Here arrays are made of what is known to be sound: a dtype of a short list, and as many bytes as the shape
calls for.
"""

from __future__ import annotations

import math
import mmap
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np

from ttt_cli.model.plain_pickle import Function, PickleReader

MOST_DIMENSIONS, LONGEST_SIDE = 32, 2**40
STORED = {code: code for code in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")}
"""The dtypes that are admitted, and how their values are read."""
STORED["b1"] = "u1"  # In a damaged file a byte may be neither 0 nor 1.
KNOWN = {
    *("collections.OrderedDict", "_codecs.encode", "numpy.dtype", "numpy.ndarray"),
    *("numpy.core.multiarray._reconstruct", "numpy.core.multiarray.scalar", "numpy.core.numeric._frombuffer"),
}
"""What a checkpoint names, as NumPy 1 spells it."""


@dataclass
class Dtype:
    """A dtype that is being described."""

    code: str
    """A key of STORED."""
    order: str = "="
    """Of the bytes, as NumPy writes it."""


@dataclass
class Array:
    """An array that is being described."""

    values: np.ndarray | None = None
    """In this machine's byte order; None until the file has told shape and bytes."""


def read_array_pickle(path: Path) -> Any:
    """What a pickle holds, with an `Array` for each array and each scalar of NumPy.

    Raises OSError if the file cannot be read, and almost any Exception if it is damaged or asks for anything else.
    """
    # A file that is mapped gives no more bytes than it has, however long a string is said to be.
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _ArrayReader(len(content)).read(content)  # type: ignore[arg-type]


class _ArrayReader(PickleReader):
    def __init__(self, size: int) -> None:
        super().__init__(2 * size)  # Bytes of an array may first be a text.

    def named(self, module: Any, name: Any) -> Function:
        is_new = isinstance(module, str) and module.startswith("numpy._core.")
        return super().named(module.replace("_core", "core") if is_new else module, name)

    def knows(self, name: str) -> bool:
        return name in KNOWN

    def call(self, function: Any, arguments: Any) -> Any:
        match function, arguments:
            case Function("_codecs.encode"), (str() as text, "latin1"):
                self.spend(len(text))
                return text.encode("latin1")
            case Function("numpy.dtype"), (str() as code, *_) if code in STORED:
                return Dtype(code)
            case Function("numpy.core.multiarray._reconstruct"), (Function("numpy.ndarray"), *_):
                return Array()
            case Function("numpy.core.multiarray.scalar"), (dtype, content):
                return Array(self.values((), dtype, False, content))
            case Function("numpy.core.numeric._frombuffer"), (content, dtype, shape, "C" | "F" as order):
                return Array(self.values(shape, dtype, order == "F", content))
        return super().call(function, arguments)

    def set_state(self, value: Any, state: Any) -> None:
        match value, state:
            case Dtype(), (_, "<" | ">" | "|" as order, None, None, None, *_):
                value.order = order
            case Array(values=None), (*_, shape, dtype, bool() | int() as is_fortran, content) if len(state) in (4, 5):
                value.values = self.values(shape, dtype, bool(is_fortran), content)
            case _:
                super().set_state(value, state)

    def values(self, shape: Any, dtype: Any, is_fortran: bool, content: Any) -> np.ndarray:
        """An array of the shape and dtype with these bytes, which Python 2 wrote as text."""
        if isinstance(content, str):
            content = content.encode("latin1")
        if not isinstance(dtype, Dtype) or not isinstance(content, (bytes, bytearray)):
            raise UnpicklingError("it has an array of other things than numbers")
        stored = np.dtype(dtype.order + STORED[dtype.code])
        is_shape = isinstance(shape, tuple) and len(shape) <= MOST_DIMENSIONS
        if not is_shape or not all(type(side) is int and 0 <= side <= LONGEST_SIDE for side in shape):
            raise UnpicklingError("it has an array whose shape is none")
        if math.prod(shape) * stored.itemsize != len(content):
            raise UnpicklingError("it has an array whose bytes do not fit its shape")
        self.spend(len(content))
        flat = np.frombuffer(content, stored).astype(dtype.code)
        return flat.reshape(shape, order="F" if is_fortran else "C")
