"""How `tttv segment` and `tttv colorize` show a finished run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ttt_cli.cli import _console

if TYPE_CHECKING:
    from ttt_cli.run.runner import Run

CUTS_SHOWN = 5


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
        _console.line(folder.video or folder.path)
        return
    _console.facts(f"{report.status}: {folder.path}", _rows(finished))
    if folder.video is not None and folder.video.exists():
        _console.line(folder.video)
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
