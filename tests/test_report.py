"""`tttv report`: the page has everything on it and opens anywhere."""

from __future__ import annotations

import base64
import csv
import io
import itertools
import json
import os
import queue
import re
import shutil
import sys
import threading
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_eval import make_drive
from video_fixtures import make_video

from ttt_cli.cli import main
from ttt_cli.core.classes import VOID
from ttt_cli.report.collect import Evaluation, SegmentRun, read
from ttt_cli.report.evaluation import sections_of
from ttt_cli.report.gallery import Gallery, thinned
from ttt_cli.report.moments import by_agreement, by_change, by_loss, by_score
from ttt_cli.report.page import build
from ttt_cli.report.plots import Line, dots, over_windows
from ttt_cli.report.run_view import view_of
from ttt_cli.report.tables import best_of
from ttt_cli.report.watch import watch
from ttt_cli.run.lock import locked
from ttt_cli.run.record import command_line

Capture = pytest.CaptureFixture[str]


class Page(HTMLParser):
    """Headings, table entries, the data of runs, and every address that the page names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.entries: list[str] = []
        self.addresses: list[str] = []
        self.runs: list[dict[str, Any]] = []
        self.plots = 0
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._inside = "data" if ("class", "data") in attributes else tag
        self.plots += ("role", "img") in attributes
        self.addresses += [value or "" for name, value in attributes if name in {"src", "href", "xlink:href"}]

    def handle_data(self, data: str) -> None:
        if self._inside in ("h2", "h3"):
            self.headings.append(data)
        if self._inside == "td":
            self.entries.append(data)
        if self._inside == "data":
            self.runs.append(json.loads(data))
        self._inside = ""


@pytest.fixture(scope="module")
def folders(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A finished evaluation with several windows, and a run of 3 frames that is compared and scored."""
    base = tmp_path_factory.mktemp("runs")
    drive, weights = make_drive(base / "<i>drive & co"), ["--weights", str(tiny_weights)]
    arguments = ["--dataset", "camvid", "--gt", str(drive), *weights, "--out", str(base / "evaluation"), "--quiet"]
    methods = ["--method", "joint,implicit,online,tent", "--window", "1,2,inf", "--seeds", "2"]
    assert main(["eval", *arguments, *methods]) == 0
    run = [
        str(drive / "images"),
        "--gt",
        str(drive / "labels"),
        *weights,
        "--method",
        "online",
        "--compare",
        "--set",
        "adaptation.every=1",
    ]
    assert main(["segment", *run, "--out", str(base / "run"), "--quiet"]) == 0
    make_fixed_masks(base / "run")
    return base / "evaluation", base / "run"


