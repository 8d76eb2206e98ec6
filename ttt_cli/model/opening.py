"""Finds the weights that a user names. Importing this does not import torch."""

from __future__ import annotations

from ttt_cli.core.errors import UsageError, printable
from ttt_cli.model.own import MAIN_ONLY, find, read_own
from ttt_cli.model.weights import Weights


def open_weights(name_or_path: str) -> Weights:
    """Finds weights and reads their record. Raises UsageError for an unknown name, TttvError for a bad file."""
    return read_own(find(name_or_path))


def weights_for(method: str, weights: Weights) -> Weights:
    """The weights that a method runs with: `main-only` has its own, trained without l_s, in a file beside `weights`.

    Raises UsageError if that file is missing.
    """
    if method.split("+")[0] != MAIN_ONLY:
        return weights
    path = weights.path.with_name(f"{weights.path.stem}-{MAIN_ONLY}{weights.path.suffix}")
    if not path.is_file():
        raise UsageError(
            f"method {MAIN_ONLY}: needs weights trained on only the main task, and there is no {printable(path)}; "
            "train them with tttv train --main-only"
        )
    return open_weights(str(path))
