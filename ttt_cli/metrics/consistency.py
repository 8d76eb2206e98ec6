"""Temporal consistency: how little a prediction flickers, measured as is usual in the field (Liu et al. 2020).

The classes of the previous frame are warped by the optical flow between the two frames and compared with the classes of
this frame by mIoU. This does not measure whether they are right: a model that always predicts nothing is perfectly
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
"""If the flow back and forth misses a pixel's start by more than this, it was hidden in one of the frames."""
NOTHING = "nothing"
"""The class of a pixel that no object or segment covers."""


class Consistency:
    """The consistency of one video, counted frame by frame."""

    def __init__(self, names: Sequence[str], shown_score: float) -> None:
        """names: of the classes. shown_score: objects with a lower score are not shown to a viewer.

        Raises TttvError if OpenCV, which computes the flow, is not installed.
        """
        try:
            import cv2
        except ModuleNotFoundError as error:
            raise TttvError('OpenCV is not installed; python -m pip install "tttv[consistency]"') from error
        self.metric = SemanticMetric((*names, NOTHING))
        """mIoU between each frame's classes and the warped classes of the previous frame."""
        self.shown_score = shown_score
        self._cv2 = cv2
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._previous: tuple[np.ndarray, np.ndarray] | None = None

    def update(self, image: Tensor, labels: Labels) -> None:
        """Counts the next frame, uint8 RGB (3, H, W), with its prediction at the same size."""
        gray = self._cv2.cvtColor(image.permute(1, 2, 0).contiguous().numpy(), self._cv2.COLOR_RGB2GRAY)
        classes = self._classes(labels)
        if self._previous is not None:
            warped = self._warped(gray, *self._previous)
            self.metric.update(ClassMap(torch.from_numpy(classes)), ClassMap(torch.from_numpy(warped)))
        self._previous = gray, classes

    def _classes(self, labels: Labels) -> np.ndarray:
        """Class ids, uint8 (H, W); pixels without a class have the last id."""
        nothing = len(self.metric.names) - 1
        class_map = labels.class_map(self.shown_score).numpy()
        return np.where(class_map == VOID, nothing, class_map).astype(np.uint8)

    def _warped(self, now: np.ndarray, previous: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """The classes of the previous frame where their pixels are now; 255 where a pixel was hidden."""
        back, forth = self._flow.calc(now, previous, None), self._flow.calc(previous, now, None)
        columns, rows = np.meshgrid(np.arange(now.shape[1]), np.arange(now.shape[0]))
        sources = np.stack([columns, rows], axis=-1).astype(np.float32) + back
        returned = self._cv2.remap(forth, sources, None, self._cv2.INTER_LINEAR)
        warped: np.ndarray = self._cv2.remap(
            classes, sources, None, self._cv2.INTER_NEAREST, borderMode=self._cv2.BORDER_CONSTANT, borderValue=VOID
        )
        warped[np.linalg.norm(back + returned, axis=-1) > LARGEST_MISMATCH_PIXELS] = VOID
        return warped
