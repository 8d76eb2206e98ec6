"""`tttv bench`: measures what a run takes on this machine, and says which settings to choose."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from ttt_cli.cli import _console
from ttt_cli.cli import _groups as groups
from ttt_cli.cli import _options as options
from ttt_cli.cli._run import EXIT_CODES, build_request
from ttt_cli.cli._values import Device
from ttt_cli.model.own import STREET
from ttt_cli.run.overrides import AdaptationOverrides, InputOverrides, Overrides

if TYPE_CHECKING:
    from ttt_cli.run.bench_result import Bench

EPILOG = """Examples:

tttv bench drive.mp4

tttv bench drive.mp4 --method online --size 360 --json"""


def bench(
    source: options.Source,
    *,
    weights: options.WeightsName = STREET,
    allow_pickle: options.AllowPickle = False,
    method: options.Method = None,
    size: options.Size = None,
    frames: Annotated[
        int | None,
        typer.Option("--frames", metavar="N", help="Frames of each whole run. (default: as many as do not take long)"),
    ] = None,
    device: options.DeviceName = Device.auto,
    as_json: options.Json = False,
) -> None:
    """Measure on the first frames of a video where the time goes, and say how often to adapt and in which precision.

    Takes about a minute. Writes nothing that stays.
    """
    from ttt_cli.run.folder import to_json
    from ttt_cli.video.live import live_source
    from ttt_cli.video.opening import open_input
    from ttt_cli.video.settings import InputSettings

    if live_source(source) is None:
        open_input(source, InputSettings())  # Tells of a wrong path before torch is imported.
    with _console.spinner("loading PyTorch", not as_json):
        from ttt_cli.run import bench as benchmark
    overrides = Overrides(input=InputOverrides(size=size), adaptation=AdaptationOverrides(method=method))
    compute = groups.ComputeOptions(allow_pickle=allow_pickle, device=device)
    run = groups.VideoRunOptions()
    request = build_request(source, overrides, weights=weights, run=run, compute=compute, out=None, checked=False)
    with _console.progress_bar("tttv bench", benchmark.PARTS, "parts", not as_json) as bar:
        measured = benchmark.measure(request, frames, bar.advance)
    given = {
        "--weights": None if weights == STREET else weights,
        "--allow-pickle": "" if allow_pickle else None,
        "--method": method,
        "--size": size,
        "--device": None if device is Device.auto else device.value,
    }
    command = _command(measured, source, {name: value for name, value in given.items() if value is not None})
    if as_json:
        _console.raw(to_json({**measured.as_json(), "recommended": command}))
    else:
        _show(measured, command)
    if measured.reason is not None:
        _console.error(measured.reason)
        raise typer.Exit(EXIT_CODES["partial"])


def _command(measured: Bench, source: str, given: dict[str, object]) -> str:
    """The command line that is recommended. given: options by name, as they were given."""
    from ttt_cli.adaptation.settings import BUDGET

    adaptation, task = measured.request.settings.adaptation, measured.request.settings.task.task
    words = ["tttv", "colorize" if task == "colorization" else "segment", source]
    for name, value in given.items():
        words += [name, str(value)] if value != "" else [name]
    if measured.recommended is not None:
        words += ["--every", str(measured.recommended.every)]
    elif measured.within_budget is not None:
        words += ["--budget", str(BUDGET)]
    return shlex.join([*words, "--precision", adaptation.precision])


def _show(measured: Bench, command: str) -> None:
    request, model, run = measured.request, measured.model, measured.run
    method = request.settings.adaptation.method
    height, width = measured.video.size
    title = f"{measured.video.name}: {measured.frames} frames of {width}x{height}, weights {request.weights.name}"
    stages = [
        ("decode", run.stages["decode"]),
        ("predict, fixed model", model.fixed),
        (f"predict, {method}", model.predict),
        *([] if model.step is None else [(f"step, {method}", model.step)]),
        *((stage, run.stages[stage]) for stage in ("masks", "draw", "encode")),
        ("whole run, fixed model", run.fixed),
        (f"whole run, {method}, --budget none", run.adapting),
    ]
    _console.table(
        title,
        ("a frame", "milliseconds", "a second"),
        [(name, f"{spent:.1f}", f"{1000 / spent:.2f}" if spent else "") for name, spent in stages],
    )
    if measured.choices:
        _console.table(
            "expected of other runs",
            ("--every", "frames a second", "times the fixed model's run"),
            [
                (str(choice.every), f"{choice.frames_per_second:.2f}", f"{choice.times_fixed:.2f}")
                for choice in measured.choices
            ],
        )
    _console.facts("", _facts(measured))
    _console.line(command)


def _facts(measured: Bench) -> list[tuple[str, str]]:
    from ttt_cli.adaptation.settings import BUDGET

    predictions = ", ".join(f"{name} {spent:.1f} ms" for name, spent in measured.precisions.items())
    rows = [("device", str(measured.request.device)), ("a prediction in", predictions)]
    choice = measured.within_budget
    if choice is not None:
        rows += [
            ("a step", f"{measured.model.step_over_predict:.2f} predictions"),
            (
                f"--budget {BUDGET}",
                f"a step on one frame of {choice.every}, {choice.frames_per_second:.2f} frames a second",
            ),
        ]
    if measured.model.at_rest:
        rows.append(("familiar video", "a step was only a look at the frame; a budget holds if the video changes"))
    if measured.peak_mebibytes is not None:
        rows.append(("peak memory", f"{measured.peak_mebibytes:.0f} MiB"))
    if measured.shortened:
        rows.append(("fewer frames", "to save time on this machine; --frames says how many"))
    return rows
