"""What a run writes, and how its pictures look, as options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from ttt_cli.cli._options import OUTPUT
from ttt_cli.cli._values import LayoutName, PaletteName
from ttt_cli.core.errors import UsageError
from ttt_cli.run.overrides import OutputOverrides
from ttt_cli.video.settings import OutputSettings

Compare = Annotated[bool, typer.Option("--compare", help="Show the fixed and the adapted model side by side.")]
Layout = Annotated[
    LayoutName | None,
    typer.Option(
        "--layout",
        rich_help_panel=OUTPUT,
        help="overlay; compare, as --compare; or panes: the video, the fixed and the adapted model.",
    ),
]


def chosen_layout(compare: bool, layout: LayoutName | None) -> str | None:
    """What the overlay video shows; None if nothing was said. Raises UsageError if two layouts were named."""
    if compare and layout not in (None, LayoutName.compare):
        raise UsageError("--compare is one layout, --layout names another: leave out one of them")
    return LayoutName.compare.value if compare else None if layout is None else layout.value


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """What is written of a segmentation, and how it is drawn."""

    classes: Annotated[
        str | None,
        typer.Option("--classes", metavar="A,B,...", rich_help_panel=OUTPUT, help="Draw and write only these classes."),
    ] = None
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="A,B,...",
            rich_help_panel=OUTPUT,
            help="Formats of label files: palette, coco, kitti-step. (default: by task)",
        ),
    ] = None
    no_overlay: Annotated[
        bool, typer.Option("--no-overlay", rich_help_panel=OUTPUT, help="Write no overlay video.")
    ] = False
    no_masks: Annotated[
        bool, typer.Option("--no-masks", rich_help_panel=OUTPUT, help="Write no masks or other label files.")
    ] = False
    no_labels: Annotated[
        bool, typer.Option("--no-labels", rich_help_panel=OUTPUT, help="Write no names, no legend and no strip.")
    ] = False
    alpha: Annotated[
        float | None,
        typer.Option(
            "--alpha",
            metavar="0..1",
            rich_help_panel=OUTPUT,
            help=f"Opacity of the colors. (default: {OutputSettings.alpha})",
        ),
    ] = None
    layout: Layout = None
    palette: Annotated[
        PaletteName | None,
        typer.Option(
            "--palette",
            rich_help_panel=OUTPUT,
            hidden=True,
            help=f"Distinct colors, or those of the data set. (default: {OutputSettings.palette})",
        ),
    ] = None
    lift: Annotated[
        bool | None,
        typer.Option(
            "--lift/--no-lift",
            rich_help_panel=OUTPUT,
            hidden=True,
            help="Whether dark frames are brightened under the colors, for the eye only. (default: lift)",
        ),
    ] = None

    def overrides(self, compare: bool) -> OutputOverrides:
        """The given options. Raises UsageError if they contradict `compare`."""
        return OutputOverrides(
            overlay=False if self.no_overlay else None,
            layout=chosen_layout(compare, self.layout),
            palette=None if self.palette is None else self.palette.value,
            alpha=self.alpha,
            lift=self.lift,
            labels=False if self.no_labels else None,
            masks=False if self.no_masks else None,
            formats=_listed(self.formats),
            classes=_listed(self.classes),
        )


def _listed(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",")]
