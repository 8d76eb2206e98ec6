"""The fixed model, with f as preparation left it: what `tttv weights prepare` alone is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ttt_cli.adaptation.methods.base import Method


@dataclass(frozen=True)
class Prepared(Method):
    """Nothing is trained on the video. `joint` is the model as it was published."""

    needs_preparation: ClassVar[bool] = True
