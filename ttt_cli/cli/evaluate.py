"""`tttv eval`: methods against each other on labelled videos."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ttt_cli.cli import _console
from ttt_cli.cli import _options as options
from ttt_cli.errors import TttvError, UsageError, printable

if TYPE_CHECKING:
    import torch

    from ttt_cli.comparison import Record, Summary
    from ttt_cli.datasets.stream import Stream
    from ttt_cli.evaluation import Cell, Entrant
    from ttt_cli.frame import Result
    from ttt_cli.journal import Journal
    from ttt_cli.run_settings import RunSettings
    from ttt_cli.weights import Weights

METRICS = "metrics.json"
TABLE = "metrics.csv"
LATEX = "metrics.tex"

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
    from ttt_cli.datasets import DATASETS
    from ttt_cli.evaluation import entrants, plan
    from ttt_cli.methods import METHODS
    from ttt_cli.run_folder import locked
    from ttt_cli.run_settings import choose_device, resolve
    from ttt_cli.weights import open_weights

    if dataset not in DATASETS:
        raise UsageError(f"data set {printable(dataset)!r} is unknown; known: {', '.join(DATASETS)}")
    methods = list(METHODS) if method == "all" else [name.strip() for name in method.split(",")]
    numbers = parse_seeds(seeds)
    opened, place = open_weights(weights), choose_device(device.value)
    adaptation = options.adaptation_table(
        window=None, steps=steps, batch=batch, learning_rate=learning_rate, seed=None, precision=precision
    )
    chosen = {
        "input": {"size": size, "stride": stride, "max_frames": max_frames},
        "adaptation": adaptation,
        "reconstruction": {"mask_ratio": mask_ratio},
    }
    settings = {
        name: resolve(opened, config, {**chosen, "adaptation": {**adaptation, "method": name}}, place)
        for name in methods
    }
    common = resolve(opened, config, chosen, place)
    windows = [options.parse_window(one) for one in window.split(",")] if window else [common.adaptation.window]
    streams = _changed(DATASETS[dataset](truth, common.input), degrade, shuffle)
    _check_classes(opened, streams)
    ready = entrants(opened, settings, place)
    cells = plan(ready, streams, windows, numbers)
    subject = _subject(dataset, truth, opened, common, place)
    folder = out or Path("runs") / "-".join(["eval", dataset, *([degrade] if degrade else []), *["shuffled"] * shuffle])
    with locked(folder):
        journal = _journal(folder, subject, overwrite)
        _run(cells, streams, ready, journal, title=dataset, shown=not (quiet or as_json))
        content, summary, records = _results(cells, journal, subject, settings, opened, place)
        _write(folder, content, summary, records)
    if as_json:
        from ttt_cli.run_folder import to_json

        print(to_json({"folder": str(folder), **content}))
    elif quiet:
        _console.line(folder)
    else:
        _show(summary, records)
        for name in (METRICS, TABLE, LATEX):
            _console.line(folder / name)


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


def _subject(
    dataset: str, truth: Path, weights: Weights, settings: RunSettings, device: torch.device
) -> dict[str, Any]:
    """All that the score of a cell depends on, beside method, window and seed."""
    from ttt_cli.weights import sha256

    return {
        "dataset": dataset,
        "truth": str(truth.resolve()),
        "weights": {"name": weights.name, "path": str(weights.path), "sha256": sha256(weights.path)},
        "input": dataclasses.asdict(settings.input),
        "adaptation": dataclasses.asdict(settings.adaptation),
        "reconstruction": dataclasses.asdict(settings.reconstruction),
        "device": str(device),
    }


def _run(
    cells: list[Cell],
    streams: list[Stream],
    entrants: dict[str, Entrant],
    journal: Journal,
    *,
    title: str,
    shown: bool,
) -> None:
    """Runs the cells that are not finished yet."""
    from ttt_cli import evaluation

    by_name = {stream.name: stream for stream in streams}
    missing = [cell for cell in cells if cell not in journal.finished]
    expected = sum(by_name[cell.stream].video.length or 0 for cell in missing)
    with _console.progress_bar(title, expected, "frames", shown) as bar:
        for cell in missing:

            def on_frame(result: Result, name: str = cell.method) -> None:
                bar.advance(name + ("" if result.loss is None else f", loss {result.loss:.4f}"))

            def on_study(done: int, total: int, name: str = cell.method) -> None:
                bar.note(f"{name}, trains on the whole video: {done}/{total}")

            tally = evaluation.measure(cell, by_name[cell.stream], entrants[cell.method], on_frame, on_study)
            journal.add(cell, tally)


def _results(
    cells: list[Cell],
    journal: Journal,
    subject: dict[str, Any],
    settings: dict[str, RunSettings],
    weights: Weights,
    device: torch.device,
) -> tuple[dict[str, Any], list[Summary], list[Record]]:
    """What metrics.json holds, and the rows in it."""
    from ttt_cli import comparison
    from ttt_cli.run_record import machine, versions

    records = comparison.records_of({cell: journal.finished[cell] for cell in cells}, weights.classes)
    summary = comparison.summarise(records)
    content = {
        **subject,
        "settings": {name: dataclasses.asdict(one.adaptation) for name, one in settings.items()},
        "machine": machine(device),
        "versions": versions(),
        "summary": [dataclasses.asdict(row) for row in summary],
        "records": [dataclasses.asdict(record) for record in records],
    }
    return content, summary, records


def _write(folder: Path, content: dict[str, Any], summary: list[Summary], records: list[Record]) -> None:
    from ttt_cli import comparison
    from ttt_cli.run_folder import write_json

    with _writing(folder):
        write_json(folder / METRICS, content)
        comparison.write_csv(folder / TABLE, records)
        comparison.write_latex(folder / LATEX, summary)


def _check_classes(weights: Weights, streams: list[Stream]) -> None:
    own = [one.name for one in weights.classes]
    for stream in streams:
        asked = [one.name for one in stream.classes]
        if own != asked:
            raise TttvError(f"weights {printable(weights.name)} know other classes than the labels: {', '.join(asked)}")


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TttvError(f"{printable(folder)}: can not be written ({error.strerror}); choose another --out") from error


def _journal(folder: Path, subject: dict[str, Any], overwrite: bool) -> Journal:
    """The finished cells in the folder; none with `overwrite`."""
    from ttt_cli.journal import CELLS, Journal
    from ttt_cli.run_folder import REPORT

    with _writing(folder):
        if overwrite:
            for name in (CELLS, METRICS, TABLE, LATEX, REPORT):
                (folder / name).unlink(missing_ok=True)
        return Journal(folder / CELLS, subject)


def _show(summary: list[Summary], records: list[Record]) -> None:
    """One table for each stream, so that a terminal of 80 columns is wide enough; then the classes."""
    columns = ("method", "pooled", "gain", "paper", "s/frame", "x joint", "MiB")
    for stream in dict.fromkeys(row.stream for row in summary):
        rows = [_row(row) for row in summary if row.stream == stream]
        _console.table(f"{stream}: mIoU in percent, averaged over seeds", columns, rows)

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
