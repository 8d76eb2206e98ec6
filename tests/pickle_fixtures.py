"""Pickles as checkpoints have them, and pickles that are meant to do harm, written operation by operation."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import torch

ADDRESS = struct.pack("<Q", 0x4141414141414141)
"""Eight bytes that would be taken for an address."""


def arrays() -> dict[str, object]:
    """Arrays and scalars of every dtype and layout that checkpoints have."""
    numbers = np.arange(24).reshape(2, 3, 4)
    dtypes = [f"{order}{code}" for order in "<>" for code in ("i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8")]
    found: dict[str, object] = {dtype: numbers.astype(dtype) for dtype in (*dtypes, "i1", "u1", "b1")}
    found["Fortran"] = np.asfortranarray(numbers.astype("f4"))
    found["Fortran, big-endian"] = np.asfortranarray(numbers.astype(">f8"))
    found["a part"] = numbers.astype("f4")[:, ::2, 1:3]
    found["no dimension"] = np.array(3.5, "f4")
    found["scalar"], found["truth"] = np.float64(-0.25), np.bool_(True)
    found["the same again"] = found["Fortran"]
    return found


def checkpoint(protocol: int) -> bytes:
    """A checkpoint of detectron2's with these arrays, as this NumPy writes it."""
    content = {"model": OrderedDict(arrays()), "__author__": "somebody", "matching_heuristics": True}
    return pickle.dumps(content, protocol)


PYTHON_2 = (
    b"\x80\x02}q\x00U\x05modelq\x01ccollections\nOrderedDict\nq\x02]q\x03]q\x04(U\x01aq\x05"
    b"cnumpy.core.multiarray\n_reconstruct\nq\x06cnumpy\nndarray\nq\x07K\x00\x85q\x08U\x01bq\t\x87q\nRq\x0b"
    b"(K\x01K\x02K\x03\x86q\x0ccnumpy\ndtype\nq\rU\x02f4q\x0eK\x00K\x01\x87q\x0fRq\x10(K\x03U\x01<q\x11NNN"
    b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x12b\x89U\x18"
    + np.float32([-1.5, 0, 3e8, 4, 255, 1e-9]).tobytes()
    + b"tq\x13be"
    b"a\x85q\x14Rq\x15s."
)
"""A checkpoint as Python 2 and NumPy 1 wrote it: bytes are texts, and an OrderedDict is made of pairs."""


def put(value: object) -> bytes:
    """Operations that put a plain value on the stack."""
    return pickle.dumps(value, 3)[2:-1]


def put_tuple(*parts: bytes) -> bytes:
    """Operations that make a tuple of what other operations put there."""
    return b"(" + b"".join(parts) + b"t"


def call(name: str, *arguments: bytes) -> bytes:
    """Operations that call something."""
    module, _, function = name.rpartition(".")
    return f"c{module}\n{function}\n".encode() + put_tuple(*arguments) + b"R"


def dtype(code: str, order: str = "<", *, names: bytes = put(None), fields: bytes = put(None), flags: int = 0) -> bytes:
    """A dtype, with a state that is set afterwards."""
    state = put_tuple(put(3), put(order), put(None), names, fields, put(8), put(1), put(flags))
    return call("numpy.dtype", put(code), put(False), put(True)) + state + b"b"


def array(shape: bytes, dtype: bytes, content: object) -> bytes:
    """An array, with a state that is set afterwards."""
    empty = call("numpy.core.multiarray._reconstruct", b"cnumpy\nndarray\n", put((0,)), put("b"))
    return empty + put_tuple(put(1), shape, dtype, put(False), put(content)) + b"b"


def file_of(value: bytes, key: bytes = put("a")) -> bytes:
    """A checkpoint with one tensor, which operations make."""
    return b"\x80\x02}" + put("model") + b"}" + key + value + b"ss."


