"""LPIPS, FID and IS: how colors look to pretrained networks, if these are on this machine.

Their weights cannot come with the program. They are expected in torch's folder for downloads,
$TORCH_HOME/hub/checkpoints, which is ~/.cache/torch/hub/checkpoints unless TORCH_HOME is set. torchmetrics, which
takes seconds to import, is imported where it is needed.
"""

from __future__ import annotations

import base64
import pickle
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ttt_cli.core.errors import TttvError, printable

ALEXNET = "alexnet-owt-7be5be79.pth"
ALEXNET_FROM = f"https://download.pytorch.org/models/{ALEXNET}"
INCEPTION = "weights-inception-2015-12-05-6726825d.pth"
INCEPTION_FROM = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION}"


def missing_metrics() -> list[str]:
    """The metrics that cannot be computed on this machine and how to change that, one line for each network."""
    lines = []
    if not _file(ALEXNET).is_file():
        lines.append(f"LPIPS is left out: put {ALEXNET_FROM} into {printable(_file(ALEXNET).parent)}")
    if find_spec("torch_fidelity") is None:
        lines.append('FID and IS are left out: python -m pip install "tttv[perceptual]"')
    elif not _file(INCEPTION).is_file():
        lines.append(f"FID and IS are left out: put {INCEPTION_FROM} into {printable(_file(INCEPTION).parent)}")
    return lines


def lpips(predicted: Tensor, true: Tensor) -> float | None:
    """LPIPS by AlexNet between two pictures, uint8 RGB (3, H, W): lower is better, 0 if equal; None without AlexNet."""
    network = _alexnet()
    if network is None:
        return None
    with torch.no_grad():
        return float(network(*(image[None].float() / 127.5 - 1 for image in (predicted, true))))


class InceptionFeatures:
    """Inception's features of colored and of true pictures, for FID (lower is better) and IS (higher is better)."""

    NAMES = ("found", "logits", "true")

    def __init__(self) -> None:
        self.outputs: dict[str, list[Tensor]] = {name: [] for name in self.NAMES}

    def update(self, predicted: Tensor, true: Tensor | None) -> None:
        """Counts a colored picture, uint8 RGB (3, H, W), and its true picture if known; nothing without Inception."""
        network = _inception()
        if network is None:
            return
        with torch.no_grad():
            features, logits = network(predicted[None])
            self.outputs["found"].append(features[0].half())
            self.outputs["logits"].append(logits[0].half())
            if true is not None:
                self.outputs["true"].append(network(true[None])[0][0].half())

    def compute(self) -> dict[str, float]:
        """FID and IS over all pictures; what cannot be computed is missing. FID is always too high for few frames."""
        if not self.outputs["found"]:
            return {}
        from torchmetrics.image.fid import FrechetInceptionDistance
        from torchmetrics.image.inception import InceptionScore

        scores: dict[str, float] = {}
        pictures = {name: self.outputs[name] for name in ("found", "true")}
        features = {name: torch.stack(values).double() for name, values in pictures.items() if len(values) > 1}
        if len(features) == 2:
            distance = FrechetInceptionDistance(feature=_Stored(features["found"].shape[1]))
            for name, values in features.items():
                distance.update(values, real=name == "true")
            scores["FID"] = float(distance.compute())
        logits = torch.stack(self.outputs["logits"]).float()
        score = InceptionScore(feature=_Stored(logits.shape[1]), splits=min(10, len(logits)))
        score.update(logits)
        with torch.random.fork_rng():  # InceptionScore shuffles the pictures.
            torch.manual_seed(0)
            scores["IS"] = float(score.compute()[0])
        return scores

    def __iadd__(self, other: InceptionFeatures) -> InceptionFeatures:
        for name in self.NAMES:
            self.outputs[name] += other.outputs[name]
        return self

    def as_json(self) -> dict[str, Any]:
        """All features, for `from_json`: float16 in base64, one string for each picture."""
        return {
            name: [base64.b64encode(values.numpy().tobytes()).decode() for values in pictures]
            for name, pictures in self.outputs.items()
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> InceptionFeatures:
        """Reads the output of `as_json`."""
        features = cls()
        for name in cls.NAMES:
            arrays = (np.frombuffer(base64.b64decode(text), np.float16).copy() for text in content[name])
            features.outputs[name] = [torch.from_numpy(array) for array in arrays]
        return features


class _Stored(nn.Module):
    """Stands in for Inception when its features are already computed."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def _file(name: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / name


@cache
def _alexnet() -> nn.Module | None:
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    return _opened(ALEXNET, lambda path: LearnedPerceptualImagePatchSimilarity("alex"))


@cache
def _inception() -> nn.Module | None:
    if find_spec("torch_fidelity") is None:
        return None
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    return _opened(
        INCEPTION,
        lambda path: FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=path
        ),
    )


def _opened(name: str, build: Callable[[str], nn.Module]) -> nn.Module | None:
    path = _file(name)
    if not path.is_file():
        return None
    try:
        return build(str(path)).eval()
    except (RuntimeError, OSError, EOFError, KeyError, TypeError, AttributeError, pickle.UnpicklingError) as error:
        cause = printable(error).splitlines()[0]
        raise TttvError(f"{printable(path)}: is not the network that it should be ({cause}); get it again") from error
