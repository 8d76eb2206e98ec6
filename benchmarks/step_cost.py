"""Seconds of one step of test-time training over those of one prediction, with everything that makes steps cheaper.

python benchmarks/step_cost.py street
python benchmarks/step_cost.py swin-s --vary "" depth=2 depth=2,crop=0.5 --methods online

`shared` is a step that shares f's forward pass with the prediction, and costs what both take beyond a prediction alone.
The model is one that `--weights` takes, or one of MODELS with random weights. A prediction is f and h, up to the
probabilities of classes. In each round the prediction and every kind of step take their turn, in one process. Seconds
are those of the processor, which other processes do not disturb; with OMP_NUM_THREADS=1 they are seconds of one core.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional

from ttt_cli.adaptation.methods import METHODS, constants_of
from ttt_cli.adaptation.online import Adapter
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.core.classes import CAMVID
from ttt_cli.core.errors import UsageError
from ttt_cli.core.frame import Frame
from ttt_cli.core.pictures import IMAGENET
from ttt_cli.core.toml import from_table
from ttt_cli.model.feature_statistics import FeatureStatistics
from ttt_cli.model.light_head import LightHead
from ttt_cli.model.opening import open_weights
from ttt_cli.model.published.families import FAMILIES
from ttt_cli.model.published.model import Normalization, PublishedModel
from ttt_cli.model.published.replay import Forward, replaced
from ttt_cli.model.quick import quick_forwards
from ttt_cli.model.settings import EncoderSize, HeadSize, ModelSize, ReconstructionSettings
from ttt_cli.model.split import OUTPUT_STRIDE, Encoded, SplitModel
from ttt_cli.model.two_headed import TwoHeadedModel
from ttt_cli.preparation.settings import PreparationSettings
from ttt_cli.run.overrides import parse_assignments
from ttt_cli.tasks.semantic import SemanticPrediction, SemanticTask

CPU = torch.device("cpu")
VISIBLE_ONLY = "visible-only"
SHARED = "shared"
VARIATIONS = ("", SHARED, "depth=4", "depth=2", "depth=1", "moves=norm", "moves=bias", "depth=2,moves=bias", "crop=0.5")
ALWAYS_STEPS = {"dead_zone": 0.0, "familiar": 0.0}
"""Constants with which `align` takes a step on any frame."""


def published(model: Any) -> PublishedModel:
    """A model of transformers, split."""
    return PublishedModel(model, FAMILIES[type(model).__name__], Normalization(IMAGENET.mean, IMAGENET.deviation), {})


def swin_s() -> PublishedModel:
    """Mask2Former on Swin-S, as it is published for Cityscapes."""
    stages = ["stage1", "stage2", "stage3", "stage4"]
    backbone = transformers.SwinConfig(depths=[2, 2, 18, 2], window_size=7, out_features=stages)
    config = transformers.Mask2FormerConfig(backbone_config=backbone, num_labels=19)
    return published(transformers.Mask2FormerForUniversalSegmentation(config))


def swin_s_full() -> TwoHeadedModel:
    """The paper's model: Swin-S with two heads of Mask2Former in full size."""
    head = HeadSize(
        queries=100,
        channels=256,
        attention_heads=8,
        pixel_decoder_layers=6,
        pixel_decoder_feedforward=1024,
        decoder_layers=9,
        decoder_feedforward=2048,
    )
    return TwoHeadedModel(ModelSize(EncoderSize("swin"), head, head, size_divisor=32), 19).eval()


def eomt_b() -> PublishedModel:
    """EoMT on ViT-B, for squares of 480 pixels."""
    sizes = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "num_blocks": 3}
    config = transformers.EomtConfig(**sizes, image_size=480, patch_size=16, num_queries=100, num_labels=19)
    return published(transformers.EomtForUniversalSegmentation(config))


def dpt_b() -> PublishedModel:
    """DPT on ViT-B, for squares of 480 pixels."""
    return published(transformers.DPTForSemanticSegmentation(transformers.DPTConfig(image_size=480, num_labels=19)))


def beit_b() -> PublishedModel:
    """BEiT-B, for squares of 480 pixels."""
    outputs = [3, 5, 7, 11]
    config = transformers.BeitConfig(
        image_size=480, use_relative_position_bias=True, out_indices=outputs, num_labels=19
    )
    return published(transformers.BeitForSemanticSegmentation(config))


MODELS: dict[str, Callable[[], SplitModel]] = {
    "swin-s": swin_s,
    "swin-s-full": swin_s_full,
    "eomt-b": eomt_b,
    "dpt-b": dpt_b,
    "beit-b": beit_b,
}