OBJECT = dtype("O8", "|", flags=63)
F4 = dtype("f4")
DEEP = put(()) + b"\x85" * 200_000
HARMFUL_ARRAYS: dict[str, bytes] = {
    # Each of the first three made NumPy follow ADDRESS.
    "objects without their flag": file_of(array(put((1,)), dtype("O8", "|"), ADDRESS)),
    "a field of objects": file_of(
        array(
            put((1,)),
            dtype("V8", "|", names=put(("a",)), fields=b"}" + put("a") + put_tuple(OBJECT, put(0)) + b"s"),
            ADDRESS,
        )
    ),
    "objects from a buffer": file_of(
        call("numpy.core.numeric._frombuffer", put(ADDRESS), dtype("O8", "|"), put((1,)), put("C"))
    ),
    "objects": file_of(array(put((1,)), OBJECT, [1])),
    "dtype of a size of its own": file_of(array(put((1,)), dtype("V8", "|", flags=0), b"A" * 8)),
    "too few bytes": file_of(array(put((1000, 1000)), F4, b"A" * 8)),
    "too many bytes": file_of(array(put((1,)), F4, b"A" * 8)),
    "a shape that overflows": file_of(array(put((2**32, 2**32)), F4, b"")),
    "nothing, many times": file_of(array(put((0, 2**62, 2**62)), F4, b"")),
    "a negative shape": file_of(array(put((-1, -2)), F4, b"A" * 8)),
    "a shape of truths": file_of(array(put((True, 2)), F4, b"A" * 8)),
    "many dimensions": file_of(array(put((1,) * 100), F4, b"AAAA")),
    "a shape that is a number": file_of(array(put(2), F4, b"A" * 8)),
    "an array for a dtype": file_of(array(put((2,)), array(put((1,)), F4, b"AAAA"), b"A" * 8)),
    "a state twice": file_of(
        array(put((1,)), F4, b"AAAA") + put_tuple(put(1), put((1,)), F4, put(False), put(b"AAAA")) + b"b"
    ),
    "no state": file_of(call("numpy.core.multiarray._reconstruct", b"cnumpy\nndarray\n", put((0,)), put("b"))),
    "a function for an array": file_of(b"cnumpy\nndarray\n"),
    "ndarray is called": file_of(call("numpy.ndarray", put((1 << 40,)))),
    "a memo of 32 GB": b"\x80\x02}r\xff\xff\xff\xff.",
    "a string of 1 TB": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"A.",
    "a string of all memory": b"\x80\x04\x8e" + b"\xff" * 8 + b"A.",
    "a frame of 1 TB": b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"N.",
    "a number of 2 GB": b"\x80\x02\x8b\xff\xff\xff\x7fA.",
    "a number of a million digits": b"L" + b"9" * 1_000_000 + b"L\n.",
    "tuples in tuples, as a key": file_of(put(1), key=DEEP),
    "tuples in tuples, as a name": b"\x80\x04" + DEEP + b"\x8c\x01a\x93.",
    "tuples in tuples, as a shape": file_of(array(DEEP, F4, b"")),
    "more operations than fit": b"\x80\x02" + b"N" * 450_000 + b".",
    "a list in itself": b"\x80\x02]q\x00h\x00a.",
    "lists that double": b"\x80\x02" + b"]q\x00" + b"(h\x00h\x00lq\x00" * 100 + b".",
    "arrays that share their bytes": b"\x80\x02}"
    + put("model")
    + b"}"
    + put("z")
    + put("A" * 10_000)
    + b"q\x09s"
    + b"".join(
        put(str(n))
        + call("numpy.core.multiarray._reconstruct", b"cnumpy\nndarray\n", put((0,)), put("b"))
        + put_tuple(put(1), put((2500,)), F4, put(False), b"h\x09")
        + b"bs"
        for n in range(200)
    )
    + b"s.",
    "texts that share their characters": b"\x80\x02"
    + put("A" * 10_000)
    + b"q\x09"
    + call("_codecs.encode", b"h\x09", put("latin1")) * 200
    + b".",
    "a dict again and again": b"\x80\x02]("
    + b"".join(put([str(n), n]) for n in range(2000))
    + b"eq\x09"
    + b"ccollections\nOrderedDict\nh\x09\x85R" * 2000
    + b".",
    "marks without end": b"\x80\x02" + b"(" * 1000 + b"t" * 2000 + b".",
    "code": b"\x80\x02" + call("os.system", put("touch was-here")) + b".",
    "code by another operation": b"\x80\x02cos\nsystem\n" + put_tuple(put("touch was-here")) + b"\x81.",
    "code of another version": b"(S'touch was-here'\nios\nsystem\n.",
}
"""Each would end the process, fill the memory, run code, or take a checkpoint for what it is not."""


def tensors() -> dict[str, object]:
    """Tensors of every dtype and layout that checkpoints have, and some plain values."""
    numbers = torch.arange(24).reshape(2, 3, 4)
    dtypes = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16)
    found: dict[str, object] = {
        str(dtype): numbers.to(dtype) for dtype in (*dtypes, torch.int8, torch.uint8, torch.bool)
    }
    found["turned"], found["a part"] = numbers.float().permute(2, 0, 1), numbers.double()[:, 1:, ::2]
    found["no dimension"], found["nothing"] = torch.tensor(2.5), torch.empty(0, 3)
    found["a parameter"] = torch.nn.Parameter(torch.ones(2))
    found["plain"] = [1, -2.5, "text", None, True, (torch.Size([1, 2]),)]
    return found


def torch_file(is_zip: bool) -> bytes:
    """A file of torch.save with these tensors."""
    buffer = io.BytesIO()
    torch.save(OrderedDict(tensors()), buffer, _use_new_zipfile_serialization=is_zip)
    return buffer.getvalue()


