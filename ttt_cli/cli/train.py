"""`tttv train`: joint training of a recipe; the work is in training/joint.py."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ttt_cli.cli import _console
from ttt_cli.cli import _options as options
from ttt_cli.errors import TttvError, printable

if TYPE_CHECKING:
    from ttt_cli.training.joint import Trainer

CHECKPOINT = "checkpoint.ckpt"
LOG = "train.jsonl"

EPILOG = """Example:

tttv train --config recipes/street.toml --data data --out runs/street"""


def train(
    config: Annotated[Path, typer.Option("--config", metavar="FILE", help="The recipe, a TOML file.")],
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="The folder that the recipe's folders are in.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for checkpoint, log and weights.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the output folder.")] = False,
    max_steps: Annotated[
        int | None, typer.Option("--max-steps", metavar="N", help="Stop after N steps in all. [default: the recipe's]")
    ] = None,
    device: options.DeviceName = options.Device.auto,
) -> None:
    """Train a model on labelled stills for the main task and for reconstruction at once.

    Ctrl-C saves a checkpoint that --resume goes on from. The weights at the end are RECIPE.safetensors.
    """
    from ttt_cli.run_settings import choose_device
    from ttt_cli.settings import from_table, read_toml
    from ttt_cli.training.joint import Trainer, load_split
    from ttt_cli.training.recipe import Recipe

    recipe = from_table(Recipe, read_toml(config), str(config))
    checkpoint = out / CHECKPOINT
    if checkpoint.exists() and not resume:
        raise TttvError(f"{printable(checkpoint)}: exists; add --resume, or name another folder with --out")
    if resume and not checkpoint.exists():
        raise TttvError(f"{printable(checkpoint)}: there is no checkpoint to go on from; leave out --resume")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TttvError(f"{printable(out)}: can not be written ({error.strerror}); choose another --out") from error

    trainer = Trainer(recipe, load_split(recipe.sources, data), choose_device(device.value))
    if resume:
        trainer.resume(checkpoint)
    try:
        _walk(trainer, out, max_steps)
    except KeyboardInterrupt:
        trainer.save(checkpoint)
        _console.line(checkpoint)
        raise
    trainer.save(checkpoint)
    _console.line(_export(trainer, out))


def _walk(trainer: Trainer, out: Path, max_steps: int | None) -> None:
    """Trains, logging every step."""
    steps = trainer.recipe.schedule.steps if max_steps is None else min(max_steps, trainer.recipe.schedule.steps)
    if trainer.step >= steps:
        return
    with (
        (out / LOG).open("a", encoding="utf-8") as log,
        _console.progress_bar(trainer.recipe.name, steps - trainer.step, "steps", shown=True) as bar,
    ):
        for progress in trainer.run(out / CHECKPOINT):
            log.write(json.dumps(dataclasses.asdict(progress)) + "\n")
            log.flush()
            bar.advance(f"main {progress.main_loss:.3f}, reconstruction {progress.reconstruction_loss:.3f}")
            if progress.scores is not None:
                scores = ", ".join(f"{name} {score:.2f}" for name, score in progress.scores.items())
                bar.say(f"step {progress.step}: {scores}")
            if progress.step >= steps:
                return


def _export(trainer: Trainer, out: Path) -> Path:
    """Writes the averaged model as a weights file."""
    from ttt_cli.tasks.classes import CAMVID
    from ttt_cli.weights import Weights, save_weights

    recipe = trainer.recipe
    path = out / f"{recipe.name}.safetensors"
    weights = Weights(
        path=path,
        name=recipe.name,
        task="semantic",
        classes=CAMVID,
        licence="that of the training data; see the model card",
        model_size=recipe.model,
        reconstruction=recipe.reconstruction,
        adaptation={},
    )
    save_weights(trainer.average, weights)
    return path
