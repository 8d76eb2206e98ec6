"""Finds the weights that a user names: ours, or a published model's. Importing this does not import torch."""

from __future__ import annotations

from pathlib import Path

from ttt_cli.core.errors import UsageError, printable
from ttt_cli.model.own import MAIN_ONLY, find, read_own
from ttt_cli.model.published.hub import hub_snapshot, looks_like_hub_id
from ttt_cli.model.published.selection import expand
from ttt_cli.model.published.snapshot import Snapshot, folder_snapshot, is_of_smp
from ttt_cli.model.published.weights import read_published
from ttt_cli.model.published.zhang_weights import is_torch_file, read_zhang
from ttt_cli.model.weights import Weights, with_companion


def open_weights(name: str, allow_pickle: bool = False) -> Weights:
    """Finds weights and reads their record.

    name: of weights of ours (RELEASES), or the path of a weights file, ours or that of Zhang et al.'s color network; a
    folder in the layout of transformers or of segmentation_models_pytorch; a short name of a published model
    (SHORT_NAMES), or the id of any on the Hugging Face hub, perhaps with @revision; detectron2:CONFIG.yaml#MODEL.pth;
    torchvision:NAME, or with #FILE.pth.
    allow_pickle: whether a published model may be loaded from a pickle if it has nothing else.
    Raises UsageError for an unknown name, TttvError for weights that are damaged or of an unknown kind.
    """
    return with_companion(open_alone(name, allow_pickle))


def open_alone(name: str, allow_pickle: bool = False) -> Weights:
    """The same without the companion file, if there is one."""
    if Path(name).is_dir():
        return _read_snapshot(folder_snapshot(name, allow_pickle=allow_pickle))
    if name.startswith("detectron2:"):
        from ttt_cli.model.published.detectron import read_detectron

        return read_detectron(name)
    if name.startswith("torchvision:"):
        from ttt_cli.model.published.torchvision import read_torchvision

        return read_torchvision(name)
    hub_id = expand(name)
    if looks_like_hub_id(hub_id):
        return _read_snapshot(hub_snapshot(hub_id, allow_pickle=allow_pickle))
    path = find(name)
    return read_zhang(path) if is_torch_file(path) else read_own(path)


def _read_snapshot(snapshot: Snapshot) -> Weights:
    if is_of_smp(snapshot):
        from ttt_cli.model.published.smp import read_smp

        return read_smp(snapshot)
    return read_published(snapshot)


def weights_for(method: str, weights: Weights) -> Weights:
    """The weights that a method runs with: `main-only` has its own, trained without l_s, beside `weights`.

    Raises UsageError if they are missing.
    """
    if method.split("+")[0] != MAIN_ONLY:
        return weights
    path = weights.path.with_name(f"{weights.path.stem}-{MAIN_ONLY}{weights.path.suffix}")
    if not path.exists():
        raise UsageError(
            f"method {MAIN_ONLY}: needs weights trained on only the main task, and there is no {printable(path)}; "
            "train them with tttv train --main-only"
        )
    return open_weights(str(path))