def zip_file(
    pickled: bytes,
    storage: bytes = bytes(16),
    *,
    order: bytes = b"little",
    other: str = "archive/version",
    compression: int = zipfile.ZIP_STORED,
) -> bytes:
    """A zip file as torch.save writes it, with one storage and another entry."""
    buffer = io.BytesIO()
    entries = {"archive/data.pkl": pickled, "archive/byteorder": order, "archive/data/0": storage}
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in (*entries.items(), (other, pickled)):
            archive.writestr(name, content)
    return buffer.getvalue()


def legacy_file(pickled: bytes, keys: bytes = put(["0"]), storage: bytes = struct.pack("<q", 4) + bytes(16)) -> bytes:
    """A file as torch.save wrote it before version 1.6, with one storage."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    start = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, system)]
    return b"".join(start) + pickled + b"\x80\x02" + keys + b"." + storage


def storage(count: int = 4, kind: str = "Float", key: object = "0") -> bytes:
    """A reference to a storage."""
    return put_tuple(put("storage"), f"ctorch\n{kind}Storage\n".encode(), put(key), put("cpu"), put(count)) + b"Q"


def tensor(offset: object = 0, shape: object = (4,), strides: object = (1,), memory: bytes = storage()) -> bytes:
    """A pickle with one tensor."""
    hooks = call("collections.OrderedDict")
    parts = (memory, put(offset), put(shape), put(strides), put(False), hooks)
    return b"\x80\x02}" + put("a") + call("torch._utils._rebuild_tensor_v2", *parts) + b"s."


HARMFUL_TENSORS: dict[str, bytes] = {
    "a view behind its memory": zip_file(tensor(shape=(5,))),
    "a view behind its memory, by its offset": zip_file(tensor(offset=1)),
    "a view behind its memory, by its stride": zip_file(tensor(shape=(2, 2), strides=(3, 1))),
    "a view before its memory": zip_file(tensor(offset=-4)),
    "a view that goes back": zip_file(tensor(strides=(-1,))),
    "numbers that repeat": zip_file(tensor(shape=(1 << 20, 1 << 20), strides=(0, 0))),
    "a shape that overflows": zip_file(tensor(shape=(1 << 63, 2), strides=(0, 0))),
    "a stride too few": zip_file(tensor(shape=(2, 2))),
    "no shape": zip_file(tensor(shape=4, strides=1)),
    "many dimensions": zip_file(tensor(shape=(1,) * 100, strides=(1,) * 100)),
    "a storage of 1 TB": zip_file(tensor(memory=storage(1 << 38))),
    "a storage of less than nothing": zip_file(tensor(memory=storage(-1))),
    "a storage that is short": zip_file(tensor(), bytes(12)),
    "a storage that is long": zip_file(tensor(), bytes(20)),
    "a storage that is missing": zip_file(tensor(memory=storage(key="1"))),
    "a storage in another folder": zip_file(tensor(memory=storage(key="../data.pkl"))),
    "a storage without a name": zip_file(tensor(memory=storage(key=("0",)))),
    "a storage of tuples in tuples": zip_file(
        tensor(memory=put_tuple(put("storage"), b"ctorch\nFloatStorage\n", DEEP, put("cpu"), put(4)) + b"Q")
    ),
    "a tensor for a storage": zip_file(tensor(memory=tensor()[2:-1])),
    "another byte order": zip_file(tensor(), order=b"big"),
    "packed": zip_file(tensor(), bytes(1 << 20), compression=zipfile.ZIP_DEFLATED),
    "two pickles": zip_file(tensor(), other="b/data.pkl"),
    "no pickle": zip_file(b""),
    "tuples in tuples, as a key": zip_file(b"\x80\x02}" + DEEP + b"Ns."),
    "a tensor's state": zip_file(tensor()[:-2] + b"}bs."),
    "code": zip_file(b"\x80\x02" + call("os.system", put("touch was-here")) + b"."),
    "legacy, a storage that is long": legacy_file(tensor(memory=storage(1 << 38))),
    "legacy, a storage that is short": legacy_file(tensor(), storage=bytes(8)),
    "legacy, a storage that is missing": legacy_file(tensor(), keys=put([])),
    "legacy, a storage twice": legacy_file(tensor(), keys=put(["0", "0"]), storage=(bytes(8 + 16)) * 2),
    "legacy, tuples in tuples for storages": legacy_file(tensor(), keys=b"]" + DEEP + b"a"),
    "legacy, no magic": legacy_file(tensor())[40:],
    "legacy, code": legacy_file(b"\x80\x02" + call("os.system", put("touch was-here")) + b"."),
}
"""The same for files of torch.save."""
