"""`tttv train`: joint training from a recipe. The training itself is in training/joint.py."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from ttt_cli.cli import _console
from ttt_cli.cli import _options as options
from ttt_cli.cli._values import Device
from ttt_cli.core.errors import TttvError, printable

if TYPE_CHECKING:
    from ttt_cli.training.joint import Progress, Trainer

CHECKPOINT = "checkpoint.ckpt"
LOG = "train.jsonl"

EPILOG = """Example:

tttv train --config recipes/street-plain.toml --data data --out runs/street-plain"""


def train(
    config: Annotated[Path, typer.Option("--config", metavar="FILE", help="Recipe, a TOML file.")],
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="Folder that contains the recipe's folders.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for checkpoint, log and weights.")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the checkpoint in the output folder.")
    ] = False,
    max_steps: Annotated[
        int | None,
        typer.Option("--max-steps", metavar="N", help="Stop after N steps in total. (default: the recipe's)"),
    ] = None,
    without_reconstruction: Annotated[
        bool,
        typer.Option("--main-only", help="Train without reconstruction, to get the weights for --method main-only."),
    ] = False,
    device: options.DeviceName = Device.auto,
) -> None:
    """Train a model on labeled stills for the main task and reconstruction jointly.

    Ctrl-C saves a checkpoint for --resume. The final weights are named after the recipe.
    """
    from ttt_cli.core.toml import from_table, read_toml
    from ttt_cli.run.settings import choose_device
    from ttt_cli.training.joint import Trainer
    from ttt_cli.training.processes import joined
    from ttt_cli.training.recipe import Recipe, main_only
    from ttt_cli.training.sources import load_split

    recipe = from_table(Recipe, read_toml(config), str(config))
    if without_reconstruction:
        recipe = main_only(recipe)
    checkpoint = out / CHECKPOINT
    if checkpoint.exists() and not resume:
        raise TttvError(f"{printable(checkpoint)}: exists; add --resume, or name another folder with --out")
    if resume and not checkpoint.exists():
        raise TttvError(f"{printable(checkpoint)}: there is no checkpoint to go on from; leave out --resume")
    if not resume and not _is_log(out / LOG):
        raise TttvError(
            f"{printable(out / LOG)}: exists, and no training wrote it; move it away, or name another --out"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TttvError(f"{printable(out)}: cannot be written ({error.strerror}); choose another --out") from error

    chosen = choose_device(device.value)
    with joined(chosen) as processes:
        try:
            trainer = Trainer(recipe, load_split(recipe.sources, data), chosen, processes)
        except ModuleNotFoundError as error:
            raise TttvError(f'{error.name} is not installed; python -m pip install "tttv[train]"') from error
        trainer.subject.check_place(trainer.subject.path_in(out))
        if resume:
            trainer.resume(checkpoint)
        steps = trainer.steps if max_steps is None else min(max_steps, trainer.steps)
        with _stop_asked() as stop:
            walk = _walk(trainer, steps, checkpoint, stop) if trainer.step < steps else iter(())
            for _ in _logged(walk, trainer, steps, out) if processes.is_first else walk:
                pass
            stopped = processes.any(stop.is_set(), chosen)
        if processes.is_first:
            _finish(trainer, out, stopped)
    if stopped:
        raise KeyboardInterrupt


def _is_log(path: Path) -> bool:
    """Whether a training may write on at the end of a file: it is a log of one, or there is none."""
    if not path.exists() and not path.is_symlink():
        return True
    try:
        with path.open(encoding="utf-8") as log:
            first = json.loads(log.readline() or "{}")
        return isinstance(first, dict) and (not first or first.keys() >= {"step", "losses"})
    except (OSError, ValueError, RecursionError):
        return False


def _finish(trainer: Trainer, out: Path, stopped: bool) -> None:
    """Saves the checkpoint and, if the training was not stopped, the weights."""
    checkpoint, weights = out / CHECKPOINT, trainer.subject.path_in(out)
    trainer.save(checkpoint)
    if stopped:
        _console.line(f"{checkpoint}: saved at step {trainer.step}; go on with --resume")
    else:
        trainer.export(weights)
        _console.line(weights)


def _walk(trainer: Trainer, steps: int, checkpoint: Path, stop: Event) -> Iterator[Progress]:
    """Trains up to step `steps`, or until `stop` is set in any process."""
    for progress in trainer.run(checkpoint):
        yield progress
        if progress.step >= steps or trainer.processes.any(stop.is_set(), trainer.device):
            return


def _logged(walk: Iterator[Progress], trainer: Trainer, steps: int, out: Path) -> Iterator[Progress]:
    """Every step of `walk`, written to the log and shown."""
    with (
        (out / LOG).open("a", encoding="utf-8") as log,
        _console.progress_bar(trainer.recipe.name, max(0, steps - trainer.step), "steps", shown=True) as bar,
    ):
        for progress in walk:
            log.write(json.dumps(dataclasses.asdict(progress)) + "\n")
            log.flush()
            losses = progress.losses
            ahead = "" if losses.main_ahead is None else f", one step ahead {losses.main_ahead:.3f}"
            bar.advance(f"main {losses.main:.3f}{ahead}, reconstruction {losses.reconstruction:.3f}")
            if progress.scores is not None:
                scores = ", ".join(f"{name} {score:.2f}" for name, score in progress.scores.items())
                bar.say(f"step {progress.step}: {scores}")
            yield progress


@contextmanager
def _stop_asked() -> Iterator[Event]:
    """An event that Ctrl-C sets. No step is cut short, so a resumed run gives the same bits."""
    stop = Event()
    previous = signal.signal(signal.SIGINT, lambda number, frame: stop.set())
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, previous)
