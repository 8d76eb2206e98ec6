"""Runs on the command line: what is checked before torch is imported, and what is shown while they go on."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from ttt_cli.cli import _console
from ttt_cli.cli import _groups as groups
from ttt_cli.cli._many import ManyOptions, finish_many
from ttt_cli.cli._result import show
from ttt_cli.core.errors import AlreadyDone, UsageError, printable
from ttt_cli.run.overrides import Overrides

if TYPE_CHECKING:
    from ttt_cli.core.frame import Result, Video
    from ttt_cli.run.request import RunRequest
    from ttt_cli.run.runner import Run
    from ttt_cli.run.settings import RunSettings
    from ttt_cli.run.steps import Step

EXIT_CODES = {"done": 0, "partial": 3, "interrupted": 130}


def run_all(
    sources: Sequence[str],
    overrides: Overrides,
    *,
    weights: str,
    run: groups.VideoRunOptions,
    compute: groups.ComputeOptions,
    many: ManyOptions,
    out: Path | None,
    truth: Path | None = None,
    gray_first: bool = False,
    renames: Mapping[str, str] | None = None,
) -> NoReturn:
    """Makes the run, or all runs if there are many sources; shows its result, and exits with its exit code.

    renames: as in RunRequest.
    """
    from ttt_cli.many.units import are_many

    one = not (many.are_given or are_many(sources))
    if not one:
        _check_no_live(sources)
    request = build_request(
        sources[0],
        overrides,
        weights=weights,
        run=run,
        compute=compute,
        out=out,
        truth=truth,
        gray_first=gray_first,
        checked=one,
    )
    request = replace(request, renames=renames or {})
    if not one:
        finish_many(sources, request, many, run)
    try:
        finished = carry_out(request, shown=not (run.quiet or run.as_json))
    except AlreadyDone as done:
        _console.message(str(done), done.exit_code, run.as_json)
        raise typer.Exit(done.exit_code) from None
    show(finished, as_json=run.as_json, quiet=run.quiet)
    if finished.report.reason and finished.report.status == "partial":
        _console.error(finished.report.reason)
    raise typer.Exit(EXIT_CODES[finished.report.status])


def _check_no_live(sources: Sequence[str]) -> None:
    from ttt_cli.video.live import live_source

    for source in sources:
        if (live := live_source(source)) is not None:
            raise UsageError(f"{printable(live.shown)}: live input is a run of its own; name it alone")


def build_request(
    source: str,
    overrides: Overrides,
    *,
    weights: str,
    run: groups.VideoRunOptions,
    compute: groups.ComputeOptions,
    out: Path | None,
    truth: Path | None = None,
    gray_first: bool = False,
    checked: bool = True,
) -> RunRequest:
    """Resolves all settings; run/settings.py says which ones win.

    checked: whether it is one run, whose input and folder are checked before torch is imported, which takes seconds.
    """
    from ttt_cli.adaptation.settings import BUDGET
    from ttt_cli.model.opening import open_weights, weights_for
    from ttt_cli.run.early import check_early
    from ttt_cli.run.request import RunRequest
    from ttt_cli.run.settings import choose_device, preview, resolve
    from ttt_cli.video.live import live_source

    if run.resume and run.overwrite:
        raise UsageError("--resume goes on with a run that --overwrite deletes: leave one of them out")
    opened = open_weights(weights, compute.allow_pickle)
    previewed = preview(opened, run.config, overrides, BUDGET)
    given = live_source(source) or source
    if checked:
        check_early(given, previewed, out, truth, run.overwrite, run.resume)
    with _console.spinner("loading PyTorch", shown=not (run.quiet or run.as_json)), _no_garbage_collected():
        from ttt_cli.run import runner  # noqa: F401
    torch_device = choose_device(compute.device.value)
    settings = resolve(opened, run.config, overrides, torch_device, BUDGET)
    method_weights = weights_for(settings.adaptation.method, opened)
    return RunRequest(given, method_weights, settings, torch_device, out, truth, gray_first, run.overwrite, run.resume)


@contextmanager
def _no_garbage_collected() -> Iterator[None]:
    """A context for imports, whose many objects all stay.

    To look for garbage among them takes a sixth of the time of the imports, and more than a second at the end again.
    """
    is_first = "torch" not in sys.modules
    gc.disable()
    try:
        yield
    finally:
        if is_first:
            gc.freeze()
        gc.enable()


def carry_out(request: RunRequest, shown: bool) -> Run:
    """Makes the run. shown: whether it is said meanwhile what it does, and how far it is."""
    from ttt_cli.run.runner import run_video

    with ExitStack() as stack:
        say = stack.enter_context(_console.spinner("opening the video", shown))
        bars: list[_console.Bar] = []
        state = _State(request.settings)

        def begin_bar(title: str, total: int | None, unit: str) -> None:
            stack.close()
            bars[:] = [stack.enter_context(_console.progress_bar(title, total, unit, shown))]

        def on_start(video: Video, frames_done: int) -> None:
            begin_bar(video.name, video.length, "frames")
            bars[0].begin(frames_done)

        def on_step(step: Step) -> None:
            bars[0].advance(state.after(step.result))

        def on_offline_step(done: int, total: int) -> None:
            if done == 1:
                begin_bar("trains on the whole video", total, "steps")
            bars[0].advance("")

        return run_video(request, on_start, on_step, on_offline_step, say)


class _State:
    """What the adaptation does, in a few words, for the progress bar."""

    def __init__(self, settings: RunSettings) -> None:
        from ttt_cli.adaptation.familiarity import UNFAMILIAR
        from ttt_cli.adaptation.methods import method_named

        method, usual = settings.adaptation.method, settings.reconstruction.familiar_loss
        self.asks_itself = method.split("+")[0] == "auto"
        reconstructs = usual is not None and method_named(method).needs_reconstruction
        self.largest_familiar = UNFAMILIAR * usual if reconstructs and usual is not None else None
        self.adapted = 0
        self.loss: float | None = None

    def after(self, result: Result) -> str:
        """The words after a frame."""
        self.adapted += result.adapted is not None
        self.loss = self.loss if result.loss is None else result.loss
        words = [f"{self.adapted} adapted"] if self.adapted else []
        words += [] if self.loss is None else [f"loss {self.loss:.4f}"]
        if self.asks_itself:
            words.append("familiar" if result.dead_zone is None else "unfamiliar")
        elif self.largest_familiar is not None and self.loss is not None:
            words.append("familiar" if self.loss <= self.largest_familiar else "unfamiliar")
        return ", ".join(words)
