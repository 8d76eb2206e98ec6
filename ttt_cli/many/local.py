"""Makes runs on this machine: in this process, or in several others (core/workers.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ttt_cli.core.workers import Work
from ttt_cli.many.units import Unit
from ttt_cli.many.work import Outcome, carry_out
from ttt_cli.run.request import RunRequest


def in_this_process(units: Sequence[Unit], request: RunRequest) -> Iterator[Outcome]:
    """Yields the outcomes of the units, one after the other; an interrupted one is the last."""
    for unit in units:
        outcome = carry_out(unit, request)
        yield outcome
        if outcome.status == "interrupted":
            return


@dataclass(frozen=True)
class Runs(Work[Unit, None, Outcome]):
    """Makes runs. One whose process was killed goes on where it was."""

    request: RunRequest
    """For any unit."""

    def perform(self, unit: Unit, note: Callable[[None], None]) -> Outcome:
        """The outcome of the unit's run."""
        return carry_out(unit, self.request)

    def lost(self, unit: Unit, reason: str | None) -> Outcome:
        """A failure, or an interruption."""
        status = "interrupted" if reason is None else "failed"
        return Outcome(str(unit.source), str(unit.folder), status, reason=reason)

    def is_interrupted(self, result: Outcome) -> bool:
        """Whether the run was ended before its time."""
        return result.status == "interrupted"
