"""summary.json: how the runs of many videos ended."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ttt_cli.core.errors import TttvError, printable
from ttt_cli.many.units import Shard
from ttt_cli.many.work import Outcome
from ttt_cli.run.folder import OWNER, write_json

SUMMARY = "summary"
"""Stem of the file, and what its record says that it is."""
FINISHED = ("done", "done before")


def claim_summary(out: Path, shard: Shard | None) -> Path:
    """The path of the summary in the folder of the run folders, which is created. Each shard has one of its own.

    Raises TttvError if the folder cannot be written, or the file is somebody else's.
    """
    path = out / (f"{SUMMARY}.json" if shard is None else f"{SUMMARY}-{shard.index}-of-{shard.count}.json")
    try:
        out.mkdir(parents=True, exist_ok=True)
        content = json.loads(path.read_bytes()) if path.exists() else {OWNER: SUMMARY}
    except OSError as error:
        raise TttvError(f"{printable(out)}: cannot be written ({error.strerror}); choose another --out") from error
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or content.get(OWNER) != SUMMARY:
        raise TttvError(f"{printable(path)}: was not written by tttv; move it away, or choose another --out")
    return path


def write_summary(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Writes the outcomes so far, and how many of them there are of each status."""
    counts = Counter(outcome.status for outcome in outcomes)
    runs = [dataclasses.asdict(outcome) for outcome in outcomes]
    write_json(path, {OWNER: SUMMARY, "counts": dict(counts), "runs": runs})


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0 if all are done, 130 if one was interrupted, else 3."""
    statuses = {outcome.status for outcome in outcomes}
    if "interrupted" in statuses:
        return 130
    return 0 if statuses <= set(FINISHED) else 3
