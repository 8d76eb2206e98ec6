"""What an evaluation compares."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ttt_cli.datasets.fingerprint import fingerprint
from ttt_cli.datasets.source import StreamSource
from ttt_cli.datasets.stream import Stream
from ttt_cli.evaluate.journal import EVALUATION
from ttt_cli.model.weights import Weights
from ttt_cli.run.folder import OWNER
from ttt_cli.run.overrides import Tables
from ttt_cli.run.settings import RunSettings, adaptation_record, task_of


@dataclass(frozen=True)
class Experiment:
    """Which methods are compared on which streams, and how."""

    data: dict[str, Any]
    """Where the streams come from, for the record."""
    streams: Sequence[Stream]
    weights: Weights
    settings: dict[str, RunSettings]
    """By method name."""
    common: RunSettings
    """Settings that all methods share, without the recommendations of any method."""
    windows: Sequence[int]
    seeds: Sequence[int]
    device: torch.device
    consistency: bool = False
    """Measure consistency too, see metrics/consistency.py."""
    videos: bool = False
    """Write an overlay video for each pass with the first seed."""
    detectron: bool = False
    """Score by detectron2's evaluators too, see evaluate/detectron.py."""
    method_tables: Tables = field(default_factory=dict)
    """The user's settings for single methods."""
    source: StreamSource | None = None
    """What opens the same streams in another process; None if nothing can."""

    @property
    def warnings(self) -> list[str]:
        """Data that is left out and metrics that are missing, one line each."""
        metric = task_of(self.weights, self.common).new_metric()
        return [*(warning for stream in self.streams for warning in stream.warnings), *metric.missing_metrics()]

    def subject(self) -> dict[str, Any]:
        """Everything that a cell's score depends on except stream, method, window and seed."""
        return {
            OWNER: EVALUATION,
            **self.data,
            "data_sha256": fingerprint(self.streams),
            "weights": self.weights.identity(),
            "input": dataclasses.asdict(self.common.input),
            "task": dataclasses.asdict(self.common.task),
            "adaptation": adaptation_record(self.common.adaptation),
            **({"adaptation_by_method": self.method_tables} if self.method_tables else {}),
            "reconstruction": dataclasses.asdict(self.common.reconstruction),
            "device": str(self.device),
            "consistency": self.consistency,
        }
