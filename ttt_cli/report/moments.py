"""Finds the frames of a run that are worth looking at: the best and the worst."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ttt_cli.report.collect import SegmentRun, Values
from ttt_cli.report.seen import Seen

SHOWN = 4
"""Moments of a kind at most."""
APART = 24
"""Moments of a kind are at least this part of the video from each other: neighbors look the same."""


@dataclass(frozen=True)
class Moment:
    """A frame to look at."""

    position: int
    """Of the frame among those of the run."""
    caption: str
    """Why."""


@dataclass(frozen=True)
class Moments:
    """Frames of one kind, the most striking first."""

    title: str
    """What they have in common."""
    moments: Sequence[Moment]
    """At most SHOWN."""


def moments_of(run: SegmentRun, seen: Seen) -> list[Moments]:
    """By the scores if there are any, else by how far the models differ, else by the loss or what changes."""
    scores = run.frame_scores()
    if run.metrics is not None and "adapted" in scores:
        return by_score(run.metrics["score"], f" {run.unit}", scores["adapted"], scores.get("fixed"))
    if seen.agreement is not None:
        return by_agreement(seen.agreement)
    if seen.difference is not None:
        return by_difference(seen.difference)
    return by_loss([frame["loss"] for frame in run.frames]) or by_change(seen.change or ())


def by_score(name: str, unit: str, adapted: Values, fixed: Values | None) -> list[Moments]:
    """Where adapting helped and hurt, if there are scores of the fixed model; and the worst and best frames."""
    kinds = []
    if fixed is not None:
        gains = [None if a is None or f is None else a - f for a, f in zip(adapted, fixed, strict=True)]
        captions = [f"{name} {_number(f)} → {_number(a)}{unit}" for a, f in zip(adapted, fixed, strict=True)]
        kinds = [
            _moments("Adapting helped most", _only(gains, above=0), captions, highest=True),
            _moments("Adapting hurt most", _only(gains, below=0), captions, highest=False),
        ]
    captions = [f"{name} {_number(value)}{unit}" for value in adapted]
    return _found(
        *kinds,
        _moments("Lowest score", adapted, captions, highest=False),
        _moments("Highest score", adapted, captions, highest=True),
    )


def by_agreement(agreement: Values) -> list[Moments]:
    """Where the fixed and the adapted model differ most and least; agreement: 0..1."""
    captions = ["" if value is None else f"{100 * (1 - value):.1f} % differ" for value in agreement]
    return _found(
        _moments("Fixed and adapted differ most", agreement, captions, highest=False),
        _moments("They agree most", agreement, captions, highest=True),
    )


def by_difference(differences: Values) -> list[Moments]:
    """Where the colors of the fixed and the adapted model differ most and least, in 0..255."""
    captions = ["" if value is None else f"{value:.1f} of 255 on average" for value in differences]
    return _found(
        _moments("Fixed and adapted differ most", differences, captions, highest=True),
        _moments("They differ least", differences, captions, highest=False),
    )


def by_loss(losses: Values) -> list[Moments]:
    """Where the loss was highest and lowest, if there are several."""
    if sum(loss is not None for loss in losses) < 2:
        return []
    captions = ["" if loss is None else f"loss {loss:.4g}" for loss in losses]
    return _found(
        _moments("Highest loss", losses, captions, highest=True),
        _moments("Lowest loss", losses, captions, highest=False),
    )


def by_change(changes: Values) -> list[Moments]:
    """Where the prediction changed most."""
    captions = ["" if value is None else f"{100 * value:.1f} % changed" for value in changes]
    return _found(_moments("The prediction changes most", changes, captions, highest=True))


def _moments(title: str, values: Values, captions: Sequence[str], highest: bool) -> Moments:
    """The highest or lowest values; none if all are the same."""
    known = [position for position, value in enumerate(values) if value is not None and math.isfinite(value)]
    if len({captions[position] for position in known}) < 2 and len(known) > 1:
        return Moments(title, [])
    ranked = sorted(known, key=lambda position: values[position] or 0.0, reverse=highest)
    chosen: list[int] = []
    for position in ranked:
        if all(abs(position - other) > len(values) / APART for other in chosen):
            chosen.append(position)
        if len(chosen) == SHOWN:
            break
    return Moments(title, [Moment(position, captions[position]) for position in chosen])


def _only(values: Values, above: float = -math.inf, below: float = math.inf) -> Values:
    return [value if value is not None and above < value < below else None for value in values]


def _found(*kinds: Moments) -> list[Moments]:
    return [kind for kind in kinds if kind.moments]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
