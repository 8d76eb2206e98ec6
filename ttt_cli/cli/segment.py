"""`tttv segment`: segments a video with a model that trains itself on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ttt_cli.cli import _console
from ttt_cli.cli import _groups as groups
from ttt_cli.cli import _options as options
from ttt_cli.cli._many import ManyOptions, finish_many
from ttt_cli.cli._output import LayoutOptions, OutputOptions
from ttt_cli.cli._signature import with_options
from ttt_cli.core.errors import AlreadyDone, UsageError, printable
from ttt_cli.model.own import STREET
from ttt_cli.run.overrides import Overrides, ReconstructionOverrides, TaskOverrides

if TYPE_CHECKING:
    from ttt_cli.core.frame import Result, Video
    from ttt_cli.run.request import RunRequest
    from ttt_cli.run.runner import Run
    from ttt_cli.run.steps import Step

CUTS_SHOWN = 5
EXIT_CODES = {"done": 0, "partial": 3, "interrupted": 130}

EPILOG = """Examples:

tttv segment drive.mp4

tttv segment drive.mp4 --compare --start 10 --end 25

tttv segment frames/ --gt labels/ --out runs/scored"""


@with_options
def segment(
    sources: options.Sources,
    *,
    out: options.Out = None,
    layout: LayoutOptions,
    task: options.Task = None,
    weights: options.WeightsName = STREET,
    frames: groups.InputOptions,
    truth: Annotated[
        Path | None,
        typer.Option(
            "--gt",
            metavar="DIR",
            rich_help_panel=options.INPUT,
            help="Score against label PNGs named like the frames; writes metrics.json.",
        ),
    ] = None,
    adaptation: groups.AdaptationOptions,
    output: OutputOptions,
    run: groups.VideoRunOptions,
    compute: groups.ComputeOptions,
    many: ManyOptions,
) -> None:
    """Segment a video with a model that trains itself on the video while it predicts.

    Writes overlay.mp4, masks/, frames.jsonl and run.json; with --gt also metrics.json.
    """
    overrides = Overrides(
        input=frames.overrides(),
        task=TaskOverrides(task=task),
        adaptation=adaptation.overrides(compute),
        reconstruction=ReconstructionOverrides(mask_ratio=adaptation.training.mask_ratio),
        output=output.overrides(layout.chosen()),
        assigned=run.assigned(),
    )
    request = build_request(sources[0], overrides, weights=weights, run=run, compute=compute, out=out, truth=truth)
    finish(sources, request, many, run)


def finish(sources: Sequence[str], request: RunRequest, many: ManyOptions, run: groups.VideoRunOptions) -> NoReturn:
    """Makes the run, or all runs if there are many sources; shows its result, and exits with its exit code."""
    from ttt_cli.many.units import are_many

    if many.are_given or are_many(sources):
        _check_no_live(sources)
        finish_many(sources, request, many, run)
    try:
        finished = carry_out(request, shown=not (run.quiet or run.as_json))
    except AlreadyDone as done:
        _console.line(done)
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
) -> RunRequest:
    """Resolves all settings; run/settings.py says which ones win."""
    from ttt_cli.adaptation.settings import BUDGET
    from ttt_cli.model.opening import open_weights, weights_for
    from ttt_cli.run.request import RunRequest
    from ttt_cli.run.settings import choose_device, resolve
    from ttt_cli.video.live import live_source

    if run.resume and run.overwrite:
        raise UsageError("--resume goes on with a run that --overwrite deletes: leave one of them out")
    opened = open_weights(weights, compute.allow_pickle)
    torch_device = choose_device(compute.device.value)
    settings = resolve(opened, run.config, overrides, torch_device, BUDGET)
    method_weights = weights_for(settings.adaptation.method, opened)
    given = live_source(source) or source
    return RunRequest(given, method_weights, settings, torch_device, out, truth, gray_first, run.overwrite, run.resume)


def carry_out(request: RunRequest, shown: bool) -> Run:
    """Makes the run, with progress bars."""
    from ttt_cli.run.runner import run_video

    with ExitStack() as stack:
        bars: list[_console.Bar] = []

        def show(title: str, total: int | None, unit: str) -> None:
            stack.close()
            bars[:] = [stack.enter_context(_console.progress_bar(title, total, unit, shown))]

        def on_start(video: Video, frames_done: int) -> None:
            show(video.name, video.length, "frames")
            bars[0].begin(frames_done)

        def on_step(step: Step) -> None:
            bars[0].advance(_state(step.result))

        def on_offline_step(done: int, total: int) -> None:
            if done == 1:
                show("trains on the whole video", total, "steps")
            bars[0].advance("")

        return run_video(request, on_start, on_step, on_offline_step)


def _state(result: Result) -> str:
    """What the adaptation does, for the progress bar."""
    if result.loss is not None:
        return f"loss {result.loss:.4f}"
    return "" if result.dead_zone is None else f"features within {result.dead_zone:g} spreads"


def show(finished: Run, *, as_json: bool, quiet: bool) -> None:
    """Shows a finished run: a table and the paths of its files, JSON, or only the folder."""
    from ttt_cli.run.folder import to_json

    report, folder = finished.report, finished.folder
    for warning in report.warnings:
        _console.warning(warning)
    if as_json:
        metrics = None if finished.scores is None else finished.scores.as_json()
        _console.raw(to_json({"folder": str(folder.path), **report.as_json(), "metrics": metrics}))
        return
    if quiet:
        _console.line(folder.path)
        return
    _console.facts(f"{report.status}: {folder.path}", _rows(finished))
    for name in report.files:
        _console.line(folder.path / name)
    if report.status == "interrupted" and folder.unfinished.exists():
        _console.line("the same command with --resume goes on from here")


def _rows(finished: Run) -> list[tuple[str, str]]:
    report = finished.report
    total = report.seconds["total"]
    rows = [
        ("frames", str(report.frames)),
        ("seconds", f"{total:.1f}"),
        ("frames a second", f"{report.frames / total:.2f}"),
    ]
    if report.resumed_at:
        rows.append(("resumed after frame", ", ".join(map(str, report.resumed_at))))
    rows += [(f"  {stage}", f"{spent:.1f} s") for stage, spent in report.seconds.items() if stage != "total"]
    if report.peak_memory_mib is not None:
        rows.append(("peak memory", f"{report.peak_memory_mib:.0f} MiB"))
    if "license" in report.weights:
        rows.append(("weights", f"{report.weights['name']}, license: {report.weights['license']}"))
        if report.settings.adaptation.method == "joint" and "companion_sha256" not in report.weights:
            rows.append(("to adapt them", f"tttv weights prepare {report.weights['name']} --images DIR"))
    if report.first_loss is not None and report.last_loss is not None:
        rows.append(("loss", f"{report.first_loss:.4f} -> {report.last_loss:.4f}"))
    if report.adapted:
        by_reason = ", ".join(f"{count} for {why}" for why, count in report.adapted.items())
        rows.append(("frames adapted to", f"{sum(report.adapted.values())} ({by_reason})"))
    if report.adapted and report.times_prediction is not None:
        rows.append(("model time", f"{report.times_prediction:.2f} times that of predictions alone"))
    if report.cuts:
        listed = ", ".join(map(str, report.cuts[:CUTS_SHOWN])) + (", ..." if len(report.cuts) > CUTS_SHOWN else "")
        rows.append(("cuts", f"{len(report.cuts)}, at frame {listed}"))
    if report.clamped_frames:
        rows.append(("frames with clamped features", str(report.clamped_frames)))
    if report.gray_frames:
        rows.append(("frames left gray", str(report.gray_frames)))
    if report.skipped_steps:
        rows.append(("steps undone (not finite)", str(report.skipped_steps)))
    if report.audio_note:
        rows.append(("sound", report.audio_note))
    if finished.scores is not None:
        scores = finished.scores.as_json()
        for method, values in scores["methods"].items():
            unit = "%" if scores["unit"] == "percent" else scores["unit"]
            rows.append((f"{scores['score']} {method}, pooled", f"{values['pooled']:.1f} {unit}"))
            rows.append((f"{scores['score']} {method}, paper", f"{values['paper']:.1f} {unit}"))
            known = {name: value for name, value in values["details"].items() if not math.isnan(value)}
            rows += [(f"{name} {method}", f"{value:.3f}") for name, value in known.items()]
        if scores["frames_without_label"]:
            rows.append(("frames without a label", str(scores["frames_without_label"])))
    return rows
