"""How far apart the colors of classes are after blending: the smallest CIEDE2000 between two, over several grounds.

python benchmarks/palette.py
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence

import numpy as np
import torch

from ttt_cli.core.cityscapes_classes import CITYSCAPES
from ttt_cli.core.classes import CAMVID, Class
from ttt_cli.core.color import lab_of
from ttt_cli.draw.palette import distinct
from ttt_cli.video.settings import OutputSettings

GROUNDS = {"black": 0, "mid gray": 118, "bright": 235}
"""Gray values, 118 of half the lightness of white."""


def ciede2000(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The difference of colors as people see it (CIE 142-2001), between Lab colors (..., 3): (...)."""
    lightness_1, a_1, b_1 = np.moveaxis(np.asarray(first, float), -1, 0)
    lightness_2, a_2, b_2 = np.moveaxis(np.asarray(second, float), -1, 0)
    mean_chroma = (np.hypot(a_1, b_1) + np.hypot(a_2, b_2)) / 2
    stretch = 1.5 - 0.5 * np.sqrt(mean_chroma**7 / (mean_chroma**7 + 25.0**7))
    chroma_1, chroma_2 = np.hypot(stretch * a_1, b_1), np.hypot(stretch * a_2, b_2)
    hue_1 = np.degrees(np.arctan2(b_1, stretch * a_1)) % 360
    hue_2 = np.degrees(np.arctan2(b_2, stretch * a_2)) % 360
    gray = chroma_1 * chroma_2 == 0
    turn = np.where(gray, 0.0, (hue_2 - hue_1 + 180) % 360 - 180)
    hue = np.where(gray, hue_1 + hue_2, (hue_1 + turn / 2) % 360)
    lightness, chroma = (lightness_1 + lightness_2) / 2, (chroma_1 + chroma_2) / 2

    def cosine(factor: float, shift: float) -> np.ndarray:
        return np.asarray(np.cos(np.radians(factor * hue + shift)))

    weight = 1 - 0.17 * cosine(1, -30) + 0.24 * cosine(2, 0) + 0.32 * cosine(3, 6) - 0.20 * cosine(4, -63)
    by_lightness = 1 + 0.015 * (lightness - 50) ** 2 / np.sqrt(20 + (lightness - 50) ** 2)
    in_lightness = (lightness_2 - lightness_1) / by_lightness
    in_chroma = (chroma_2 - chroma_1) / (1 + 0.045 * chroma)
    in_hue = 2 * np.sqrt(chroma_1 * chroma_2) * np.sin(np.radians(turn / 2)) / (1 + 0.015 * chroma * weight)
    rotation = -np.sin(np.radians(60 * np.exp(-(((hue - 275) / 25) ** 2))))
    rotation = rotation * 2 * np.sqrt(chroma**7 / (chroma**7 + 25.0**7))
    return np.asarray(np.sqrt(in_lightness**2 + in_chroma**2 + in_hue**2 + rotation * in_chroma * in_hue))


def lab(colors: np.ndarray) -> np.ndarray:
    """RGB in 0..255, (N, 3), as Lab, (N, 3)."""
    return np.asarray(lab_of(torch.from_numpy(np.asarray(colors, np.float32)).T[:, :, None])[:, :, 0].T)


def nearest(classes: Sequence[Class], alpha: float, ground: int) -> tuple[float, str, str]:
    """The smallest difference between two classes drawn over a gray `ground` with opacity `alpha`, and their names."""
    colors = np.array([kind.color for kind in classes], float) * alpha + ground * (1 - alpha)
    blended = lab(colors)
    pairs = itertools.combinations(range(len(classes)), 2)
    return min((float(ciede2000(blended[i], blended[j])), classes[i].name, classes[j].name) for i, j in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--alpha", type=float, default=OutputSettings.alpha, help="opacity of the colors")
    alpha = parser.parse_args().alpha
    for title, official in {"CamVid, 11 classes": CAMVID, "Cityscapes, 19 classes": CITYSCAPES}.items():
        for palette, classes in {"ours": distinct(official), "official": official}.items():
            for ground, value in GROUNDS.items():
                difference, first, second = nearest(classes, alpha, value)
                print(f"{title}, {palette}, over {ground}: {difference:.1f} ({first}, {second})")


if __name__ == "__main__":
    main()
