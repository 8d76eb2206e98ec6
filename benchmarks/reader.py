"""How long it takes to read parts of a video: all of it dropped but these parts, what tttv does, and decord by itself.

Each reading of a part opens the file anew. The readers take turns; medians, and ratios to the first one. decord is used
as it is, without what guards `--reader decord`.

    all        every frame
    stride     every tenth frame
    start      ten frames, a minute into the film (or in the middle of a shorter one)
    resumed    ten frames after as many others as there are in that minute, as a resumed run needs them

Last, how much memory decord takes while nobody reads on.

A file is made if none is named: 70 seconds of 640x360 at 25 frames a second, a keyframe every two seconds.

python benchmarks/reader.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from ttt_cli.core.frame import Video
from ttt_cli.video import ffmpeg
from ttt_cli.video.reader import open_video

MINUTE = 60.0
FEW = 10
STRIDE = 10
SETTLED_SECONDS = 3.0
"""Memory that does not grow for so long grows no more."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("input", nargs="?", type=Path, help="a video file")
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.input or made(Path(folder) / "made.mp4")
        video = open_video(path)
        assert video.length is not None, "the video states no length"
        seconds = float(video.length / video.fps)
        start = MINUTE if seconds > MINUTE + 1 else seconds / 2
        count = int(start * video.fps)
        print(f"{path.name}: {video.length} frames of {video.size[1]}x{video.size[0]}, {seconds:.0f} s")
        for part in ("all", "stride", "start", "resumed"):
            readings: dict[str, Callable[[], int]] = {
                "all and dropped": partial(dropping, path, part, count),
                "tttv": partial(skipping, path, part, start, count),
                "decord": partial(by_decord, path, part, count),
            }
            measured(part, readings, arguments.turns)
        print(f"held while nothing is read: {held_by_decord(path)} MiB; all frames: {video_mebibytes(video)} MiB")


def measured(part: str, readings: dict[str, Callable[[], int]], turns: int) -> None:
    """Times each reading in turn and prints medians; all must give as many frames."""
    spent: dict[str, list[float]] = {name: [] for name in readings}
    counts = set()
    for _ in range(turns):
        for name, read in readings.items():
            began = time.perf_counter()
            counts.add(read())
            spent[name].append(time.perf_counter() - began)
    assert len(counts) == 1, f"{part}: the readers differ: {counts}"
    medians = {name: statistics.median(times) for name, times in spent.items()}
    first = next(iter(medians.values()))
    shown = ", ".join(f"{name} {median:.2f} s ({median / first:.2f})" for name, median in medians.items())
    print(f"{part} ({counts.pop()} frames): {shown}", flush=True)


def dropping(path: Path, part: str, count: int) -> int:
    """Every frame up to the last one wanted comes out of ffmpeg."""
    with closing(open_video(path).frames()) as frames:  # type: ignore[type-var]
        chosen = {"all": (0, None, 1), "stride": (0, None, STRIDE)}.get(part, (count, count + FEW, 1))
        return taken(islice(frames, *chosen))


def skipping(path: Path, part: str, start: float, count: int) -> int:
    """ffmpeg skips and seeks."""
    videos: dict[str, Callable[[], Video]] = {
        "all": lambda: open_video(path),
        "stride": lambda: open_video(path, stride=STRIDE),
        "start": lambda: open_video(path, start_seconds=start, max_frames=FEW),
        "resumed": lambda: open_video(path, max_frames=count + FEW),
    }
    return taken(videos[part]().frames_from(count if part == "resumed" else 0))


def by_decord(path: Path, part: str, count: int) -> int:
    """decord seeks by itself."""
    import decord

    reader = decord.VideoReader(str(path), ctx=decord.cpu(0))

    def frames() -> Iterator[torch.Tensor]:
        if part == "all":
            order: Iterable[int] = range(len(reader))
        else:
            order = range(0, len(reader), STRIDE) if part == "stride" else range(count, count + FEW)
        for position in order:
            if part == "stride" and position:
                reader.skip_frames(STRIDE - 1)
            frame = reader[position] if part in ("start", "resumed") else reader.next()
            yield torch.from_numpy(frame.asnumpy()).permute(2, 0, 1).contiguous()

    return taken(frames())


def held_by_decord(path: Path) -> int:
    """MiB by which the process grows while decord, which has given one frame, is asked for no other. Linux only."""
    import decord

    before = resident_mebibytes()
    reader = decord.VideoReader(str(path), ctx=decord.cpu(0))
    reader.next()
    grown = 0
    while (now := resident_mebibytes() - before) > grown:
        grown = now
        time.sleep(SETTLED_SECONDS)
    return grown


def resident_mebibytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


def video_mebibytes(video: Video) -> int:
    assert video.length is not None
    return video.length * video.size[0] * video.size[1] * 3 // 2**20


def taken(frames: Iterable[object]) -> int:
    return sum(1 for _ in frames)


def made(path: Path) -> Path:
    """A video with as much noise as a camera's."""
    picture = ["-f", "lavfi", "-i", "testsrc2=s=640x360:r=25:d=70", "-vf", "noise=alls=8:allf=t"]
    codec = ["-c:v", "libx264", "-preset", "veryfast", "-g", "50", "-pix_fmt", "yuv420p"]
    code, messages = ffmpeg.run(["-loglevel", "level+error", *picture, *codec, ffmpeg.file_url(path)])
    assert code == 0, messages
    return path


if __name__ == "__main__":
    main()
