"""The folder `shared` beside the repository, or wherever TTTV_SHARED says; absent on a user's machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("TTTV_SHARED", Path(__file__).parents[2] / "shared"))


def shared(path: str) -> Path:
    """`path` inside the shared folder; skips the test where it is absent."""
    found = ROOT / path
    if not found.exists():
        pytest.skip(f"needs {path} of the shared folder (set TTTV_SHARED to its folder)")
    return found
