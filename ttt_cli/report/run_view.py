"""What the page shows of a run of `tttv segment` or `tttv colorize`."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ttt_cli.core.classes import distinct_color
from ttt_cli.core.errors import TttvError, printable
from ttt_cli.report.class_table import ClassTable, class_table
from ttt_cli.report.collect import SegmentRun
from ttt_cli.report.curves import charts_of
from ttt_cli.report.gallery import MOST_BYTES, Gallery, Pane, data_uri, thinned
from ttt_cli.report.moments import Moments, moments_of
from ttt_cli.report.provenance import Provenance, date_of, shown_command, shown_settings
from ttt_cli.report.reconstruction import Picture, reconstructions
from ttt_cli.report.seen import Seen, logged_of, seen_in, shares_of

Address = Callable[[str, str, int, bytes], str]
"""Where the page finds a picture: of the run's place on it, the pane's name, the frame's position, and the picture."""


@dataclass(frozen=True)
class Tile:
    """A figure at the top."""

    name: str
    """What it is."""
    value: str
    """With its unit."""
    note: str = ""
    """What it is of."""


@dataclass(frozen=True)
class RunView:
    """All that the page shows of a run."""

    run: SegmentRun
    """The run."""
    panes: Sequence[Pane]
    """The pictures of the player."""
    positions: Sequence[int]
    """Of the frames in the player among those of the run."""
    moments: Sequence[Moments]
    """Frames worth looking at."""
    seen: Seen
    """What the pictures say."""
    missing: Sequence[str]
    """What could not be shown, and why."""
    reconstructed: Sequence[Picture] = ()
    """What the model reconstructs of a frame."""

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.run.folder.path.name

    @property
    def title(self) -> str:
        """The input's name; of a folder of pictures with the folder that it is in."""
        *parents, name = self.run.report["input"].replace("\\", "/").rstrip("/").split("/")
        return name if "." in name or not parents else f"{parents[-1]}/{name}"

    @property
    def facts(self) -> list[str]:
        """What was run, in a few words each."""
        report, frames = self.run.report, len(self.run.frames)
        state = "going on" if self.run.is_going_on else "cut off" if report["status"] == "running" else report["status"]
        return [
            f"{report['settings']['task']['task']} by {self.run.method}",
            f"weights {report['weights']['name']}",
            f"{frames} frames of {report['video']['width']} × {report['video']['height']}",
            date_of(report["started"]),
            state if report["reason"] is None else f"{state}: {report['reason']}",
        ]

    @property
    def tiles(self) -> list[Tile]:
        """The figures that matter most."""
        report, frames = self.run.report, self.run.frames
        tiles = self._score_tiles()
        if known := [value for value in self.seen.agreement or () if value is not None]:
            note = "of the pixels, on average"
            tiles.append(Tile("Fixed and adapted agree on", f"{100 * statistics.fmean(known):.1f} %", note))
        losses = sum(frame["loss"] is not None for frame in frames)
        if report["first_loss"] is not None and report["last_loss"] is not None:
            first, last = f"{report['first_loss']:.3g}", f"{report['last_loss']:.3g}"
            tiles.append(
                Tile("Loss", f"{first} → {last}", "of the first and of the last steps")
                if losses > 1
                else Tile("Loss", first, "of the only frame with a step")
            )
        times = report.get("times_prediction")
        note = f"{times:.2f} times the model time of predictions alone" if times else ""
        adapted = sum(bool(frame.get("adapted")) for frame in frames)
        tiles.append(Tile("Frames adapted to", f"{adapted} of {len(frames)}", note))
        if total := report["seconds"].get("total"):
            rate = f"{report['frames'] / total:.2f} frames/s"
            tiles.append(Tile("Speed", rate, f"{total:.0f} s on {_device(report)}"))
        return tiles

    def _score_tiles(self) -> list[Tile]:
        scores, metrics, unit = self.run.scores, self.run.metrics, self.run.unit
        adapted = scores.get("adapted", {}).get("pooled")
        if metrics is None or adapted is None:
            return []
        note = f"over {scores['adapted']['frames_scored']} labeled frames"
        fixed = scores.get("fixed", {}).get("pooled")
        if fixed is None:
            return [Tile(metrics["score"], f"{adapted:.1f} {unit}", note)]
        title, note = f"{metrics['score']}, fixed → adapted", f"{_signed(adapted - fixed)} {note}"
        return [Tile(title, f"{fixed:.1f} → {adapted:.1f} {unit}", note)]

    @property
    def classes(self) -> ClassTable:
        """The classes that occur."""
        shares = {pane.name: shares_of(pane) for pane in self.panes if pane.has_ids}
        return class_table(self.named_classes(), shares, {name: of["by_class"] for name, of in self.run.scores.items()})

    @property
    def provenance(self) -> Provenance:
        """How the run was made."""
        report = self.run.report
        machine = report["machine"]
        facts = [
            ("input", report["input"]),
            ("weights", f"{report['weights']['name']}, SHA-256 {report['weights']['sha256'][:16]}"),
            ("seed", str(report["settings"]["adaptation"]["seed"])),
            ("started", date_of(report["started"])),
            ("machine", f"{machine['system']}, {machine['cores']} cores, {machine['torch_threads']} threads of torch"),
            ("device", _device(report)),
            ("versions", ", ".join(f"{name} {number}" for name, number in report["versions"].items())),
            ("folder", str(self.run.folder.path.resolve())),
        ]
        sources = [pane.pictures for pane in self.panes if pane.name == "source"]
        raw = [data_uri(pictures[sorted(pictures)[len(pictures) // 2]]) for pictures in sources]
        settings = shown_settings(report["settings"])
        return Provenance(shown_command(report.get("command")), facts, settings, raw[0] if raw else None)

    def named_classes(self) -> list[dict[str, str]]:
        """Name and color of each class; made up for runs of versions that did not write them down."""
        known: list[dict[str, str]] = self.run.report.get("classes", [])
        unknown = range(len(known), max(self._present(), default=-1) + 1)
        colors = ["#" + bytes(distinct_color(number, 0.6, 0.9)).hex() for number in unknown]
        return [*known, *({"name": f"class {number}", "color": colors[at]} for at, number in enumerate(unknown))]

    def _present(self) -> set[int]:
        """The ids of the classes that occur in the player."""
        return {int(number) for pane in self.panes if pane.has_ids for number in np.flatnonzero(shares_of(pane))}

    def data(self, place: str, address: Address) -> dict[str, Any]:
        """What the scripts of the page need. place: of this run on the page."""
        frames, present = self.run.frames, self._present()
        panes = []
        for pane in self.panes:
            pictures = pane.pictures
            addresses = [
                address(place, pane.name, position, pictures[position]) if position in pictures else None
                for position in self.positions
            ]
            panes.append({"name": pane.name, "hasIds": pane.has_ids, "pictures": addresses})
        return {
            "frames": len(frames),
            "positions": self.positions,
            "names": [printable(frames[position]["name"]) for position in self.positions],
            "seconds": [frame["seconds"] for frame in frames],
            "cuts": [position for position, frame in enumerate(frames) if position and frame.get("cut")],
            "panes": panes,
            "classes": [
                {"name": printable(kind["name"]), "color": kind["color"], "occurs": number in present}
                for number, kind in enumerate(self.named_classes())
            ],
            "scores": {"name": (self.run.metrics or {}).get("score"), **self.run.frame_scores()},
            "charts": charts_of(self.run, self.seen),
            "moments": [
                {"title": kind.title, "frames": [[moment.position, moment.caption] for moment in kind.moments]}
                for kind in self.moments
            ],
            "going": self.run.is_going_on,
        }


def view_of(run: SegmentRun, gallery: Gallery, budget: int = MOST_BYTES, reconstruct: bool = True) -> RunView:
    """Reads the pictures of a run. budget: bytes of them at most. reconstruct: with what the model reconstructs."""
    moments, base = moments_of(run, logged_of(run)), thinned(len(run.frames))
    panes = gallery.panes(run, _shown(base, moments))
    missing, seen = list(gallery.missing), seen_in(panes, run)
    moments = moments_of(run, seen)
    while len(base) > 2 and _size(panes, _shown(base, moments)) > budget:
        base = base[::2]
    positions = _shown(base, moments)
    kept = [
        Pane(pane.name, {at: pane.pictures[at] for at in positions if at in pane.pictures}, pane.has_ids)
        for pane in panes
    ]
    reconstructed: list[Picture] = []
    if reconstruct:
        try:
            reconstructed = reconstructions(run)
        except TttvError as error:
            missing.append(f"reconstruction: {error}")
    return RunView(run, kept, positions, moments, seen, missing, reconstructed)


def _shown(base: Sequence[int], moments: Sequence[Moments]) -> list[int]:
    return sorted({*base, *(moment.position for kind in moments for moment in kind.moments)})


def _size(panes: Sequence[Pane], positions: Sequence[int]) -> int:
    return sum(len(pane.pictures.get(position, b"")) for pane in panes for position in positions)


def _device(report: dict[str, Any]) -> str:
    return str(report["machine"]["gpu"] or report["device"])


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
