"""Temporal consistency: how much a prediction flickers, in the form that the field uses (Liu et al. 2020).

The classes of the frame before are carried along by the optical flow between the two frames, and compared with those of
this frame by mIoU. Nothing is said of whether they are right: a model that sees nothing anywhere is perfectly
consistent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ttt_cli.core.classes import VOID
from ttt_cli.core.errors import TttvError
from ttt_cli.core.labels import ClassMap, Labels
from ttt_cli.metrics.semantic import SemanticMetric

LARGEST_MISMATCH_PIXELS = 1.5
"""Where the flow forth and back does not lead home by so much, the pixel was hidden in one of the frames."""
NOTHING = "nothing"
"""The class of a pixel that no object or segment covers."""


class Consistency:
    """One video, frame by frame. metric: mIoU between each frame's classes and those carried along from before."""

    def __init__(self, names: Sequence[str], shown_score: float) -> None:
        """names: of the classes. shown_score: objects below it are not seen by a viewer.

        Raises TttvError where OpenCV, which computes the flow, is not installed.
        """
        try:
            import cv2
        except ModuleNotFoundError as error:
            raise TttvError('OpenCV is not installed; python -m pip install "tttv[consistency]"') from error
        self.metric = SemanticMetric((*names, NOTHING))
        self.shown_score = shown_score
        self._cv2 = cv2
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._before: tuple[np.ndarray, np.ndarray] | None = None

    def update(self, image: Tensor, labels: Labels) -> None:
        """Takes the next frame, uint8 RGB (3, H, W), and what is predicted for it, as large."""
        gray = self._cv2.cvtColor(image.permute(1, 2, 0).contiguous().numpy(), self._cv2.COLOR_RGB2GRAY)
        classes = self._classes(labels)
        if self._before is not None:
            carried = self._carried(gray, *self._before)
            self.metric.update(ClassMap(torch.from_numpy(classes)), ClassMap(torch.from_numpy(carried)))
        self._before = gray, classes

    def _classes(self, labels: Labels) -> np.ndarray:
        """uint8 (H, W), the last id where there is nothing."""
        nothing = len(self.metric.names) - 1
        class_map = labels.class_map(self.shown_score).numpy()
        return np.where(class_map == VOID, nothing, class_map).astype(np.uint8)

    def _carried(self, now: np.ndarray, before: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """The classes of the frame before where their pixels are now; 255 where a pixel was not to be seen."""
        back, forth = self._flow.calc(now, before, None), self._flow.calc(before, now, None)
        columns, rows = np.meshgrid(np.arange(now.shape[1]), np.arange(now.shape[0]))
        places = np.stack([columns, rows], axis=-1).astype(np.float32) + back
        returned = self._cv2.remap(forth, places, None, self._cv2.INTER_LINEAR)
        carried: np.ndarray = self._cv2.remap(
            classes, places, None, self._cv2.INTER_NEAREST, borderMode=self._cv2.BORDER_CONSTANT, borderValue=VOID
        )
        carried[np.linalg.norm(back + returned, axis=-1) > LARGEST_MISMATCH_PIXELS] = VOID
        return carried