@torch.no_grad()
def ready(name: str, picture: Tensor) -> SplitModel:
    """A model with everything that the methods need. picture: (1, 3, H, W)."""
    torch.manual_seed(0)
    model = MODELS[name]() if name in MODELS else open_weights(name).load()
    if model.ordinary_features is None:
        others = [picture, picture // 2]
        model.ordinary_features = FeatureStatistics.of(model.channel_statistics(other) for other in others)
    if model.reconstruction_head is None:
        encoded = model.encode(picture)
        channels = [map_.shape[1] for map_ in model.maps(encoded)]
        model.reconstruction_head = LightHead(channels, PreparationSettings.head_width, model.strides(encoded)).eval()
        model.add_mask_input({})
    return model


def settings_of(method: str, variation: str) -> AdaptationSettings:
    """The settings of a method, with some that a variation such as "depth=2,crop=0.5" gives."""
    given = [f"adaptation.{part}" for part in variation.split(",") if part and part not in (VISIBLE_ONLY, SHARED)]
    known = constants_of(method)
    constants = {name: value for name, value in ALWAYS_STEPS.items() if name in known}
    table = parse_assignments(given).get("adaptation", {})
    return from_table(AdaptationSettings, {"method": method, "constants": constants, **table}, variation)


class Probabilities(SemanticTask):
    """Predicts by any model's probabilities of classes, as `predict_seconds` does."""

    def predict(self, model: SplitModel, features: Encoded) -> SemanticPrediction:
        """The prediction from the features of a batch of one."""
        probabilities = model.class_probabilities(features)[0]
        height, width = (side * OUTPUT_STRIDE for side in probabilities.shape[-2:])
        return SemanticPrediction(probabilities, (height, width))


def predict_seconds(model: SplitModel, picture: Tensor, quick: list[tuple[nn.Module, Forward]]) -> float:
    """Processor seconds of one prediction, by the quicker forward passes that predictions take on a CPU."""
    began = time.process_time()
    with torch.no_grad(), replaced(quick):
        model.class_probabilities(model.encode(picture))
    return time.process_time() - began


def step_seconds(model: SplitModel, picture: Tensor, method: str, variation: str) -> float:
    """Processor seconds of one step, the second one: the first one also makes what the optimizer keeps.

    With SHARED these are the seconds of a prediction and a step that share f's forward pass.
    """
    if isinstance(model, PublishedModel):
        model.visible_only = VISIBLE_ONLY in variation.split(",")
    settings = settings_of(method, variation)
    reconstruction = dataclasses.replace(ReconstructionSettings(), target="image")
    adapter = Adapter(model, Probabilities(CAMVID), settings, reconstruction, CPU)
    frame = Frame(0, "frame", 0.0, picture[0])
    adapter.window.push(frame.image)
    take_step = partial(adapter.predict_and_adapt, frame) if SHARED in variation else adapter.update
    take_step()
    began = time.process_time()
    take_step()
    seconds = time.process_time() - began
    adapter.restore()
    return seconds


def kinds_of_steps(model: SplitModel, methods: list[str], variations: list[str]) -> list[tuple[str, str]]:
    """Methods and variations that the model can run."""
    kinds = []
    for method in methods:
        for variation in variations:
            try:
                if VISIBLE_ONLY in variation:
                    model.encode_visible_only()
                if SHARED in variation and not METHODS[method].shares_forward:
                    raise UsageError("its loss is not of the frame as it is predicted")
                Adapter(model, SemanticTask(CAMVID), settings_of(method, variation), ReconstructionSettings(), CPU)
                kinds.append((method, variation))
            except UsageError as error:
                print(f"{method} {variation}: left out, {error}")
    return kinds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help=f"{', '.join(MODELS)}, or as for --weights")
    parser.add_argument("--size", default="384x480", help="height and width of the frame")
    parser.add_argument("--methods", default="online,align,tent")
    parser.add_argument("--vary", nargs="+", default=VARIATIONS, help=f"settings, {VISIBLE_ONLY}, {SHARED}")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    coarse = torch.rand(1, 3, height // 32, width // 32, generator=torch.Generator().manual_seed(0)) * 255
    picture = functional.interpolate(coarse, size=(height, width), mode="bilinear").to(torch.uint8)
    model = ready(arguments.model, picture)
    kinds = kinds_of_steps(model, arguments.methods.split(","), arguments.vary)
    quick = quick_forwards(model)
    predict_seconds(model, picture, quick)
    predictions: list[float] = []
    ratios: dict[tuple[str, str], list[float]] = {kind: [] for kind in kinds}
    for _ in range(arguments.rounds):
        for kind in kinds:
            predictions.append(predict_seconds(model, picture, quick))
            step = step_seconds(model, picture, *kind) - (predictions[-1] if SHARED in kind[1] else 0)
            ratios[kind].append(step / predictions[-1])
    print(f"{arguments.model}, {arguments.size}, {len(model.blocks)} blocks, {torch.get_num_threads()} threads")
    print(f"prediction: {statistics.median(predictions):.3f} s; a step over the prediction just before it, medians:")
    for (method, variation), values in ratios.items():
        spread = f"{min(values):.2f} to {max(values):.2f}"
        print(f"{method:10} {variation or 'as it is':20} {statistics.median(values):6.2f}   {spread}")


if __name__ == "__main__":
    main()
