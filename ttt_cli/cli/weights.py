"""`tttv weights`: what there is, what it says of itself, whether it is whole; and checkpoints of others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ttt_cli.cli import _console
from ttt_cli.cli import _options as options
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.model.weights import STREET

app = typer.Typer(help="List, show, verify and import weights.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME|PATH", help="Weights by name or as a file.")]


@app.command("list")
def list_weights() -> None:
    """List the weights that can be named, and where each file is."""
    from ttt_cli.model.weights import RELEASES, find

    rows = []
    for name, release in RELEASES.items():
        try:
            path = str(find(name))
        except TttvError:
            path = "absent"
        rows += [(name, release.summary), ("", path)]
    _console.facts("weights", rows)


@app.command()
def show(name: Name = STREET) -> None:
    """Show task, classes, sizes, license and recommended settings of a weights file."""
    from ttt_cli.model.weights import open_weights

    weights = open_weights(name)
    rows = [
        ("file", str(weights.path)),
        ("tasks", ", ".join(weights.tasks)),
        ("license", weights.license),
        ("encoder", weights.model_size.encoder.name),
        ("classes", ", ".join(kind.name for kind in weights.classes)),
        ("reconstruction", str(weights.reconstruction)),
        ("recommended", ", ".join(f"{key} = {value}" for key, value in weights.adaptation.items()) or "-"),
    ]
    _console.facts(weights.name, rows)


@app.command()
def verify(name: Name = STREET) -> None:
    """Check that a weights file is whole: its checksum where it is known, and that its tensors fit."""
    from ttt_cli.model.weights import RELEASES, open_weights, sha256

    weights = open_weights(name)
    weights.load()
    found = sha256(weights.path)
    if name in RELEASES and found != RELEASES[name].sha256:
        raise TttvError(f"{printable(weights.path)}: its sha256 is {found}, not {RELEASES[name].sha256}; reinstall")
    _console.line(f"{weights.path}: whole, sha256 {found}")


@app.command("import")
def import_weights(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="FILE.pkl", help="Of Mask2Former on Swin, or of the paper's release.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="What to write. (default: FILE.safetensors)")
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Make a weights file of a checkpoint in detectron2's format. Its classes are told by their number.

    19 are Cityscapes' (semantic), 80 COCO's things (instance), 133 COCO's things and stuff (all tasks). Where there is
    no reconstruction head, one is added that nobody trained: such weights are for --method joint.
    """
    from ttt_cli.cli.import_checkpoint import import_checkpoint

    path = out or checkpoint.with_suffix(".safetensors")
    if path.exists() and not overwrite:
        raise TttvError(f"{printable(path)}: exists; add --overwrite, or name another file with --out")
    weights = import_checkpoint(checkpoint, path)
    _console.line(f"{weights.path}: {len(weights.classes)} classes, for {', '.join(weights.tasks)}")
