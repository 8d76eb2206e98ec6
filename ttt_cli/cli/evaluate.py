"""`tttv eval`: methods against each other on labelled videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ttt_cli.cli import _console
from ttt_cli.cli import _options as options
from ttt_cli.errors import TttvError, UsageError, printable

if TYPE_CHECKING:
    from ttt_cli.comparison import Record, Summary
    from ttt_cli.datasets.stream import Stream
    from ttt_cli.evaluation import Cell
    from ttt_cli.experiment import Watcher
    from ttt_cli.frame import Result
    from ttt_cli.weights import Weights

EPILOG = """Examples:

tttv eval --dataset camvid --gt camvid/video_0016E5_15hz

tttv eval --dataset camvid --gt camvid --method all --seeds 3 --degrade low-light

tttv eval --dataset camvid --gt camvid --method joint,online --window 1,4,16,64,inf"""


def evaluate(
    dataset: Annotated[str, typer.Option("--dataset", metavar="NAME", help="Layout of the data: camvid.")],
    truth: Annotated[Path, typer.Option("--gt", metavar="DIR", help="Has images/ and labels/, or such folders.")],
    method: Annotated[
        str, typer.Option("--method", metavar="A,...|all", help="Methods to run; see the README for their names.")
    ] = "joint,online",
    seeds: Annotated[str, typer.Option("--seeds", metavar="N|A,B", help="How many seeds (from 0), or which.")] = "1",
    window: Annotated[
        str | None,
        typer.Option("--window", metavar="K,...", help="Windows to compare, in frames; inf is every frame so far."),
    ] = None,
    steps: options.Steps = None,
    batch: options.Batch = None,
    mask_ratio: options.MaskRatio = None,
    learning_rate: options.LearningRate = None,
    weights: options.WeightsName = options.DEFAULT_WEIGHTS,
    device: options.DeviceName = options.Device.auto,
    precision: options.PrecisionName = options.Precision.auto,
    size: options.Size = None,
    stride: options.Stride = None,
    max_frames: options.MaxFrames = None,
    degrade: Annotated[
        str | None, typer.Option("--degrade", metavar="NAME", help="Degrade every frame: low-light.")
    ] = None,
    shuffle: Annotated[
        bool, typer.Option("--shuffle", help="Frames in random order, which destroys what online training lives on.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="For the results; a stopped evaluation in it goes on. (default: runs/eval-DATASET)",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    config: options.Config = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Score methods on labelled videos by both protocols, with time beside the fixed model's.

    "pooled" is one confusion matrix over all pixels; "paper" averages the frames' mIoU. Labels serve scoring alone.
    What is finished is kept: the same command goes on where it was stopped, and other methods, windows and seeds can
    be added later.
    """
    from ttt_cli import experiment
    from ttt_cli.datasets import DATASETS
    from ttt_cli.run_folder import to_json
    from ttt_cli.run_settings import choose_device, resolve
    from ttt_cli.weights import open_weights

    if dataset not in DATASETS:
        raise UsageError(f"data set {printable(dataset)!r} is unknown; known: {', '.join(DATASETS)}")
    opened, place = open_weights(weights), choose_device(device.value)
    named = [name.strip() for name in method.split(",")]
    methods, left_out = experiment.all_methods(opened) if method == "all" else (named, [])
    adaptation = options.adaptation_table(
        window=None, steps=steps, batch=batch, learning_rate=learning_rate, seed=None, precision=precision
    )
    chosen = {
        "input": {"size": size, "stride": stride, "max_frames": max_frames},
        "adaptation": adaptation,
        "reconstruction": {"mask_ratio": mask_ratio},
    }
    common = resolve(opened, config, chosen, place)
    streams = _changed(DATASETS[dataset](truth, common.input), degrade, shuffle)
    _check_classes(opened, streams)
    asked = experiment.Experiment(
        data={"dataset": dataset, "truth": str(truth.resolve())},
        streams=streams,
        weights=opened,
        settings={
            name: resolve(opened, config, {**chosen, "adaptation": {**adaptation, "method": name}}, place)
            for name in methods
        },
        common=common,
        windows=[options.parse_window(one) for one in window.split(",")] if window else [common.adaptation.window],
        seeds=parse_seeds(seeds),
        device=place,
    )
    folder = out or Path("runs") / "-".join(["eval", dataset, *([degrade] if degrade else []), *["shuffled"] * shuffle])
    with _console.progress_bar(dataset, None, "frames", shown=not (quiet or as_json)) as bar:
        outcome = experiment.run(asked, folder, overwrite, _watcher(bar))
    if as_json:
        print(to_json({"folder": str(folder), **outcome.content}))
    elif quiet:
        _console.line(folder)
    else:
        _show(outcome.summary, outcome.records)
        for reason in left_out:
            _console.line(f"left out: {reason}")
        for name in (experiment.METRICS, experiment.TABLE, experiment.LATEX):
            _console.line(folder / name)


