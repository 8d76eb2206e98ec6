"""How strange videos are to weights: the means over a few frames of look and content (adaptation/strangeness.py).

python benchmarks/strangeness.py data/camvid/video_0016E5_15hz/images data/davis16/images/dog --degrade none,fog:5
"""

from __future__ import annotations

import argparse
import statistics

import torch

from ttt_cli.adaptation.online import Adapter
from ttt_cli.adaptation.strangeness import strangeness_to_trained
from ttt_cli.core.frame import Video
from ttt_cli.datasets.degrade import parse_degradation
from ttt_cli.model.opening import open_weights
from ttt_cli.run.overrides import AdaptationOverrides, Overrides
from ttt_cli.run.settings import resolve, task_of
from ttt_cli.video.opening import open_input
from ttt_cli.video.settings import InputSettings
from ttt_cli.video.transforms import changed, for_model

CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("inputs", nargs="+", help="videos, or folders of pictures")
    parser.add_argument("--degrade", default="none", help="corruptions, each of all inputs; none is as they are")
    parser.add_argument("--weights", default="street")
    parser.add_argument("--stride", type=int, default=20, help="every Nth frame")
    parser.add_argument("--frames", type=int, default=4, help="of these, so many")
    arguments = parser.parse_args()
    weights = open_weights(arguments.weights)
    settings = resolve(weights, None, Overrides(adaptation=AdaptationOverrides(method="joint")), CPU)
    task = task_of(weights, settings)
    adapter = Adapter(weights.load(), task, settings.adaptation, settings.reconstruction, CPU)
    wanted = InputSettings(stride=arguments.stride, max_frames=arguments.frames)
    for source in arguments.inputs:
        for degrade in arguments.degrade.split(","):
            video: Video = open_input(source, wanted)
            if degrade != "none":
                video = changed(video, parse_degradation(degrade).change)
            seen = for_model(video, settings.input.size, task.preprocess).frames()
            found = [strange for frame in seen if (strange := strangeness_to_trained(adapter, frame)) is not None]
            look = statistics.fmean(strange.look for strange in found)
            content = statistics.fmean(strange.content for strange in found)
            print(f"{source}, {degrade}: look {look:.3f}, content {content:.3f} over {len(found)} frames", flush=True)


if __name__ == "__main__":
    main()
