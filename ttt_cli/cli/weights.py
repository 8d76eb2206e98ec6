"""`tttv weights`: what there is, what it says of itself, whether it is whole."""

from __future__ import annotations

from typing import Annotated

import typer

from ttt_cli.cli import _console
from ttt_cli.cli import _options as options
from ttt_cli.errors import TttvError, printable

app = typer.Typer(help="List, show and verify weights.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME|PATH", help="Weights by name or as a file.")]


@app.command("list")
def list_weights() -> None:
    """List the weights that can be named, and where each file is."""
    from ttt_cli.weights import RELEASES, find

    rows = []
    for name, release in RELEASES.items():
        try:
            place = str(find(name))
        except TttvError:
            place = "absent"
        rows += [(name, release.summary), ("", place)]
    _console.facts("weights", rows)


@app.command()
def show(name: Name = options.DEFAULT_WEIGHTS) -> None:
    """Show task, classes, sizes, licence and recommended settings of a weights file."""
    from ttt_cli.weights import open_weights

    weights = open_weights(name)
    rows = [
        ("file", str(weights.path)),
        ("task", weights.task),
        ("licence", weights.licence),
        ("encoder", weights.model_size.encoder.name),
        ("classes", ", ".join(one.name for one in weights.classes)),
        ("reconstruction", str(weights.reconstruction)),
        ("recommended", ", ".join(f"{key} = {value}" for key, value in weights.adaptation.items()) or "-"),
    ]
    _console.facts(weights.name, rows)


@app.command()
def verify(name: Name = options.DEFAULT_WEIGHTS) -> None:
    """Check that a weights file is whole: its checksum where it is known, and that its tensors fit."""
    from ttt_cli.weights import RELEASES, open_weights, sha256

    weights = open_weights(name)
    weights.load()
    found = sha256(weights.path)
    if name in RELEASES and found != RELEASES[name].sha256:
        raise TttvError(f"{printable(weights.path)}: its sha256 is {found}, not {RELEASES[name].sha256}; reinstall")
    _console.line(f"{weights.path}: whole, sha256 {found}")
