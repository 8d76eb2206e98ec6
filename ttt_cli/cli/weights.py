"""`tttv weights`: lists, shows and verifies weights, imports published checkpoints, and downloads published models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ttt_cli.cli import _console
from ttt_cli.cli import _options as options
from ttt_cli.cli.prepare import EPILOG, prepare
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.model.own import STREET

app = typer.Typer(help="List, show, verify, import, pull and prepare weights.", no_args_is_help=True)
app.command(epilog=EPILOG)(prepare)

Name = Annotated[str, typer.Argument(metavar="NAME|PATH", help="Weights, by name or by path.")]


@app.command("list")
def list_weights(
    hub: Annotated[
        bool,
        typer.Option("--hub", help="List well-known models of the Hugging Face hub instead; nothing is asked of it."),
    ] = False,
) -> None:
    """List the weights that have a name, and the path of each file."""
    from ttt_cli.model.own import RELEASES, find

    if hub:
        _list_hub()
        return

    rows = []
    for name, release in RELEASES.items():
        try:
            path = str(find(name))
        except TttvError:
            path = "absent"
        rows += [(name, release.summary), ("", path)]
    _console.facts("weights", rows)


def _list_hub() -> None:
    from ttt_cli.model.published.hub import in_cache
    from ttt_cli.model.published.selection import SELECTION, SHORT_NAMES

    short_names = {hub_id: name for name, hub_id in SHORT_NAMES.items()}
    rows = []
    for model in SELECTION:
        facts = f"{model.tasks}; {model.classes}; license {model.license}; {model.megabytes} MB"
        pickle = ", needs --allow-pickle" if model.is_pickle else ""
        cached = ", in the cache" if in_cache(model.hub_id) else ""
        rows += [(short_names.get(model.hub_id, ""), model.hub_id), ("", facts + pickle + cached)]
    _console.facts("models of the Hugging Face hub, a selection", rows)


@app.command()
def show(name: Name = STREET, allow_pickle: options.AllowPickle = False) -> None:
    """Show the tasks, license, encoder, classes and recommended settings of a weights file."""
    from ttt_cli.model.opening import open_weights

    weights = open_weights(name, allow_pickle)
    rows = [
        ("file", str(weights.path)),
        ("tasks", ", ".join(weights.tasks)),
        ("license", weights.license),
        ("encoder", weights.encoder),
        ("classes", ", ".join(kind.name for kind in weights.classes)),
        ("reconstruction", str(weights.reconstruction)),
        ("exposure", weights.exposure),
        ("ordinary features", "recorded" if weights.has_ordinary_features else "not recorded"),
        ("recommended", ", ".join(f"{key} = {value}" for key, value in weights.adaptation.items()) or "-"),
    ]
    _console.facts(weights.name, rows)


@app.command()
def verify(name: Name = STREET, allow_pickle: options.AllowPickle = False) -> None:
    """Check that a weights file is intact: its tensors, and its checksum if that is known."""
    from ttt_cli.model.checksum import require_finite
    from ttt_cli.model.opening import open_weights
    from ttt_cli.model.own import RELEASES, check_release

    weights = open_weights(name, allow_pickle)
    require_finite(weights.load().named_parameters(), weights.path)
    if name in RELEASES:
        check_release(weights.path)
    _console.line(f"{weights.path}: whole, sha256 {weights.fingerprint()}")


@app.command("import")
def import_weights(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="FILE.pkl", help="Checkpoint of Mask2Former on Swin, or of the paper's release.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Weights file to write. (default: FILE.safetensors)"),
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Make a weights file from a checkpoint in detectron2's format. The number of classes identifies them.

    19 are Cityscapes' (semantic), 80 are COCO's things (instance), 133 are COCO's things and stuff (all tasks). If the
    checkpoint has no reconstruction head, an untrained head is added: use such weights with --method joint.
    """
    from ttt_cli.cli.import_checkpoint import import_checkpoint

    path = out or checkpoint.with_suffix(".safetensors")
    if path.exists() and not overwrite:
        raise TttvError(f"{printable(path)}: exists; add --overwrite, or name another file with --out")
    weights = import_checkpoint(checkpoint, path)
    _console.line(f"{weights.path}: {len(weights.classes)} classes, for {', '.join(weights.tasks)}")


@app.command()
def pull(
    hub_id: Annotated[
        str, typer.Argument(metavar="ID", help="OWNER/NAME, OWNER/NAME@REVISION, or a short name of list --hub.")
    ],
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Download pickled weights too if a model has no others.")
    ] = False,
) -> None:
    """Download a published model into the cache of the Hugging Face hub, to use it without a network later."""
    from ttt_cli.model.published.hub import hub_snapshot
    from ttt_cli.model.published.selection import expand

    snapshot = hub_snapshot(expand(hub_id), allow_pickle=allow_pickle)
    rows = [
        ("folder", str(snapshot.folder)),
        ("revision", snapshot.revision or "-"),
        ("license", snapshot.license or "not stated"),
        ("weights", ", ".join(path.name for path in snapshot.weights)),
    ]
    _console.facts(snapshot.source, rows)
