"""The curves under the player of a run, as data for charts.js."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ttt_cli.report.collect import SegmentRun, Values
from ttt_cli.report.seen import Seen

LOSS_OF = {
    "tent": "entropy of the prediction, in nats",
    "self-train": "cross-entropy with its own labels",
    "cotta": "cross-entropy with the average model's labels",
    "align": "distance from ordinary features",
    "auto": "distance from ordinary features",
    "online+self-train": "reconstruction and cross-entropy",
}
"""What the loss of a method is, by the beginning of its name; that of all others is of the reconstruction."""
STAGES = {"adapt": "adapt", "predict": "predict", "predict_fixed": "predict (fixed)"}
"""Stages that have a curve of their own; those of reading and writing share one."""
WHY = {"scene": "a scene begins", "change": "the loss jumped", "interval": "its turn"}
"""What the reasons in adaptation/pace.py mean."""
Chart = dict[str, Any]


def loss_kind(method: str) -> str:
    """What the loss of a method measures."""
    names = [name for name in LOSS_OF if f"{method}+".startswith(f"{name}+")]
    return LOSS_OF[max(names, key=len)] if names else "reconstruction"


def charts_of(run: SegmentRun, seen: Seen) -> list[Chart]:
    """All charts that the run has values for."""
    frames = run.frames
    score = "" if run.metrics is None else run.metrics["score"]
    losses = [frame["loss"] for frame in frames]
    strangeness = [frame.get("strangeness") for frame in frames]
    limits = [frame.get("dead_zone") for frame in frames]
    charts = [
        chart_of(f"{score} of the frame", run.unit, run.frame_scores()),
        chart_of(f"Loss: {loss_kind(run.method)}", "", {"loss": losses}),
        _steps(frames),
        chart_of("Agreement of fixed and adapted", "%", {"agreement": _percent(seen.agreement or ())}),
        chart_of("Difference of fixed and adapted", "of 255", {"difference": seen.difference or ()}, from_zero=True),
        chart_of("How unlike ordinary pictures", "", {"strangeness": strangeness}, from_zero=True),
        chart_of("Features kept within", "spreads", {"limit": limits}) if len(set(limits)) > 1 else None,
        chart_of("Time", "ms", _times(frames), from_zero=True),
    ]
    return [chart for chart in charts if chart is not None]


def chart_of(
    title: str, unit: str, lines: Mapping[str, Values], colors: Mapping[str, str] | None = None, from_zero: bool = False
) -> Chart | None:
    """A chart; None if no line has two values. colors: of lines; those of the page if there are none."""
    known = {name: values for name, values in lines.items() if sum(value is not None for value in values) > 1}
    if not known:
        return None
    drawn = [
        {"name": name, "values": list(values), "color": (colors or {}).get(name)} for name, values in known.items()
    ]
    return {"title": title, "unit": unit, "lines": drawn, "fromZero": from_zero}


def _steps(frames: Sequence[Mapping[str, Any]]) -> Chart | None:
    """A strip of the frames that were adapted to, by why."""
    marks: dict[str, list[int]] = {}
    for position, frame in enumerate(frames):
        if frame.get("adapted"):
            marks.setdefault(WHY.get(frame["adapted"], frame["adapted"]), []).append(position)
    undone = [position for position, frame in enumerate(frames) if frame["skipped_steps"]]
    if undone:
        marks["step undone"] = undone
    if not marks:
        return None
    adapted = sum(bool(frame.get("adapted")) for frame in frames)
    title = f"Adapted to {adapted} of {len(frames)} frames"
    return {"title": title, "marks": [{"name": name, "at": at} for name, at in marks.items()]}


def _times(frames: Sequence[Mapping[str, Any]]) -> dict[str, Values]:
    stages = {title: [frame["milliseconds"].get(stage) for frame in frames] for stage, title in STAGES.items()}
    rest = [sum(spent for stage, spent in frame["milliseconds"].items() if stage not in STAGES) for frame in frames]
    return {**stages, "read and write": [round(value, 2) for value in rest]}


def _percent(values: Iterable[float | None]) -> list[float | None]:
    return [None if value is None else round(100 * value, 2) for value in values]
