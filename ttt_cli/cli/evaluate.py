"""`tttv eval`: methods against each other on labelled videos."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ttt_cli.cli import _console
from ttt_cli.cli import _options as options
from ttt_cli.errors import TttvError, UsageError, printable

if TYPE_CHECKING:
    from ttt_cli.datasets.stream import Stream
    from ttt_cli.evaluation import Record, Summary
    from ttt_cli.frame import Result
    from ttt_cli.weights import Weights

METRICS = "metrics.json"
TABLE = "metrics.csv"

EPILOG = """Examples:

tttv eval --dataset camvid --gt camvid/video_0016E5_15hz

tttv eval --dataset camvid --gt camvid --seeds 3 --degrade low-light --json"""


def evaluate(
    dataset: Annotated[str, typer.Option("--dataset", metavar="NAME", help="Layout of the data: camvid.")],
    truth: Annotated[Path, typer.Option("--gt", metavar="DIR", help="Has images/ and labels/, or such folders.")],
    method: Annotated[str, typer.Option("--method", metavar="A,...", help="Methods to run.")] = "joint,online",
    seeds: Annotated[str, typer.Option("--seeds", metavar="N|A,B", help="How many seeds (from 0), or which.")] = "1",
    window: options.Window = None,
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
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="For metrics.json and metrics.csv. (default: runs/eval-DATASET)"),
    ] = None,
    overwrite: options.Overwrite = False,
    config: options.Config = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Score methods on labelled videos by both protocols, with time beside the fixed model's.

    "pooled" is one confusion matrix over all pixels; "paper" averages the frames' mIoU. Labels serve scoring alone.
    """
    from ttt_cli import evaluation
    from ttt_cli.datasets import DATASETS
    from ttt_cli.run_folder import to_json, write_json
    from ttt_cli.run_record import machine, versions
    from ttt_cli.run_settings import choose_device, resolve
    from ttt_cli.weights import open_weights, sha256

    if dataset not in DATASETS:
        raise UsageError(f"data set {printable(dataset)!r} is unknown; known: {', '.join(DATASETS)}")
    methods = [name.strip() for name in method.split(",")]
    numbers = parse_seeds(seeds)
    opened = open_weights(weights)
    place = choose_device(device.value)
    chosen = {
        "input": {"size": size, "stride": stride, "max_frames": max_frames},
        "adaptation": options.adaptation_table(
            window=window,
            steps=steps,
            batch=batch,
            learning_rate=learning_rate,
            seed=None,
            precision=precision,
        ),
        "reconstruction": {"mask_ratio": mask_ratio},
    }
    settings = resolve(opened, config, chosen, place)
    streams = DATASETS[dataset](truth, settings.input)
    _check_classes(opened, streams)
    if degrade is not None:
        streams = [evaluation.degraded(stream, degrade) for stream in streams]
    folder = out or Path("runs") / f"eval-{dataset}{'' if degrade is None else '-' + degrade}"
    _prepare(folder, overwrite)
    model = opened.load().to(place)

    lengths = [stream.video.length or 0 for stream in streams]
    expected = sum(lengths) * len(evaluation.passes(model, methods, numbers))
    with _console.progress_bar(dataset, expected, "frames", shown=not (quiet or as_json)) as bar:

        def on_frame(result: Result) -> None:
            bar.advance("" if result.loss is None else f"loss {result.loss:.4f}")

        records = list(
            evaluation.evaluate(
                model,
                streams,
                methods,
                numbers,
                settings.adaptation,
                settings.reconstruction,
                settings.input.size,
                place,
                on_frame,
            )
        )
    content = {
        "dataset": dataset,
        "degrade": degrade,
        "weights": {"name": opened.name, "path": str(opened.path), "sha256": sha256(opened.path)},
        "settings": dataclasses.asdict(settings),
        "device": str(place),
        "machine": machine(place),
        "versions": versions(),
        "summary": [dataclasses.asdict(row) for row in evaluation.summarise(records)],
        "records": [dataclasses.asdict(record) for record in records],
    }
    try:
        write_json(folder / METRICS, content)
        evaluation.write_csv(folder / TABLE, records)
    except OSError as error:
        raise TttvError(f"{printable(folder)}: can not be written ({error.strerror}); choose another --out") from error
    if as_json:
        print(to_json({"folder": str(folder), **content}))
    elif quiet:
        _console.line(folder)
    else:
        _show(evaluation.summarise(records), records)
        _console.line(folder / METRICS)
        _console.line(folder / TABLE)


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


def _check_classes(weights: Weights, streams: list[Stream]) -> None:
    own = [one.name for one in weights.classes]
    for stream in streams:
        asked = [one.name for one in stream.classes]
        if own != asked:
            raise TttvError(f"weights {printable(weights.name)} know other classes than the labels: {', '.join(asked)}")


def _prepare(folder: Path, overwrite: bool) -> None:
    """Makes the folder, before hours are spent. Raises TttvError where it can not be, or holds results already."""
    shown = printable(folder)
    for name in (METRICS, TABLE):
        if (folder / name).exists() and not overwrite:
            raise TttvError(f"{shown}: holds {name} already; add --overwrite, or name another folder with --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TttvError(f"{shown}: can not be written ({error.strerror}); choose another --out") from error


def _show(summary: list[Summary], records: list[Record]) -> None:
    rows = []
    for row in summary:
        pooled = f"{row.miou_pooled:.2f}" + (f" ± {row.deviation:.2f}" if row.seeds > 1 else "")
        gain = "-" if row.gain is None else f"{row.gain:+.2f}"
        ratio = "-" if row.time_ratio is None else f"{row.time_ratio:.2f}"
        rows.append((row.stream, row.method, pooled, gain, f"{row.miou_paper:.2f}", f"{row.seconds:.3f}", ratio))
    columns = ("stream", "method", "pooled", "gain", "paper", "s/frame", "x joint")
    _console.table("mIoU in percent, averaged over seeds", columns, rows)

    names = list(records[0].class_iou)
    shown = [record for record in records if record.seed in (None, records[-1].seed)]
    by_class = [(name, *(f"{record.class_iou[name]:.1f}" for record in shown)) for name in names]
    _console.table("IoU by class, pooled", ("class", *(f"{one.method} {one.stream}" for one in shown)), by_class)
