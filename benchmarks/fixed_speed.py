"""How long a prediction of the fixed model takes on this CPU: now over before, and over transformers' own.

git worktree add ../before 0cab400
OMP_NUM_THREADS=1 python benchmarks/fixed_speed.py FRAMES --before ../before

FRAMES: a video, or a folder of pictures, of 480 x 360 pixels. Both checkouts predict in processes of their own, which
take turns; transformers' own model and image processor take turns with ours in one process. Times are CPU seconds, so
that other programs disturb them little, of a prediction with its class map. Last comes the share of a run's time with
`street` in which it neither adapts nor predicts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from ttt_cli.adaptation.online import Adapter
from ttt_cli.adaptation.settings import AdaptationSettings
from ttt_cli.core.frame import Frame
from ttt_cli.model.opening import open_weights
from ttt_cli.run.overrides import Overrides
from ttt_cli.run.settings import resolve, task_of
from ttt_cli.video.reader import open_video

SWIN_SIZE = (384, 480)
"""Height and width of the frames of the published model."""
MODEL_STAGES = ("adapt", "predict")
CPU = torch.device("cpu")


def median_seconds(calls: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """CPU seconds of each call, the median of rounds in which they take turns, after one that does not count."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds + 1):
        for call, measured in zip(calls, seconds, strict=True):
            began = time.process_time()
            call()
            measured.append(time.process_time() - began)
    return [statistics.median(measured[1:]) for measured in seconds]


def prediction(weights_name: str, frame: Frame) -> Callable[[], object]:
    """A prediction of the fixed model with its class map at the size of the frame."""
    weights = open_weights(weights_name)
    settings = resolve(weights, None, Overrides(), CPU)
    adapter = Adapter(
        weights.load(), task_of(weights, settings), AdaptationSettings(method="joint"), settings.reconstruction, CPU
    )
    size = (frame.image.shape[-2], frame.image.shape[-1])
    return lambda: adapter.step(frame).prediction.at_size(size)


def made_up_frame() -> Frame:
    """A smooth picture for the published model."""
    coarse = torch.rand(1, 3, 24, 30, generator=torch.Generator().manual_seed(0)) * 255
    image = torch.nn.functional.interpolate(coarse, size=SWIN_SIZE, mode="bilinear")[0].to(torch.uint8)
    return Frame(0, "0", 0.0, image)


def save_swin_s(folder: Path, classes: int) -> None:
    """Writes a Mask2Former with a Swin-S as encoder and random weights, in the layout of transformers."""
    import transformers

    encoder = transformers.SwinConfig(
        depths=[2, 2, 18, 2], num_heads=[3, 6, 12, 24], out_features=["stage1", "stage2", "stage3", "stage4"]
    )
    names = {number: f"class {number}" for number in range(classes)}
    labels: dict[str, Any] = {"id2label": names, "label2id": {name: number for number, name in names.items()}}
    torch.manual_seed(0)
    config = transformers.Mask2FormerConfig(backbone_config=encoder, **labels)
    transformers.Mask2FormerForUniversalSegmentation(config).save_pretrained(folder)
    height, width = SWIN_SIZE
    transformers.Mask2FormerImageProcessor(size={"height": height, "width": width}).save_pretrained(folder)


def over_transformers(folder: Path, rounds: int) -> tuple[float, float]:
    """Seconds of a prediction, ours and transformers' own."""
    import transformers

    frame = made_up_frame()
    model = transformers.Mask2FormerForUniversalSegmentation.from_pretrained(folder).eval()
    processor: Any = transformers.AutoImageProcessor.from_pretrained(folder)
    pixels = processor(frame.image, return_tensors="pt")["pixel_values"]

    @torch.no_grad()
    def own() -> object:
        return processor.post_process_semantic_segmentation(model(pixel_values=pixels), target_sizes=[SWIN_SIZE])

    ours, theirs = median_seconds([prediction(str(folder), frame), own], rounds)
    return ours, theirs


def measured_in(checkout: Path, weights: str, source: str) -> float:
    """Seconds of a prediction by another checkout, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
    command = [sys.executable, str(Path(__file__).resolve()), source, "--only", weights]
    answer = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(answer.stdout.splitlines()[-1])


def share_without_model(source: str, weights: str, rounds: int) -> list[float]:
    """What runs take besides adapting and predicting, as a share; other stages overlap with these."""
    shares = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            out = Path(folder) / str(number)
            options = ["--weights", weights, "--method", "joint", "--max-frames", "60", "--quiet", "--out", str(out)]
            command = [sys.executable, "-m", "ttt_cli", "segment", source, *options]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds = json.loads((out / "run.json").read_text(encoding="utf-8"))["seconds"]
            shares.append(1 - sum(seconds[stage] for stage in MODEL_STAGES) / seconds["total"])
    return shares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("frames", help="a video, or a folder of pictures")
    parser.add_argument("--before", type=Path, help="a checkout of the other version")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--classes", type=int, default=19, help="of the published model")
    parser.add_argument("--only", help="print the seconds of a prediction with these weights, and nothing else")
    arguments = parser.parse_args()
    if arguments.only:
        frame = next(iter(islice(open_video(arguments.frames).frames(), 1)))
        published = Path(arguments.only).is_dir()
        call = prediction(arguments.only, made_up_frame() if published else frame)
        print(*median_seconds([call], arguments.rounds))
        return
    with tempfile.TemporaryDirectory() as folder:
        save_swin_s(Path(folder), arguments.classes)
        for title, weights in (("street", "street"), ("Swin-S", folder)) if arguments.before else ():
            pairs = [
                [
                    measured_in(checkout, weights, arguments.frames)
                    for checkout in (Path(__file__).parents[1], arguments.before)
                ]
                for _ in range(arguments.rounds)
            ]
            ratio = statistics.median(now / before for now, before in pairs)
            shown = ", ".join(f"{now:.3f}/{before:.3f}" for now, before in pairs)
            print(f"{title}: now over before {ratio:.2f} (seconds: {shown})")
        ours, theirs = over_transformers(Path(folder), arguments.rounds)
        print(f"Swin-S: over transformers' own {ours / theirs:.2f} (seconds: {ours:.3f}/{theirs:.3f})")
    shares = share_without_model(arguments.frames, "street", arguments.rounds)
    print(f"street: share of a run without the model {statistics.median(shares):.0%}")


if __name__ == "__main__":
    main()
