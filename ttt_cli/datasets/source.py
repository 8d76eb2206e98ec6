"""Which streams an evaluation is of, in a form that can be sent to other processes, as streams cannot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ttt_cli.core.classes import Class
from ttt_cli.datasets import open_streams
from ttt_cli.datasets.changes import fitting, shuffled
from ttt_cli.datasets.degrade import degraded, parse_degradation
from ttt_cli.datasets.stream import Stream, StreamRequest


@dataclass(frozen=True)
class StreamSource:
    """The streams of a data set, perhaps changed. Every process that opens them gets the same."""

    dataset: str
    """A key of DATASETS."""
    request: StreamRequest
    classes: tuple[Class, ...]
    """Those of the weights; see `fitting`."""
    degrade: str | None = None
    """As for `parse_degradation`; None leaves the frames as they are."""
    shuffle: bool = False
    renames: Mapping[str, str] = field(default_factory=dict)
    """The weights' names of classes by those of the labels, where they differ."""

    def open(self) -> list[Stream]:
        """The streams. Raises what `open_streams`, `parse_degradation` and `fitting` raise."""
        degradation = None if self.degrade is None else parse_degradation(self.degrade)
        streams = open_streams(self.dataset, self.request)
        if degradation is not None:
            streams = [degraded(stream, degradation) for stream in streams]
        if self.shuffle:
            streams = [shuffled(stream) for stream in streams]
        return fitting(streams, self.classes, self.request.task, self.renames)
