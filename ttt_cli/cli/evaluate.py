"""`tttv eval`: compares methods on labeled videos."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ttt_cli.cli import _console
from ttt_cli.cli import _groups as groups
from ttt_cli.cli import _options as options
from ttt_cli.cli._scores import present
from ttt_cli.cli._signature import with_options
from ttt_cli.cli._values import parse_seeds, parse_window
from ttt_cli.core.class_names import parse_renames
from ttt_cli.core.errors import TttvError, UsageError, printable
from ttt_cli.model.own import COLOR, STREET, shipped_for
from ttt_cli.run.overrides import Overrides, ReconstructionOverrides, Tables, TaskOverrides

if TYPE_CHECKING:
    from ttt_cli.adaptation.settings import AdaptationSettings
    from ttt_cli.evaluate.cells import Progress
    from ttt_cli.evaluate.evaluation import Cell
    from ttt_cli.evaluate.running import Watcher

EPILOG = """Examples:

tttv eval --dataset camvid --gt camvid/video_0016E5_15hz

tttv eval --dataset camvid --gt camvid --method all --seeds 3 --degrade low-light

tttv eval --dataset camvid --gt camvid --degrade fog:3

tttv eval --dataset camvid --gt camvid --method joint,online --window 1,4,16,64,inf

tttv eval --dataset coco-videos --gt annotations/ --task panoptic"""


class Protocol(str, Enum):
    """How the frames of a video become one score."""

    both = "both"
    pooled = "pooled"
    paper = "paper"


class Evaluator(str, Enum):
    """Whose code scores predictions."""

    ours = "ours"
    detectron2 = "detectron2"


@with_options
def evaluate(
    *,
    dataset: Annotated[
        str,
        typer.Option(
            "--dataset",
            metavar="NAME",
            help="Layout of the data: camvid, coco-videos, kitti-step, coco, davis, folder, color-video or lumiere.",
        ),
    ],
    truth: Annotated[Path, typer.Option("--gt", metavar="DIR", help="The labels, laid out as published.")],
    task: options.Task = None,
    method: Annotated[
        str, typer.Option("--method", metavar="A,...|all", help="Methods to run; tttv methods lists them.")
    ] = "joint,online",
    seeds: Annotated[str, typer.Option("--seeds", metavar="N|A,B", help="A count of seeds (from 0), or a list.")] = "1",
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="NAME|PATH",
            help=f"Weights, by name or by path. (default: {COLOR} for colorization, else {STREET})",
        ),
    ] = None,
    degrade: Annotated[
        str | None,
        typer.Option(
            "--degrade",
            metavar="NAME[:1-5]",
            help="Degrade every frame: low-light, old-film, or a corruption and its severity, such as fog:3.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Folder for the results; continues a stopped evaluation there. (default: runs/eval-DATASET)",
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images", metavar="DIR", rich_help_panel=options.INPUT, help="The frames, if they are elsewhere."
        ),
    ] = None,
    renames: options.Renames = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split", metavar="NAME", rich_help_panel=options.INPUT, help="Part of the data set, such as val."
        ),
    ] = None,
    every: Annotated[
        int | None,
        typer.Option(
            "--every",
            metavar="N",
            rich_help_panel=options.INPUT,
            help="Score every Nth frame. (default: as in the paper)",
        ),
    ] = None,
    shuffle: Annotated[
        bool,
        typer.Option(
            "--shuffle",
            rich_help_panel=options.INPUT,
            help="Shuffle the frames, which removes what online training relies on.",
        ),
    ] = False,
    frames: groups.FrameOptions,
    window: Annotated[
        str | None,
        typer.Option(
            "--window",
            metavar="K,...",
            rich_help_panel=options.ADAPTATION,
            help="Windows to compare, in frames; inf is all so far.",
        ),
    ] = None,
    training: groups.TrainingOptions,
    protocol: Annotated[
        Protocol,
        typer.Option("--protocol", rich_help_panel=options.OUTPUT, help="Which scores to show; the files have both."),
    ] = Protocol.both,
    evaluator: Annotated[
        Evaluator,
        typer.Option(
            "--evaluator", rich_help_panel=options.OUTPUT, help="detectron2: its evaluators score each pass too."
        ),
    ] = Evaluator.ours,
    consistency: Annotated[
        bool,
        typer.Option(
            "--consistency",
            rich_help_panel=options.OUTPUT,
            help="Also measure how little the predictions flicker (needs OpenCV).",
        ),
    ] = False,
    videos: Annotated[
        bool,
        typer.Option(
            "--videos",
            rich_help_panel=options.OUTPUT,
            help="Write an overlay video of each pass with the first seed.",
        ),
    ] = False,
    run: groups.RunOptions,
    compute: groups.ComputeOptions,
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            metavar="N",
            min=1,
            rich_help_panel=options.MACHINE,
            help="Measure N passes at a time, each in a process with its share of the processor.",
        ),
    ] = 1,
) -> None:
    """Score methods on labeled videos by both protocols, and compare their time with the fixed model's.

    "pooled" is one score over all frames together; "paper" averages the scores of single frames. Labels are used only
    for scoring. Finished passes are kept: the same command continues a stopped evaluation, and other methods, windows
    and seeds can be added later.
    """
    names = [name.strip() for name in method.split(",")]
    _check_early(truth, [] if method == "all" else names)
    chosen_seeds = parse_seeds(seeds)
    visible = not (run.quiet or run.as_json)
    with _console.spinner("loading PyTorch", visible):
        from ttt_cli.adaptation.methods import defined_methods
    from ttt_cli.datasets import default_task
    from ttt_cli.datasets.degrade import parse_degradation
    from ttt_cli.datasets.source import StreamSource
    from ttt_cli.datasets.stream import StreamRequest
    from ttt_cli.evaluate.experiment import Experiment
    from ttt_cli.evaluate.running import run_experiment
    from ttt_cli.model.opening import open_weights
    from ttt_cli.run.settings import choose_device, resolve, tables_of_methods

    opened = open_weights(weights or shipped_for(task or default_task(dataset)), compute.allow_pickle)
    device = choose_device(compute.device.value)
    overrides = Overrides(
        input=frames.overrides(),
        task=TaskOverrides(task=task or (default_task(dataset) if run.config is None else None)),
        adaptation=training.overrides(compute),
        reconstruction=ReconstructionOverrides(mask_ratio=training.mask_ratio),
        assigned=run.assigned(),
    )
    common = resolve(opened, run.config, overrides, device)
    method_tables = tables_of_methods(run.config, overrides)
    _check_not_varied(overrides.assigned.get("adaptation", {}), method_tables)
    task_name = common.task.task
    methods, left_out = defined_methods(opened, task_name) if method == "all" else (names, [])
    request = StreamRequest(truth, images, common.input, task_name, every, split)
    class_names = parse_renames(renames or [])
    source = StreamSource(dataset, request, opened.classes, degrade, shuffle, class_names)
    plan = Experiment(
        data={
            "dataset": dataset,
            "truth": str(truth.resolve()),
            "split": split,
            "every": every,
            "map": class_names,
        },
        streams=source.open(),
        weights=opened,
        settings={name: resolve(opened, run.config, _of_method(overrides, name), device) for name in methods},
        common=common,
        windows=_windows(window, common.adaptation, overrides),
        seeds=chosen_seeds,
        device=device,
        consistency=consistency,
        videos=videos,
        detectron=evaluator is Evaluator.detectron2,
        method_tables=method_tables,
        source=source,
    )
    change = None if degrade is None else parse_degradation(degrade).file_name
    parts = ["eval", dataset, "" if task_name == "semantic" else task_name, change, "shuffled" if shuffle else ""]
    folder = out or Path("runs") / "-".join(part for part in parts if part)
    for warning in plan.warnings if visible else ():
        _console.warning(warning)
    with _console.progress_bar(dataset, None, "frames", visible) as bar:
        outcome = run_experiment(plan, folder, run.overwrite, _watcher(bar), workers)
    present(outcome, folder, run, protocol.value, left_out, videos)


def _check_early(truth: Path, methods: list[str]) -> None:
    """Raises what would be told later, after torch is imported, of labels that are not there and unknown methods."""
    from ttt_cli.adaptation.catalog import require_method

    if not truth.exists():
        raise TttvError(f"{printable(truth)}: there is no such file or folder of labels; check --gt")
    for name in methods:
        require_method(name)


def _of_method(overrides: Overrides, method: str) -> Overrides:
    return replace(overrides, adaptation=replace(overrides.adaptation, method=method))


def _check_not_varied(assigned: dict[str, Any], method_tables: Tables) -> None:
    """Raises UsageError for settings that vary between passes: they would have no effect."""
    tables = {"--set adaptation": (assigned, ("method", "seed"))}
    tables |= {f"adaptation.{method}": (table, ("window", "seed")) for method, table in method_tables.items()}
    for where, (table, varied) in tables.items():
        for name in varied:
            if name in table:
                option = {"method": "--method", "seed": "--seeds", "window": "--window"}[name]
                raise UsageError(f"{printable(where)}.{name}: tttv eval takes it from {option}")


def _windows(window: str | None, common: AdaptationSettings, overrides: Overrides) -> list[int]:
    """The windows of `--window`, unless `--set` gives another."""
    if window is None or "window" in overrides.assigned.get("adaptation", {}):
        return [common.window]
    return [parse_window(frames) for frames in window.split(",")]


def _watcher(bar: _console.Bar) -> Watcher:
    """Shows an experiment's progress."""
    from ttt_cli.evaluate.cells import OfflineStep
    from ttt_cli.evaluate.running import Watcher

    class Shown(Watcher):
        def start(self, frames: int) -> None:
            bar.expect(frames)

        def progress(self, cell: Cell, progress: Progress) -> None:
            if isinstance(progress, OfflineStep):
                bar.note(f"{cell.method}, trains on the whole video: {progress.done}/{progress.total}")
                return
            if progress.out_of_memory is not None:
                _console.warning(f"{cell.stream}, {cell.method}: {progress.out_of_memory}")
            bar.advance(cell.method + ("" if progress.loss is None else f", loss {progress.loss:.4f}"))

    return Shown()
