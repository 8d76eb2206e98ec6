"""Writes a copy of a video, as a folder of frames, on which night falls midway; the report in docs/ is of such a one.

python benchmarks/dusk.py drive.mp4 dusk --start 3.3 --stride 2 --frames 54
tttv segment dusk --compare
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from ttt_cli.datasets.low_light import EXPOSURE, low_light
from ttt_cli.video.reader import open_video

BEGINS, ENDS = 0.2, 0.6
"""When it gets darker, as shares of the video. Then the light stays as in `low_light`."""


def main() -> None:
    """Reads, darkens and writes frame by frame."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--start", type=float, help="leave out the seconds before")
    parser.add_argument("--stride", type=int, default=1, help="of the others, take every so many")
    parser.add_argument("--frames", type=int, default=60, help="of these, so many at most")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True)
    wanted = {"start_seconds": arguments.start, "stride": arguments.stride, "max_frames": arguments.frames}
    for number, frame in enumerate(open_video(arguments.video, **wanted).frames()):
        progress = min(1.0, max(0.0, (number / arguments.frames - BEGINS) / (ENDS - BEGINS)))
        dark = low_light(frame.image, seed=number, exposure=EXPOSURE**progress) if progress else frame.image
        Image.fromarray(dark.permute(1, 2, 0).numpy()).save(arguments.out / f"{frame.name}.png")


if __name__ == "__main__":
    main()
