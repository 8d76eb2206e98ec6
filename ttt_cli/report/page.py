"""Puts all that is shown into one HTML page that needs no network and no other file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.resources import files
from pathlib import Path

import jinja2
from jinja2.utils import htmlsafe_json_dumps

from ttt_cli.core.errors import printable
from ttt_cli.core.version import __version__
from ttt_cli.report import evaluation, run_view
from ttt_cli.report.collect import Evaluation, SegmentRun, read
from ttt_cli.report.evaluation import EvaluationView
from ttt_cli.report.gallery import MOST_BYTES, Gallery, data_uri
from ttt_cli.report.run_view import Address, RunView
from ttt_cli.run.folder import to_json

SCRIPTS = ("dom.js", "pictures.js", "legend.js", "player.js", "charts.js", "page.js")


def build(folders: Sequence[Path]) -> str:
    """The page about all folders, as HTML. Raises TttvError if a folder is none of a run or a finished evaluation."""
    sources = [read(folder) for folder in folders]
    runs = [source for source in sources if isinstance(source, SegmentRun)]
    budget = MOST_BYTES // max(1, len(runs))
    return render(
        [
            evaluation.view_of(source)
            if isinstance(source, Evaluation)
            else run_view.view_of(source, Gallery(), budget)
            for source in sources
        ],
        lambda place, pane, position, picture: data_uri(picture),
    )


def render(views: Sequence[EvaluationView | RunView], address: Address, version: str = "") -> str:
    """The page that shows all views. version: of a page that renews itself, see watch.py."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, finalize=_visible, trim_blocks=True, lstrip_blocks=True
    )
    script = "".join(_file(name) for name in SCRIPTS)
    return environment.from_string(_file("page.html")).render(
        views=views,
        data=[
            htmlsafe_json_dumps(view.data(str(place), address), dumps=to_json) if isinstance(view, RunView) else None
            for place, view in enumerate(views)
        ],
        css=_file("page.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        program=__version__,
        made=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        version=version,
    )


def _file(name: str) -> str:
    return files("ttt_cli.report").joinpath(name).read_text(encoding="utf-8")


def _visible(value: object) -> object:
    """Text with control characters escaped, such as those in names of files; plots are drawn with such text."""
    return printable(value) if type(value) is str else value
