"""Turns published checkpoints into weights files of tttv."""

from __future__ import annotations

from pathlib import Path

from ttt_cli.core.classes import Class
from ttt_cli.core.coco_classes import COCO_INSTANCE, COCO_PANOPTIC
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.datasets.kitti_step import KITTI_STEP
from ttt_cli.model.own import OwnWeights, save_weights
from ttt_cli.model.released import load_released
from ttt_cli.model.settings import ReconstructionSettings
from ttt_cli.model.weights import ALL_TASKS

# By the number of classes in a published checkpoint: the classes, and the tasks it was trained for.
CHECKPOINT_CLASSES: dict[int, tuple[tuple[Class, ...], tuple[str, ...]]] = {
    19: (KITTI_STEP, ("semantic",)),
    80: (COCO_INSTANCE, ("instance",)),
    133: (tuple(COCO_PANOPTIC.values()), ALL_TASKS),
}


def import_checkpoint(path: Path, out: Path) -> OwnWeights:
    """Writes a checkpoint as a weights file. Raises what `load_released` raises, and TttvError for unknown classes."""
    model, count = load_released(path)
    if count not in CHECKPOINT_CLASSES:
        known = ", ".join(str(number) for number in CHECKPOINT_CLASSES)
        raise TttvError(f"{printable(path)}: knows {count} classes; only those with {known} have names here")
    classes, tasks = CHECKPOINT_CLASSES[count]
    weights = OwnWeights(
        path=out.absolute(),
        name=out.stem,
        tasks=tasks,
        classes=classes,
        license=f"that of {path.name}",
        model_size=model.size,
        reconstruction=ReconstructionSettings(),
        adaptation={},
    )
    save_weights(model, weights)
    return weights
