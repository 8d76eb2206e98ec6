"""Runs of many inputs on the command line: which engine makes them, how far they are, and how they ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ttt_cli.cli import _console
from ttt_cli.cli._groups import VideoRunOptions
from ttt_cli.cli._options import MACHINE
from ttt_cli.core.errors import UsageError, printable
from ttt_cli.core.repeated import repeated

if TYPE_CHECKING:
    from ttt_cli.many.units import Unit
    from ttt_cli.many.work import Outcome
    from ttt_cli.run.request import RunRequest

SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True, kw_only=True)
class ManyOptions:
    """Who makes the runs of many inputs."""

    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            metavar="N",
            min=1,
            rich_help_panel=MACHINE,
            help="Of many inputs, work on N at a time.",
        ),
    ] = 1
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS|auto",
            rich_help_panel=MACHINE,
            hidden=True,
            help="Work on many inputs on a Ray cluster, not here.",
        ),
    ] = None
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            rich_help_panel=MACHINE,
            hidden=True,
            help="Of many inputs, work on the I-th of N shares only.",
        ),
    ] = None

    @property
    def are_given(self) -> bool:
        """Whether any of them is."""
        return self != ManyOptions()


def finish_many(sources: Sequence[str], request: RunRequest, many: ManyOptions, run: VideoRunOptions) -> NoReturn:
    """Makes the runs of all inputs, shows how they ended, and exits with the exit code for all of them."""
    from ttt_cli.many.summary import claim_summary, exit_code, write_summary
    from ttt_cli.many.units import parse_shard, units_of
    from ttt_cli.run.naming import names_video

    if request.truth is not None:
        raise UsageError("--gt scores one video: name one input, or use tttv eval")
    if many.ray is not None and many.workers > 1:
        raise UsageError("--ray leaves it to the cluster how many runs go on at a time: leave --workers out")
    out = request.out or Path("runs")
    if names_video(out):
        raise UsageError(f"{printable(out)}: is one video, and there are many inputs; name a folder with --out")
    shard = None if many.shard is None else parse_shard(many.shard)
    units = units_of(sources, out, request.settings.kind)
    if shard is not None:
        units = shard.of(units)
    path = claim_summary(out, shard)
    outcomes: list[Outcome] = []
    with (
        _console.progress_bar(f"{len(units)} videos", len(units), "videos", not (run.quiet or run.as_json)) as bar,
        _frames_shown(units, bar),
    ):
        for outcome in _outcomes(units, request, many):
            outcomes.append(outcome)
            write_summary(path, outcomes)
            bar.advance("")
            if not (run.quiet or run.as_json):
                bar.say(f"{outcome.status}: {outcome.reason or outcome.folder}")
    _show(outcomes, path, run)
    raise typer.Exit(exit_code(outcomes))


def _outcomes(units: Sequence[Unit], request: RunRequest, many: ManyOptions) -> Iterator[Outcome]:
    """The outcomes of the units, as the engine that was asked for makes them."""
    import torch

    from ttt_cli.core.workers import in_processes
    from ttt_cli.many.local import Runs, in_this_process
    from ttt_cli.many.on_ray import on_ray

    if many.ray is not None:
        return on_ray(units, request, many.ray, torch.get_num_threads())
    if many.workers > 1:
        return (outcome for _, outcome in in_processes(units, Runs(request), many.workers))
    return in_this_process(units, request)


@contextmanager
def _frames_shown(units: Sequence[Unit], bar: _console.Bar) -> Iterator[None]:
    """Shows meanwhile how many frames of all runs are done, as their files say, on whatever machine they are made."""
    from ttt_cli.run.folder import RunFolder

    logs = [RunFolder(unit.folder).frames for unit in units]
    sizes: dict[Path, int] = {}
    frames: dict[Path, int] = {}

    def look() -> None:
        for log in logs:
            size = log.stat().st_size if log.is_file() else 0
            if size != sizes.get(log, 0):
                sizes[log], frames[log] = size, log.read_bytes().count(b"\n")
        bar.note(f"{sum(frames.values())} frames")

    with repeated(look, SECONDS_BETWEEN_LOOKS):
        yield


def _show(outcomes: Sequence[Outcome], path: Path, run: VideoRunOptions) -> None:
    if run.as_json:
        _console.raw(path.read_text(encoding="utf-8"))
        return
    if run.quiet:
        _console.line(path.parent)
        return
    rows = [
        (Path(outcome.folder).name, outcome.status, str(outcome.frames), f"{outcome.seconds:.1f}")
        for outcome in outcomes
    ]
    _console.table(f"{len(outcomes)} videos: {path.parent}", ("run", "status", "frames", "seconds"), rows)
    _console.line(path)