def make_fixed_masks(run: Path) -> None:
    """Masks of the fixed model that differ from the adapted one's in the left of each frame, the more the later."""
    fixed = run / "masks-fixed"
    fixed.mkdir(exist_ok=True)
    for number, path in enumerate(sorted((run / "masks").iterdir())):
        with Image.open(path) as picture:
            ids = np.array(picture)
        ids[: 10 * (number + 1), :20] = (ids[: 10 * (number + 1), :20] + 1) % 11
        Image.fromarray(ids).save(fixed / path.name)
    lines = [json.loads(line) for line in (run / "frames.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("agreement", None)  # It is that of the masks that the run wrote.
    (run / "frames.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def edited(run: Path, copy: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a run with a changed run.json."""
    shutil.copytree(run, copy)
    report = json.loads((copy / "run.json").read_text())
    change(report)
    (copy / "run.json").write_text(json.dumps(report))
    return copy


def picture_of(address: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as picture:
        return np.array(picture)


def test_the_page_has_the_tables_plots_and_the_player(folders: tuple[Path, Path]) -> None:
    page = Page(build(folders))
    for part in ("Methods", "What each memory is worth", "At a glance", "Windows", "IoU by class", "Along", "Classes"):
        assert any(part in heading for heading in page.headings), part
    content = json.loads((folders[0] / "metrics.json").read_text())
    for row in content["summary"]:
        assert any(entry.startswith(f"{row['pooled']:.2f}") for entry in page.entries)
    assert page.plots == 2
    (data,) = page.runs
    assert [pane["name"] for pane in data["panes"]] == ["source", "fixed", "adapted"]
    titles = [chart["title"] for chart in data["charts"]]
    known = [title.split()[0] for title in titles if not title.startswith("How unlike")]  # Only some frames are asked.
    assert known == ["mIoU", "Loss:", "Adapted", "Agreement", "Time"]
    wanted = json.loads((folders[1] / "run.json").read_text())["classes"][3]
    assert wanted["name"] == "road"
    assert {name: data["classes"][3][name] for name in wanted} == wanted


def test_the_players_masks_are_those_of_the_run(folders: tuple[Path, Path]) -> None:
    (data,) = Page(build(folders[1:])).runs
    for pane, folder in zip(data["panes"][1:], ("masks-fixed", "masks"), strict=True):
        for name, address in zip(data["names"], pane["pictures"], strict=True):
            with Image.open(folders[1] / folder / f"{name}.png") as mask:
                np.testing.assert_array_equal(picture_of(address), np.array(mask))
    agreement = next(chart for chart in data["charts"] if chart["title"].startswith("Agreement"))
    (line,) = agreement["lines"]
    wanted = [100 - 100 * 20 * min(48, 10 * number) / (48 * 64) for number in (1, 2, 3)]
    assert line["values"] == pytest.approx(wanted, abs=0.01)


def test_the_frames_to_look_at_are_the_best_and_the_worst(folders: tuple[Path, Path], tmp_path: Path) -> None:
    scored = tmp_path / "scored"
    shutil.copytree(folders[1], scored)
    metrics = json.loads((scored / "metrics.json").read_text())
    assert metrics["scored_frames"] == [0, 1], "the last frame of the drive has no label"
    metrics["methods"]["online"]["frame_scores"], metrics["methods"]["joint"]["frame_scores"] = (
        [40.0, 60.0],
        [50.0, 55.0],
    )
    (scored / "metrics.json").write_text(json.dumps(metrics))
    (data,) = Page(build([scored])).runs
    found = {kind["title"]: [frame[0] for frame in kind["frames"]] for kind in data["moments"]}
    wanted = {"Adapting helped most": [1], "Adapting hurt most": [0], "Lowest score": [0, 1], "Highest score": [1, 0]}
    assert found == wanted
    assert data["scores"]["adapted"] == [40.0, 60.0, None]
    unscored = tmp_path / "unscored"
    shutil.copytree(folders[1], unscored)
    (unscored / "metrics.json").unlink()
    (data,) = Page(build([unscored])).runs
    found = {kind["title"]: [frame[0] for frame in kind["frames"]] for kind in data["moments"]}
    assert found == {"Fixed and adapted differ most": [2, 1, 0], "They agree most": [0, 1, 2]}


def test_the_page_needs_nothing_from_outside(folders: tuple[Path, Path]) -> None:
    text = build(folders)
    assert all(address.startswith(("data:", "#")) for address in Page(text).addresses)
    assert not re.search(r"url\((?!#)|@import|<script[^>]* src", text)
    assert "default-src 'none'" in text
    assert "<i>drive" not in text


def test_names_cannot_end_the_script(folders: tuple[Path, Path], tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><!--"

    def rename(report: dict[str, Any]) -> None:
        report["classes"][3]["name"] = report["warnings"] = report["input"] = evil
        report["warnings"] = [evil]

    text = build([edited(folders[1], tmp_path / "run", rename)])
    assert "<script>alert" not in text
    assert Page(text).runs[0]["classes"][3]["name"] == evil


def test_long_videos_are_thinned_evenly() -> None:
    for frames in (1, 299, 300, 301, 5000):
        positions = thinned(frames)
        assert positions[0] == 0 and len(positions) <= 300
        assert len({after - before for before, after in itertools.pairwise(positions)}) <= 1
        assert len(positions) >= min(frames, 150)
    later = {position for position in thinned(1200) if position < 700}
    assert later <= set(thinned(700)), "what a growing video shows, it has shown before"


def test_pictures_of_a_run_are_within_their_budget(folders: tuple[Path, Path]) -> None:
    run = read(folders[1])
    assert isinstance(run, SegmentRun)
    view = view_of(run, Gallery(), budget=1, reconstruct=False)
    best_and_worst = {moment.position for kind in view.moments for moment in kind.moments}
    assert set(view.positions) == {0, 2} | best_and_worst


def test_what_is_worth_looking_at() -> None:
    losses = [None, 0.5, 0.1, 0.9, None]
    high, low = by_loss(losses)
    assert [moment.position for moment in high.moments] == [3, 1, 2]
    assert low.moments[0].position == 2
    assert by_loss([None, 0.5]) == by_agreement([1.0, 1.0, None]) == [], "nothing stands out"
    helped, *_ = by_score("mIoU", " %", adapted=[50.0, 60.0, None], fixed=[51.0, 40.0, None])
    assert (helped.title, helped.moments[0].caption) == ("Adapting helped most", "mIoU 40.0 → 60.0 %")
    (changes,) = by_change([None, *([0.1] * 100), 0.9, *([0.1] * 100), 0.8])
    assert [moment.position for moment in changes.moments[:2]] == [101, 202], "neighbors look the same"


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([50.0, 51.0, 49.0], [False, True, False]),
        ([50.001, 50.002, 49.0], [True, True, False]),
        ([50.001, 50.002, float("nan")], [False, False, False]),
        ([50.0], [False]),
    ],
)
def test_what_shows_as_much_as_the_best_is_marked_and_no_difference_of_zero(
    values: list[float], best: list[bool]
) -> None:
    assert best_of(values, digits=2) == best


def test_losses_of_different_kinds_have_plots_of_their_own(folders: tuple[Path, Path]) -> None:
    evaluation = read(folders[0])
    assert isinstance(evaluation, Evaluation)
    along = next(section for section in sections_of(evaluation) if section.title.startswith("Along"))
    lines = {chart["title"]: {line["name"] for line in chart["lines"]} for chart in along.charts}
    assert lines["Loss: entropy of the prediction, in nats"] == {"tent"}
    assert lines["Loss: reconstruction"] == {"online"}
    assert lines["Time"] == {"joint", "tent", "online"}


def test_pictures_that_can_no_longer_be_made_are_reported_missing(folders: tuple[Path, Path], tmp_path: Path) -> None:
    run = edited(folders[1], tmp_path / "run", lambda report: report.update(input="gone.mp4"))
    text = build([run])
    assert len(re.findall("Left out: ", text)) == 2
    assert "gone.mp4" in text
    (data,) = Page(text).runs
    assert [pane["name"] for pane in data["panes"]] == ["fixed", "adapted"]


def test_a_run_without_masks_shows_its_overlay(tiny_weights: Path, tmp_path: Path) -> None:
    clip, out = make_video(tmp_path / "clip.mp4", seconds=0.3), tmp_path / "run"
    arguments = ["--weights", str(tiny_weights), "--no-masks", "--out", str(out), "--quiet"]
    assert main(["segment", str(clip), *arguments]) == 0
    (data,) = Page(build([out])).runs
    assert [pane["name"] for pane in data["panes"]] == ["source", "overlay"]
    assert all(picture_of(address).ndim == 3 for pane in data["panes"] for address in pane["pictures"])


def test_instances_are_shown_in_their_classes(tiny_weights: Path, tmp_path: Path) -> None:
    clip, out = make_video(tmp_path / "clip.mp4", seconds=0.2), tmp_path / "run"
    arguments = ["--task", "instance", "--weights", str(tiny_weights), "--set", "task.shown_score=0", "--quiet"]
    assert main(["segment", str(clip), *arguments, "--out", str(out)]) == 0
    objects = json.loads((out / "instances.json").read_text())
    assert objects
    (data,) = Page(build([out])).runs
    ids = picture_of(data["panes"][1]["pictures"][0])
    assert set(np.unique(ids)) - {VOID} <= {entry["category_id"] for entry in objects if entry["image_id"] == 0}
    assert (ids != VOID).any()


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
    for plot in (
        dots({"joint": (50.0, 0.0), "online": (51.0, 0.5)}, "joint", "mIoU", "drive", "c"),
        over_windows([Line("online", [1, 4, float("inf")], [50, 51, 52], [1, 1, 1])], "mIoU", "drive", "b"),
    ):
        assert "currentColor" in plot.svg
        assert "#010203" not in plot.svg
        assert "#009e73" in plot.svg
    assert ">inf<" in plot.svg


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


def test_the_colors_of_both_models_are_cut_out_of_the_film(color_weights: Path, tmp_path: Path) -> None:
    clip, out = make_video(tmp_path / "clip.mp4", seconds=0.3, size="96x64"), tmp_path / "run"
    arguments = ["--weights", str(color_weights), "--method", "online", "--compare", "--out", str(out), "--quiet"]
    assert main(["colorize", str(clip), *arguments]) == 0
    (data,) = Page(build([out])).runs
    assert [pane["name"] for pane in data["panes"]] == ["source", "fixed", "adapted"]
    source, fixed, adapted = (picture_of(pane["pictures"][0]).astype(float) for pane in data["panes"])
    assert fixed.shape == adapted.shape == (64, 96, 3)
    luminance = np.array([0.2126, 0.7152, 0.0722])
    below = np.s_[24:]  # What the models are called may stand above.
    for colored in (fixed, adapted):
        assert np.abs((colored - source)[below]).mean() > 5, "the colors are the model's, not the input's"
        correlated = np.corrcoef((source @ luminance)[below].ravel(), (colored @ luminance)[below].ravel())[0, 1]
        assert correlated > 0.9, "the picture is where the source has it"
    assert data["moments"][0]["title"] == "Fixed and adapted differ most"


def test_a_run_that_goes_on_is_shown_as_far_as_it_is(folders: tuple[Path, Path], tmp_path: Path) -> None:
    run = edited(folders[1], tmp_path / "run", lambda report: report.update(status="running"))
    lines = (run / "frames.jsonl").read_text()
    (run / "frames.jsonl").write_text(lines[: lines.rindex("{") + 20])
    with locked(run):
        text = build([run])
    assert "going on" in text
    assert Page(text).runs[0]["positions"] == [0, 1]
    assert "cut off" in build([run])


def test_watching_ends_with_the_run(folders: tuple[Path, Path], tmp_path: Path) -> None:
    run = edited(folders[1], tmp_path / "run", lambda report: report.update(status="running"))
    lines = (run / "frames.jsonl").read_text().splitlines(keepends=True)
    (run / "frames.jsonl").write_text(lines[0])
    addresses: queue.Queue[str] = queue.Queue()
    pages: list[str] = []
    watching = threading.Thread(target=lambda: pages.append(watch([run], lambda folder: None, addresses.put)))
    with locked(run):
        watching.start()
        address = addresses.get(timeout=60)
        assert address.startswith("http://127.0.0.1:")
        (data,) = Page(got(address)).runs
        assert data["positions"] == [0]
        first = data["panes"][0]["pictures"][0]
        assert got(address[:-1] + first, text=False).startswith(b"\xff\xd8")
        (run / "frames.jsonl").write_text("".join(lines[:2]))
        version = got(address + "version")
        wait_until(lambda: got(address + "version") != version)
        assert Page(got(address)).runs[0]["positions"] == [0, 1]
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(urllib.request.Request(address, headers={"Host": "evil.example"}))
        with pytest.raises(urllib.error.HTTPError, match="404"):
            got(address + "../../etc/passwd")
    wait_until(lambda: got(address + "version") == "end")
    last = got(address)
    watching.join(timeout=60)
    assert pages == [last]
    assert last.count("data:image/png") == 2 * 2


def got(address: str, text: bool = True) -> Any:
    with urllib.request.urlopen(address, timeout=30) as response:
        content = response.read()
    return content.decode() if text else content


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_the_command_line_is_on_record_without_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "argv", ["/usr/bin/tttv", "segment", "rtsp://me:secret@camera/1?token=secret", "-o", "a b"]
    )
    assert command_line() == ["tttv", "segment", "rtsp://camera/1", "-o", "a b"]
    monkeypatch.setattr(sys, "argv", ["notebook.py"])
    assert command_line() is None


def test_the_command_can_be_typed_again(folders: tuple[Path, Path], tmp_path: Path) -> None:
    command = ["tttv", "segment", "my drive.mp4"]
    run = edited(folders[1], tmp_path / "run", lambda report: report.update(command=command))
    assert "tttv segment &#39;my drive.mp4&#39;" in build([run])


def test_open_shows_the_page_in_the_browser(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: bool(opened.append(address)))
    assert main(["report", str(folders[0]), "--open"]) == 0
    assert opened == [(folders[0] / "report.html").resolve().as_uri()]
    assert "no browser found" in capsys.readouterr().err
