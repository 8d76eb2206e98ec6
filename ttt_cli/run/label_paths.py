"""Where a run writes the label files of a model."""

from __future__ import annotations

from pathlib import Path


class LabelPaths:
    """The paths of one model's label files in a run's folder. suffix: of their names."""

    def __init__(self, path: Path, suffix: str = "") -> None:
        self.path, self.suffix = path, suffix
        self.masks = path / f"masks{suffix}"
        self.panoptic = path / f"panoptic{suffix}"
        self.kitti_step = path / f"kitti_step{suffix}"
        self.panoptic_json = path / f"panoptic{suffix}.json"
        self.instances = path / f"instances{suffix}.json"
        self.coco = path / f"coco{suffix}.json"
        self.unfinished = path / "unfinished"

    def picture_folders(self) -> tuple[Path, ...]:
        """The folders that get a picture of every frame."""
        return self.masks, self.panoptic, self.kitti_step

    def collections(self) -> tuple[Path, ...]:
        """The files that cover the whole video."""
        return self.panoptic_json, self.instances, self.coco
