"""Peak memory and time of a step and of a prediction on large frames, with and without `--low-memory`.

python benchmarks/low_memory.py
python benchmarks/low_memory.py --weights street --method online

Each figure comes from a process of its own. Without `--weights`, the model is a Mask2Former with Swin-S and the 133
classes of COCO, with random weights: memory does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
import transformers
from torch import Tensor

from ttt_cli.adaptation.online import Adapter
from ttt_cli.core.frame import Frame
from ttt_cli.model.light_head import LightHead
from ttt_cli.model.opening import open_weights
from ttt_cli.model.published.model import PublishedModel
from ttt_cli.model.split import SplitModel
from ttt_cli.run.overrides import AdaptationOverrides, InputOverrides, Overrides
from ttt_cli.run.peak_memory import forget_peak, peak_mebibytes
from ttt_cli.run.settings import resolve, task_of

CPU = torch.device("cpu")
CLASSES, HEAD_WIDTH = 133, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", help="by default the random Mask2Former")
    parser.add_argument("--method", default="online")
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--measure", choices=("plain", "low"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.weights, arguments.method, arguments.size, arguments.measure == "low")))
        return
    with tempfile.TemporaryDirectory() as folder:
        weights = arguments.weights or str(random_mask2former(Path(folder)))
        command = [sys.executable, __file__, "--weights", weights, "--method", arguments.method]
        for mode in ("plain", "low"):
            options = ["--size", arguments.size, "--measure", mode]
            done = subprocess.run([*command, *options], check=True, capture_output=True, text=True)
            print(f"{mode:6}" + ", ".join(f"{name} {value:.0f}" for name, value in json.loads(done.stdout).items()))


def measure(name: str, method: str, size: str, low_memory: bool) -> dict[str, float]:
    """Peaks in MiB and times in seconds of the second of two frames, and the memory of the process before them."""
    width, height = map(int, size.split("x"))
    weights = open_weights(name)
    adaptation = AdaptationOverrides(method="joint", low_memory=low_memory)
    overrides = Overrides(adaptation=adaptation, input=InputOverrides(size=min(height, width)))
    settings = resolve(weights, None, overrides, CPU)
    model, task = with_head(weights.load()), task_of(weights, settings)
    adapter = Adapter(model, task, replace(settings.adaptation, method=method), settings.reconstruction, CPU)
    frame = Frame(0, "000000", 0.0, made_up_image(height, width))
    adapter.step(frame)  # AdamW's state is there after the first step.
    forget_peak(CPU)
    before = peak_mebibytes(CPU)
    figures = {"MiB before": before or 0.0}
    adapter.window.push(frame.image)
    began = time.perf_counter()
    adapter.adapt_to(frame)
    figures |= {"MiB of a step": peak_mebibytes(CPU) or 0.0, "s of a step": time.perf_counter() - began}
    forget_peak(CPU)
    began = time.perf_counter()
    adapter.predict(frame).at_size((height, width))
    figures |= {"MiB of a prediction": peak_mebibytes(CPU) or 0.0, "s of a prediction": time.perf_counter() - began}
    return figures


def with_head(model: SplitModel) -> SplitModel:
    """The model, with a new g and a mask input if it has none."""
    if isinstance(model, PublishedModel) and model.reconstruction_head is None:
        encoded = model.encode(torch.zeros(1, 3, 64, 64))
        channels = [values.shape[1] for values in model.maps(encoded)]
        model.reconstruction_head = LightHead(channels, HEAD_WIDTH, model.strides(encoded))
        model.add_mask_input({})
    return model


def made_up_image(height: int, width: int) -> Tensor:
    """Random blocks, uint8 RGB (3, H, W)."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(256, (3, height // 8, width // 8), generator=generator, dtype=torch.uint8)
    return image.repeat_interleave(8, -2).repeat_interleave(8, -1)


def random_mask2former(folder: Path) -> Path:
    """Writes the random model as a folder in the layout of transformers."""
    names = {number: f"class {number}" for number in range(CLASSES)}
    swin = transformers.SwinConfig(
        embed_dim=96, depths=[2, 2, 18, 2], num_heads=[3, 6, 12, 24], out_features=[f"stage{n}" for n in range(1, 5)]
    )
    config = transformers.Mask2FormerConfig(backbone_config=swin, id2label=names)
    transformers.Mask2FormerForUniversalSegmentation(config).save_pretrained(folder)
    transformers.Mask2FormerImageProcessor().save_pretrained(folder)
    return folder


if __name__ == "__main__":
    main()
