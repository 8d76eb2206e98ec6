"""Fuzzes the readers of pickles with atheris (python -m pip install atheris; Linux and macOS).

    python tests/fuzz/pickles.py -max_total_time=600 CORPUS

CORPUS is a folder, which may be empty, where inputs are kept that reach new code. The first byte of an input says which
reader gets the rest. The process ends, and leaves the input behind, if a reader crashes, takes long, fills the memory
or makes more of a file than it holds; an exception is what it should end in.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
MEGABYTES, LONGEST = 2048, 65536

import numpy as np  # noqa: E402
import torch  # noqa: E402

with atheris.instrument_imports(include=["ttt_cli.model", "pickletools", "zipfile"]):
    from ttt_cli.model.array_pickle import Array, read_array_pickle
    from ttt_cli.model.published.torch_pickle import read_torch_pickle

from pickle_fixtures import HARMFUL_ARRAYS, HARMFUL_TENSORS, PYTHON_2, checkpoint, torch_file  # noqa: E402

READERS = (read_array_pickle, read_torch_pickle)


def seeds() -> list[bytes]:
    """What the tests have, small and sound or harmful."""
    arrays = [checkpoint(protocol) for protocol in range(6)] + [PYTHON_2, *HARMFUL_ARRAYS.values()]
    tensors = [torch_file(is_zip) for is_zip in (True, False)] + list(HARMFUL_TENSORS.values())
    inputs = [b"\0" + content for content in arrays] + [b"\1" + content for content in tensors]
    return [content for content in inputs if len(content) <= LONGEST]


def use(value: Any) -> int:
    """Touches all numbers of a value. Returns the bytes of its arrays; tensors are views."""
    if isinstance(value, Array):
        if value.values is None:
            return 0
        value.values.sum(dtype=np.float64)
        return value.values.nbytes
    if isinstance(value, torch.Tensor):
        value.double().sum().item()
    return 0


def read(data: bytes) -> None:
    """Has one reader read an input."""
    PATH.write_bytes(data[1:])
    try:
        found = READERS[data[0] % 2 if data else 0](PATH)
    except Exception:
        return
    table = found.get("model", found) if isinstance(found, dict) else {}
    values = table.values() if isinstance(table, dict) else [table]
    assert sum(use(value) for value in {id(value): value for value in values}.values()) <= 2 * len(data)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        PATH = Path(folder) / "input"
        start = Path(folder) / "seeds"
        start.mkdir()
        for number, seed in enumerate(seeds()):
            (start / str(number)).write_bytes(seed)
        atheris.Setup([*sys.argv, str(start), f"-max_len={LONGEST}", f"-rss_limit_mb={MEGABYTES}", "-timeout=20"], read)
        atheris.Fuzz()
