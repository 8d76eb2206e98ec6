"""`tttv weights prepare`: makes any model ready to adapt, from pictures without labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ttt_cli.cli import _console
from ttt_cli.cli import _options as options
from ttt_cli.cli._values import Device
from ttt_cli.core.errors import TttvError, UsageError, printable

if TYPE_CHECKING:
    from torch import Tensor

    from ttt_cli.model.weights import Weights
    from ttt_cli.preparation.training import PreparationLosses

PICTURES = 200

EPILOG = """Examples:

tttv weights prepare cityscapes --images pictures/

tttv weights prepare my-model/ --images drive1.mp4 --images drive2.mp4 --fast"""


def prepare(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="Weights, as for --weights.")],
    images: Annotated[
        list[str],
        typer.Option(
            "--images",
            metavar="DIR|VIDEO",
            help="Ordinary pictures like those that the model was made for; may be repeated. No labels are needed.",
        ),
    ],
    fast: Annotated[
        bool, typer.Option("--fast", help="Only measure its features: enough for align, clamp and auto.")
    ] = False,
    visible_only: Annotated[
        bool,
        typer.Option(
            "--visible-only",
            help="Encode only what is shown of a masked picture, which makes a step of online cost less; for plain "
            "vision transformers (EoMT, DPT, BEiT, Data2Vec).",
        ),
    ] = False,
    count: Annotated[int, typer.Option("--count", metavar="N", help="Use about N pictures, spread evenly.")] = PICTURES,
    size: options.Size = None,
    allow_pickle: options.AllowPickle = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier companion file.")] = False,
    device: options.DeviceName = Device.auto,
) -> None:
    """Make a published model ready for test-time training, from pictures without labels.

    Writes a companion file beside the weights, which stay as they are.
    """
    from ttt_cli.model.companion import companion_path, write_companion
    from ttt_cli.model.opening import open_alone, open_weights
    from ttt_cli.preparation import prepare as preparation
    from ttt_cli.preparation.pictures import ordinary_pictures
    from ttt_cli.preparation.settings import PreparationSettings
    from ttt_cli.run.overrides import InputOverrides, Overrides
    from ttt_cli.run.settings import choose_device, resolve, task_of
    from ttt_cli.video.transforms import shrink

    weights = open_alone(name, allow_pickle)
    path = companion_path(weights.path)
    if path.exists() and not overwrite:
        raise TttvError(f"{printable(path)}: exists; add --overwrite to prepare the weights again")
    if weights.reconstruction.familiar_loss is not None and not fast:
        _console.line(f"{weights.name} has a reconstruction head of its own, so only its features are measured")
        fast = True
    if fast and visible_only:
        raise UsageError("--visible-only is about masked pictures, and only features are measured here: leave it out")
    torch_device = choose_device(device.value)
    settings = resolve(weights, None, Overrides(input=InputOverrides(size=size)), torch_device)
    task = task_of(weights, settings)
    pictures = ordinary_pictures(images, count)
    model = weights.load().to(torch_device)

    def show(picture: Tensor) -> Tensor:
        return task.preprocess(shrink(picture, settings.input.size))

    fingerprint, steps = weights.fingerprint(), 0 if fast else PreparationSettings.steps
    with _console.progress_bar(f"prepares {weights.name}", steps + len(pictures), "steps", shown=True) as bar:

        def on_step(losses: PreparationLosses) -> None:
            bar.advance(f"distance {losses.changed:.3f}, reconstruction {losses.reconstruction:.3f}")

        def on_picture() -> None:
            bar.advance("measures features")

        if fast:
            companion, tensors = preparation.with_features(model, fingerprint, pictures, show, on_picture)
        else:
            checkpoint, chosen = path.with_suffix(".checkpoint"), PreparationSettings(visible_only=visible_only)
            companion, tensors = preparation.with_reconstruction(
                model, fingerprint, pictures, show, chosen, checkpoint, on_step, on_picture
            )
    write_companion(path, companion, tensors)
    _show(path, open_weights(name, allow_pickle), settings.task.task)


def _show(path: Path, weights: Weights, task: str) -> None:
    """Says where the companion is and what it makes possible."""
    from ttt_cli.adaptation.methods import defined_methods

    ready, reasons = defined_methods(weights, task)
    _console.facts(f"prepared: {weights.name}", [("ready for", ", ".join(ready))])
    for reason in reasons:
        _console.line(reason)
    _console.line(path)
