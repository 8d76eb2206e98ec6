"""The folder `shared` next to the repository, or the folder that TTTV_SHARED names. Users do not have it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("TTTV_SHARED", Path(__file__).parents[2] / "shared"))


def shared(path: str) -> Path:
    """`path` inside the shared folder; skips the test if it does not exist."""
    full_path = ROOT / path
    if not full_path.exists():
        pytest.skip(f"needs {path} of the shared folder (set TTTV_SHARED to its folder)")
    return full_path
