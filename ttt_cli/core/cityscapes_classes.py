"""The 19 classes of Cityscapes that are scored, in the order of its train ids, with its colors."""

from __future__ import annotations

from ttt_cli.core.classes import Class

CITYSCAPES: tuple[Class, ...] = (
    Class("road", (128, 64, 128), False),
    Class("sidewalk", (244, 35, 232), False),
    Class("building", (70, 70, 70), False),
    Class("wall", (102, 102, 156), False),
    Class("fence", (190, 153, 153), False),
    Class("pole", (153, 153, 153), False),
    Class("traffic light", (250, 170, 30), False),
    Class("traffic sign", (220, 220, 0), False),
    Class("vegetation", (107, 142, 35), False),
    Class("terrain", (152, 251, 152), False),
    Class("sky", (70, 130, 180), False),
    Class("person", (220, 20, 60), True),
    Class("rider", (255, 0, 0), True),
    Class("car", (0, 0, 142), True),
    Class("truck", (0, 0, 70), True),
    Class("bus", (0, 60, 100), True),
    Class("train", (0, 80, 100), True),
    Class("motorcycle", (0, 0, 230), True),
    Class("bicycle", (119, 11, 32), True),
)