def _watcher(bar: _console.Bar) -> Watcher:
    """Shows an experiment's progress."""
    from ttt_cli.experiment import Watcher

    class Shown(Watcher):
        def start(self, frames: int) -> None:
            bar.expect(frames)

        def frame(self, cell: Cell, result: Result) -> None:
            bar.advance(cell.method + ("" if result.loss is None else f", loss {result.loss:.4f}"))

        def study(self, cell: Cell, done: int, total: int) -> None:
            bar.note(f"{cell.method}, trains on the whole video: {done}/{total}")

    return Shown()


def parse_seeds(text: str) -> list[int]:
    """`3` is 0, 1, 2; `0,5` is 0 and 5. Raises UsageError for anything else."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"seeds must be a count or a list of whole numbers, not {printable(text)!r}") from None
    if "," not in text:
        numbers = list(range(numbers[0]))
    if not numbers or min(numbers) < 0:
        raise UsageError(f"seeds must be at least one, and not negative: {printable(text)!r}")
    return numbers


def _changed(streams: list[Stream], degrade: str | None, shuffle: bool) -> list[Stream]:
    from ttt_cli.evaluation import degraded, shuffled

    if degrade is not None:
        streams = [degraded(stream, degrade) for stream in streams]
    return [shuffled(stream) for stream in streams] if shuffle else streams


def _check_classes(weights: Weights, streams: list[Stream]) -> None:
    own = [one.name for one in weights.classes]
    for stream in streams:
        asked = [one.name for one in stream.classes]
        if own != asked:
            raise TttvError(f"weights {printable(weights.name)} know other classes than the labels: {', '.join(asked)}")


def _show(summary: list[Summary], records: list[Record]) -> None:
    """One table for each stream, so that a terminal of 80 columns is wide enough; then the classes."""
    columns = ("method", "pooled", "gain", "paper", "s/frame", "x joint", "MiB")
    labelled = {record.stream: f"{record.frames_scored} of {record.frames} frames labelled" for record in records}
    for stream in dict.fromkeys(row.stream for row in summary):
        rows = [_row(row) for row in summary if row.stream == stream]
        _console.table(f"{stream}: mIoU in percent; {labelled[stream]}", columns, rows)

    names = list(records[0].class_iou)
    shown = [record for record in records if record.seed in (None, records[-1].seed)]
    by_method = [(f"{one.method} {one.stream}", *(f"{one.class_iou[name]:.0f}" for name in names)) for one in shown]
    _console.table("IoU by class, pooled", ("", *(name[:3] for name in names)), by_method)


def _row(row: Summary) -> tuple[str, ...]:
    return (
        row.title,
        f"{row.miou_pooled:.2f}" + (f" ± {row.deviation:.2f}" if row.seeds > 1 else ""),
        "-" if row.gain is None else f"{row.gain:+.2f}",
        f"{row.miou_paper:.2f}",
        f"{row.seconds:.3f}",
        "-" if row.time_ratio is None else f"{row.time_ratio:.2f}",
        "-" if row.peak_mebibytes is None else f"{row.peak_mebibytes:.0f}",
    )
