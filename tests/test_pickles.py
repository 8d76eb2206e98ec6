"""Pickles from anybody: what real checkpoints hold is read, and what would do harm is refused."""

from __future__ import annotations

import math
import pickle
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pickle_fixtures import HARMFUL_ARRAYS, HARMFUL_TENSORS, PYTHON_2, arrays, checkpoint, tensors, torch_file
from torch import Tensor

from ttt_cli.model.array_pickle import Array, read_array_pickle
from ttt_cli.model.published.torch_pickle import read_torch_pickle

READERS: dict[str, Callable[[Path], Any]] = {"arrays": read_array_pickle, "tensors": read_torch_pickle}
FUZZ_SECONDS = 2.0


def written(content: bytes, folder: Path) -> Path:
    path = folder / "x.pkl"
    path.write_bytes(content)
    return path


def same_array(ours: Any, theirs: Any) -> None:
    assert isinstance(ours, Array) and ours.values is not None
    assert ours.values.dtype == theirs.dtype.newbyteorder("=") and ours.values.shape == theirs.shape
    np.testing.assert_array_equal(ours.values, theirs)


@pytest.mark.parametrize("numpy", ["core", "_core"])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_are_those_of_numpy(protocol: int, numpy: str, tmp_path: Path) -> None:
    content = checkpoint(protocol)
    for name in ("multiarray", "numeric"):
        old, new = (f"numpy.{core}.{name}".encode() for core in ("core", "_core"))
        wanted = {"core": old, "_core": new}[numpy]
        for written_name in (old, new):  # From protocol 4 on, texts have their length before them.
            content = content.replace(bytes([len(written_name)]) + written_name, bytes([len(wanted)]) + wanted)
            content = content.replace(b"c" + written_name, b"c" + wanted)
    assert (b"numpy._core" in content) == (numpy == "_core")
    read = read_array_pickle(written(content, tmp_path))
    assert (read["__author__"], read["matching_heuristics"]) == ("somebody", True)
    assert list(read["model"]) == list(arrays())
    for name, theirs in arrays().items():
        same_array(read["model"][name], theirs)
    assert read["model"]["the same again"] is read["model"]["Fortran"]


def test_a_checkpoint_of_python_2(tmp_path: Path) -> None:
    read = read_array_pickle(written(PYTHON_2, tmp_path))
    same_array(read["model"]["a"], pickle.loads(PYTHON_2, encoding="latin1")["model"]["a"])


@pytest.mark.parametrize("is_zip", [True, False])
def test_tensors_are_those_of_pytorch(is_zip: bool, tmp_path: Path) -> None:
    read = read_torch_pickle(written(torch_file(is_zip), tmp_path))
    theirs = torch.load(tmp_path / "x.pkl", weights_only=True)
    assert list(read) == list(theirs) == list(tensors())
    for name, value in theirs.items():
        if isinstance(value, Tensor):
            assert read[name].dtype == value.dtype and read[name].stride() == value.stride()
            assert torch.equal(read[name], value)
        else:
            assert read[name] == value


def test_tensors_share_memory_where_they_did(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    torch.save({"whole": whole, "part": whole[2:4]}, tmp_path / "x.pth")
    read = read_torch_pickle(tmp_path / "x.pth")
    read["whole"][2] = 9
    assert read["part"].tolist() == [9, 3]


ONE_PROCESS = """
import resource, sys
from pathlib import Path
from ttt_cli.core.errors import TttvError
from ttt_cli.model.published.checkpoint import read_tensors
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sorted(Path(sys.argv[1]).iterdir()):
    print(path.name, end=" ", flush=True)
    try:
        print(read_tensors(path))
    except TttvError as error:
        print("refused:", error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no way to ask how much memory a process took")
def test_files_that_would_do_harm(tmp_path: Path) -> None:
    """In a process of its own, which they would end."""
    (tmp_path / "files").mkdir()
    files = [(name, ".pkl", content) for name, content in HARMFUL_ARRAYS.items()]
    files += [(name, ".pth", content) for name, content in HARMFUL_TENSORS.items()]
    for number, (_, suffix, content) in enumerate(files):
        (tmp_path / "files" / f"{number:03}{suffix}").write_bytes(content)
    began = time.monotonic()
    arguments = [sys.executable, "-c", ONE_PROCESS, tmp_path / "files"]
    run = subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert run.returncode == 0, (run.returncode, run.stdout.splitlines()[-1:], run.stderr)
    assert time.monotonic() - began < 60
    *lines, megabytes = run.stdout.splitlines()
    assert int(megabytes) < 200
    for number, ((name, suffix, _), line) in enumerate(zip(files, lines, strict=True)):
        assert line.startswith(f"{number:03}{suffix} refused: "), (name, line)
    assert [path.name for path in tmp_path.iterdir()] == ["files"], "nothing was run"


@pytest.mark.skipif(sys.maxsize < 2**32, reason="addresses are of eight bytes")
@pytest.mark.parametrize("name", ["objects without their flag", "a field of objects", "objects from a buffer"])
def test_numpy_alone_does_not_survive_them(name: str, tmp_path: Path) -> None:
    """What the reader is for: if this fails, NumPy has become safer."""
    script = "import numpy, pickle, sys; numpy.array(pickle.load(open(sys.argv[1], 'rb'))['model']['a'])[0]"
    path = written(HARMFUL_ARRAYS[name], tmp_path)
    run = subprocess.run([sys.executable, "-c", script, path], capture_output=True, check=False)
    assert run.returncode not in (0, 1)


@pytest.mark.parametrize("kind", READERS)
def test_damaged_files(kind: str, tmp_path: Path) -> None:
    """A part of what tests/fuzz/pickles.py does."""
    dice = random.Random(0)
    whole = [torch_file(False), torch_file(True)] if kind == "tensors" else [checkpoint(2), checkpoint(4), PYTHON_2]
    ends, outcomes = time.monotonic() + FUZZ_SECONDS, set()
    while time.monotonic() < ends:
        content = bytearray(dice.choice(whole))
        for _ in range(dice.randint(1, 4)):
            start, length = dice.randrange(len(content)), dice.randint(1, 8)
            kinds = (
                dice.randbytes(length),
                content[start : start + 1] * length,
                b"",
                bytes(content[: dice.randrange(40)]),
            )
            content[start : start + dice.choice((0, 1, length))] = dice.choice(kinds)
        path = written(bytes(content), tmp_path)
        try:
            read = READERS[kind](path)
        except Exception as error:  # Almost any, as it says.
            outcomes.add(type(error))
            continue
        outcomes.add(type(read))
        found = [read.get("model", read)] if isinstance(read, dict) else []
        values = [value for table in found if isinstance(table, dict) for value in table.values()]
        sizes = [
            v.values.nbytes for v in {id(v): v for v in values if isinstance(v, Array)}.values() if v.values is not None
        ]
        assert sum(sizes) <= 2 * len(content)
        for value in values:
            if isinstance(value, Tensor) and value.numel():
                assert math.isfinite(float(value.double().nan_to_num().sum()) * 0.0)
    assert len(outcomes) > 2, "damage of several kinds, and files that are read all the same"
