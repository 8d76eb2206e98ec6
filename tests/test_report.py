"""`tttv report`: the page has everything on it and opens anywhere."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from test_eval import make_drive
from video_fixtures import make_video

from ttt_cli.cli import main
from ttt_cli.report.page import build
from ttt_cli.report.plots import Line, along_the_video, over_windows

Capture = pytest.CaptureFixture[str]


class Page(HTMLParser):
    """Headings, table entries, and every address that the page names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.entries: list[str] = []
        self.addresses: list[str] = []
        self.plots = 0
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        self.plots += tag == "svg"
        self.addresses += [value or "" for name, value in attributes if name in {"src", "href", "xlink:href"}]

    def handle_data(self, data: str) -> None:
        if self._inside == "h2":
            self.headings.append(data)
        if self._inside == "td":
            self.entries.append(data)
        self._inside = ""


@pytest.fixture(scope="module")
def folders(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A finished evaluation with several windows and a finished run compared with the fixed model."""
    base = tmp_path_factory.mktemp("runs")
    drive, weights = make_drive(base / "<i>drive & co"), ["--weights", str(tiny_weights)]
    arguments = ["--dataset", "camvid", "--gt", str(drive), *weights, "--out", str(base / "evaluation"), "--quiet"]
    methods = ["--method", "joint,implicit,online,tent", "--window", "1,2,inf", "--seeds", "2"]
    assert main(["eval", *arguments, *methods]) == 0
    clip = make_video(base / "clip.mp4", seconds=0.3)
    assert main(["segment", str(clip), *weights, "--compare", "--out", str(base / "run"), "--quiet"]) == 0
    return base / "evaluation", base / "run"


def test_the_page_has_the_tables_plots_and_pictures(folders: tuple[Path, Path]) -> None:
    page = Page(build(folders))
    for part in ("methods", "what each memory is worth", "at a glance", "windows", "IoU by class", "along", "adjacent"):
        assert any(part in heading for heading in page.headings), part
    content = json.loads((folders[0] / "metrics.json").read_text())
    for row in content["summary"]:
        assert any(entry.startswith(f"{row['pooled']:.2f}") for entry in page.entries)
    assert page.plots == 7
    pictures = [address for address in page.addresses if address.startswith("data:image/jpeg")]
    assert len(pictures) == 6
    for address in pictures:
        with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as picture:
            picture.load()


def test_the_page_needs_nothing_from_outside(folders: tuple[Path, Path]) -> None:
    text = build(folders)
    assert all(address.startswith(("data:", "#")) for address in Page(text).addresses)
    assert not re.search(r"url\((?!#)|@import|<script|<link", text)
    assert "<i>drive" not in text
    assert "prefers-color-scheme: dark" in text


def test_pictures_that_can_no_longer_be_made_are_reported_missing(folders: tuple[Path, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(folders[1], run)
    (run / "overlay.mp4").unlink()
    report = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**report, "input": "gone.mp4"}))
    text = build([run])
    assert len(re.findall("left out: ", text)) == 2
    assert "gone.mp4" in text


def test_the_command(folders: tuple[Path, Path], tmp_path: Path, capsys: Capture) -> None:
    assert main(["report", str(folders[0])]) == 0
    page = folders[0] / "report.html"
    assert capsys.readouterr().out.strip() == str(page)
    assert main(["report", str(folders[0])]) == 0

    notes = tmp_path / "notes.html"
    notes.write_text("mine")
    assert main(["report", str(folders[0]), "--out", str(notes)]) == 1
    assert "is no report" in capsys.readouterr().err
    assert notes.read_text() == "mine"
    assert main(["report", str(folders[0]), "--out", str(notes), "--overwrite"]) == 0
    assert notes.read_text().startswith("<!DOCTYPE html>")

    assert main(["report", str(tmp_path)]) == 1
    assert "no folder that tttv segment or tttv eval wrote" in capsys.readouterr().err
    (tmp_path / "run.json").write_text("{")
    assert main(["report", str(tmp_path)]) == 1
    assert "cannot be understood" in capsys.readouterr().err


def test_an_evaluation_that_was_stopped_is_not_reported(folders: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copy(folders[0] / "cells.jsonl", tmp_path)
    assert main(["report", str(tmp_path)]) == 1


def test_text_and_axes_take_the_color_of_the_page() -> None:
    for drawing in (
        along_the_video([Line("online", [0, 1, 2], [0.5, float("nan"), 0.1])], "loss", "a"),
        over_windows([Line("online", [1, 4, float("inf")], [50, 51, 52], [1, 1, 1])], "mIoU", "b"),
    ):
        assert "currentColor" in drawing
        assert "#010203" not in drawing
        assert "#009e73" in drawing
    assert ">inf<" in drawing


@pytest.mark.skipif(os.name == "nt", reason="names that Windows does not have")
def test_names_that_would_do_something_are_shown(tiny_weights: Path, tmp_path: Path) -> None:
    evil = tmp_path / "evil"
    for name in ("=1+1\x1b[31m\\ a$\\frac$ ~^", os.fsdecode(b"@b\xff")):
        make_drive(evil / name, frames=2)
    out = tmp_path / os.fsdecode(b"out\x1b\xff")
    arguments = ["--dataset", "camvid", "--gt", str(evil), "--weights", str(tiny_weights), "--out", str(out), "--quiet"]
    assert main(["eval", *arguments, "--method", "joint,main-only", "--quiet"]) == 2
    assert main(["eval", *arguments, "--method", "joint,online"]) == 0
    assert main(["report", str(out)]) == 0
    for name in ("report.html", "metrics.csv", "metrics.tex"):
        assert "\x1b" not in (out / name).read_text(encoding="utf-8"), name
    rows = list(csv.reader((out / "metrics.csv").open(encoding="utf-8")))
    assert {row[0] for row in rows[1:]} == {"'=1+1\\x1b[31m\\ a$\\frac$ ~^", "'@b\\udcff", "all"}
    latex = (out / "metrics.tex").read_text(encoding="utf-8")
    back = r"\textbackslash{}"
    assert rf"=1+1{back}x1b[31m{back} a\${back}frac\$ \textasciitilde{{}}\textasciicircum{{}} &" in latex


def test_a_browser_opens_it_without_a_word(folders: tuple[Path, Path], tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine")
    page = tmp_path / "page.html"
    page.write_text(build(folders), encoding="utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr
    assert done.stdout.count("<h2>") == build(folders).count("<h2>")
