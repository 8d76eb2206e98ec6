"""The time of many videos on several workers over that of the same videos one after the other, whole runs, in turn.

OMP_NUM_THREADS=1 python benchmarks/many.py data/camvid/video_0016E5_15hz/images --videos 8 --workers 2
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import imageio_ffmpeg
from PIL import Image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("frames", type=Path, help="a folder of pictures")
    parser.add_argument("--videos", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ray", help="address of a cluster that is running, to be measured as well")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--options", default="--every 8", help="of tttv segment")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        videos = _videos(arguments.frames, Path(folder), arguments.videos, arguments.seconds)
        ways = {"one after the other": [], f"{arguments.workers} workers": ["--workers", str(arguments.workers)]}
        if arguments.ray:
            ways["Ray"] = ["--ray", arguments.ray]
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(arguments.rounds):
            for way, options in ways.items():
                out = Path(folder) / f"{way}-{number}"
                command = [sys.executable, "-m", "ttt_cli", "segment", *map(str, videos), "--out", str(out), "--quiet"]
                began = time.perf_counter()
                subprocess.run([*command, *arguments.options.split(), *options], check=True, stdout=subprocess.DEVNULL)
                seconds[way].append(time.perf_counter() - began)
                print(f"round {number + 1}, {way}: {seconds[way][-1]:.1f} s", flush=True)
    alone = seconds["one after the other"]
    for way in list(ways)[1:]:
        ratios = [there / here for there, here in zip(seconds[way], alone, strict=True)]
        print(
            f"{way} over one after the other: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def _videos(frames: Path, folder: Path, count: int, seconds: float) -> list[Path]:
    """Videos of pictures, each of the same length from another place."""
    pictures = sorted(frames.iterdir())
    length = round(seconds * 15)
    videos = []
    for number in range(count):
        clip = folder / f"clip-{number}"
        clip.mkdir()
        begin = number * (len(pictures) - length) // max(1, count - 1)
        for index, picture in enumerate(pictures[begin : begin + length]):
            Image.open(picture).convert("RGB").save(clip / f"{index:04d}.png", compress_level=1)
        videos.append(folder / f"clip-{number}.mp4")
        ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-framerate", "15", "-i", f"{clip}/%04d.png"]
        subprocess.run([*ffmpeg, "-pix_fmt", "yuv420p", str(videos[-1])], check=True)
    return videos


if __name__ == "__main__":
    main()
