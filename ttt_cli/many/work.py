"""Makes the run of one unit. Whatever engine it is on, this is what it calls."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ttt_cli.core.errors import AlreadyDone, LeasedElsewhere, TttvError
from ttt_cli.many.units import Unit
from ttt_cli.run.folder import RunFolder
from ttt_cli.run.lease import SECONDS_UNTIL_STALE
from ttt_cli.run.request import RunRequest
from ttt_cli.run.runner import Run, run_video

if TYPE_CHECKING:
    from ttt_cli.model.split import SplitModel
    from ttt_cli.model.weights import Weights


SECONDS_BETWEEN_TRIES = 5.0


@dataclass(frozen=True)
class Outcome:
    """How the run of a unit ended."""

    source: str
    """As in the unit."""
    folder: str
    """As in the unit."""
    status: str
    """As in run.json; "failed" also if no run began. "done before" if there was nothing left to do."""
    frames: int = 0
    """In the files."""
    seconds: float = 0.0
    """Of this call."""
    reason: str | None = None
    """Why it is not done."""


def carry_out(unit: Unit, request: RunRequest) -> Outcome:
    """Makes a unit's run: goes on if it was cut off, and does nothing if it is done. Errors become an outcome.

    request: for any unit. With `overwrite` every run begins anew.
    """
    began = time.perf_counter()
    request = dataclasses.replace(
        request,
        source=unit.source,
        out=unit.folder,
        resume=not request.overwrite,
        load=_loaded,
    )
    status, frames, reason = "failed", 0, None
    try:
        report = _run_when_free(request).report
        status, frames, reason = report.status, report.frames, report.reason
    except AlreadyDone:
        status, frames = "done before", (RunFolder(unit.folder).record() or {}).get("frames", 0)
    except KeyboardInterrupt:
        status, reason = "interrupted", "interrupted before its first frame"
    except TttvError as error:
        reason = str(error)
    except Exception as error:
        reason = f"{type(error).__name__}: {error} (unexpected)"
    return Outcome(unit.source, str(unit.folder), status, frames, time.perf_counter() - began, reason)


def _run_when_free(request: RunRequest) -> Run:
    """Makes a run. A machine that is gone leaves its run to another one only when its lease is stale."""
    began = time.monotonic()
    while True:
        try:
            return run_video(request)
        except LeasedElsewhere:
            if time.monotonic() - began > SECONDS_UNTIL_STALE + SECONDS_BETWEEN_TRIES:
                raise
        time.sleep(SECONDS_BETWEEN_TRIES)


_models: dict[str, SplitModel] = {}
"""The model of the last run of this process, by the checksum of its weights."""


def _loaded(weights: Weights) -> SplitModel:
    """The model, which every run gives back as it was, so that it is loaded once in each process."""
    key = weights.checksum()
    if key not in _models:
        _models.clear()
        _models[key] = weights.load()
    return _models[key]
