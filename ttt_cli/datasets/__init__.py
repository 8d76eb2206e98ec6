"""The table of data sets. To add one: write a file beside these and add a line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ttt_cli.datasets.camvid import camvid_streams
from ttt_cli.datasets.stream import Stream
from ttt_cli.io_settings import InputSettings

DATASETS: dict[str, Callable[[Path, InputSettings], list[Stream]]] = {
    "camvid": camvid_streams,
}
