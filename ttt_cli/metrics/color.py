"""How close colors are to the true colors, how strong they are, and how much they flicker."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ttt_cli.core.color import colored, gray_of, is_colored
from ttt_cli.core.labels import Chroma, Labels, Picture
from ttt_cli.metrics.base import Metric, Scores, mean_of_known
from ttt_cli.metrics.perceptual import InceptionFeatures, lpips, missing_metrics

HIGHEST_PSNR = 100.0
"""Decibels for a picture without error, whose PSNR is infinite."""
QUANTITIES = (
    "SSIM",
    "LPIPS",
    "flicker",
    "colorfulness",
    "colorfulness of the truth",
    "PSNR of gray",
    "SSIM of gray",
    "LPIPS of gray",
)


class ColorMetric(Metric):
    """PSNR of the colored picture in decibels: higher is better. Both protocols are the mean over frames.

    A frame whose truth is gray has no PSNR, SSIM and LPIPS. SSIM, 0..1: higher is better. LPIPS, FID and IS: see
    metrics/perceptual.py; they are missing or NaN if their networks are missing. Colorfulness (Hasler and Suesstrunk
    2003): 0 for gray, about 60 for vivid pictures; best if equal to the truth's. Flicker: the mean change of the
    prediction's chroma from frame to frame, in units of Lab: lower is better, but not 0 in a moving picture. Everything
    measured against the truth is also measured for the same picture in gray.
    """

    key: ClassVar[str] = "psnr"
    title: ClassVar[str] = "PSNR"
    unit: ClassVar[str] = "dB"

    def __init__(self, names: Sequence[str] = ()) -> None:
        super().__init__(names)
        self.frames: list[dict[str, float]] = []
        self.features = InceptionFeatures()
        self._previous: Tensor | None = None

    @classmethod
    def missing_metrics(cls) -> list[str]:
        return missing_metrics()

    def update(self, prediction: Labels, truth: Labels) -> None:
        """Counts one frame. truth: a Picture; the prediction's Chroma is combined with its lightness."""
        chroma, image = Chroma.expect(prediction), Picture.expect(truth).image
        predicted = colored(image, chroma)
        frame = {"colorfulness": colorfulness(predicted.float())}
        previous, self._previous = self._previous, chroma.ab
        if previous is not None and previous.shape == chroma.ab.shape:  # A title card and a picture may differ in size.
            frame["flicker"] = float((chroma.ab - previous).norm(dim=0).mean())
        reference = image if is_colored(image) else None
        if reference is not None:
            frame |= distances(predicted, reference)
            frame |= {f"{name} of gray": value for name, value in distances(gray_of(reference), reference).items()}
            frame["colorfulness of the truth"] = colorfulness(reference.float())
        self.features.update(predicted, reference)
        self.frames.append(frame)
        self.frame_scores.append(frame.pop("PSNR", math.nan))

    def __iadd__(self, other: ColorMetric) -> ColorMetric:
        self.frames += other.frames
        self.features += other.features
        self.frame_scores += other.frame_scores
        return self

    def compute(self) -> Scores:
        """The means over all frames."""
        psnr = mean_of_known(self.frame_scores)
        details = {name: mean_of_known([frame.get(name, math.nan) for frame in self.frames]) for name in QUANTITIES}
        return Scores(psnr, psnr, {}, {**details, **self.features.compute()})

    def counts(self) -> dict[str, Any]:
        return {"frames": self.frames, "features": self.features.as_json()}

    @classmethod
    def from_counts(cls, content: dict[str, Any]) -> ColorMetric:
        metric = cls(content["names"])
        metric.frames = list(content["frames"])
        metric.features = InceptionFeatures.from_json(content["features"])
        return metric


def distances(predicted: Tensor, truth: Tensor) -> dict[str, float]:
    """PSNR, SSIM and, if its network is present, LPIPS between two pictures, uint8 RGB (3, H, W)."""
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    pair = predicted[None].float(), truth[None].float()
    psnr = min(HIGHEST_PSNR, float(peak_signal_noise_ratio(*pair, data_range=255.0)))
    values = {"PSNR": psnr, "SSIM": float(_first(structural_similarity_index_measure(*pair, data_range=255.0)))}
    perceptual = lpips(predicted, truth)
    return values if perceptual is None else {**values, "LPIPS": perceptual}


def colorfulness(image: Tensor) -> float:
    """Hasler and Suesstrunk's measure for a picture, float RGB in 0..255, (3, H, W)."""
    red, green, blue = image
    opponents = torch.stack([red - green, (red + green) / 2 - blue]).flatten(1)
    return float(opponents.std(dim=1).norm() + 0.3 * opponents.mean(dim=1).norm())


def _first(value: Tensor | tuple[Tensor, ...]) -> Tensor:
    return value[0] if isinstance(value, tuple) else value
