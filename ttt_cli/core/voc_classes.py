"""The 21 classes of Pascal VOC, with its colors; the first is everything else."""

from __future__ import annotations

from ttt_cli.core.classes import Class

VOC: tuple[Class, ...] = (
    Class("background", (0, 0, 0), False),
    Class("aeroplane", (128, 0, 0), True),
    Class("bicycle", (0, 128, 0), True),
    Class("bird", (128, 128, 0), True),
    Class("boat", (0, 0, 128), True),
    Class("bottle", (128, 0, 128), True),
    Class("bus", (0, 128, 128), True),
    Class("car", (128, 128, 128), True),
    Class("cat", (64, 0, 0), True),
    Class("chair", (192, 0, 0), True),
    Class("cow", (64, 128, 0), True),
    Class("diningtable", (192, 128, 0), True),
    Class("dog", (64, 0, 128), True),
    Class("horse", (192, 0, 128), True),
    Class("motorbike", (64, 128, 128), True),
    Class("person", (192, 128, 128), True),
    Class("pottedplant", (0, 64, 0), True),
    Class("sheep", (128, 64, 0), True),
    Class("sofa", (0, 192, 0), True),
    Class("train", (128, 192, 0), True),
    Class("tvmonitor", (0, 64, 128), True),
)
