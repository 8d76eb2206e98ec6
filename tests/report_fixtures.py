"""A made-up folder of a run, with known pictures, masks, losses and scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ttt_cli.core.classes import CAMVID
from ttt_cli.run.folder import to_json
from ttt_cli.run.record import Report, machine
from ttt_cli.run.settings import RunSettings

FRAMES, HEIGHT, WIDTH = 12, 90, 120
ROAD, TREE, CAR = 3, 5, 8
WORST, BEST = 7, 4
"""The frames with the lowest and the highest score of the adapted model."""


def gray_of(frame: int) -> int:
    """Every pixel of a frame of the input; the first frames are dark."""
    return 40 + 18 * frame


def make_run(folder: Path, frames: int = FRAMES, status: str = "done") -> Path:
    """The run: the adapted model says tree above and road below, the fixed one has a car at the lower right."""
    images = folder / "my images"
    for name in (images, folder / "run" / "masks", folder / "run" / "masks-fixed"):
        name.mkdir(parents=True)
    adapted = np.full((HEIGHT, WIDTH), TREE, np.uint8)
    adapted[HEIGHT // 2 :] = ROAD
    fixed = adapted.copy()
    fixed[HEIGHT // 2 :, WIDTH // 2 :] = CAR
    for number in range(FRAMES):
        Image.new("RGB", (WIDTH, HEIGHT), (gray_of(number),) * 3).save(images / f"{number:03}.png")
        Image.fromarray(adapted).save(folder / "run" / "masks" / f"{number:03}.png")
        Image.fromarray(fixed).save(folder / "run" / "masks-fixed" / f"{number:03}.png")
    run = folder / "run"
    write_frames(run, frames)
    (run / "run.json").write_text(to_json({**_report(images).as_json(), "status": status}))
    if status == "done":
        (run / "metrics.json").write_text(json.dumps(_metrics()))
    return run


def write_frames(run: Path, frames: int) -> None:
    """frames.jsonl, as it is after so many frames."""
    lines = []
    for number in range(frames):
        line = {"index": number, "name": f"{number:03}", "seconds": number / 5, "skipped_steps": 0}
        line["loss"] = 0.3 - 0.01 * number if number % 3 == 0 else None
        line["milliseconds"] = {"decode": 4.0, "adapt": 300.0 if number % 3 == 0 else 2.0, "predict": 120.5}
        line |= {"adapted": "scene" if number == 0 else "interval"} if number % 3 == 0 else {}
        line |= {"cut": True} if number == 6 else {}
        lines.append(json.dumps(line) + "\n")
    (run / "frames.jsonl").write_text("".join(lines))


def _report(images: Path) -> Report:
    return Report(
        input=str(images),
        video={"frames_per_second": 5.0, "height": HEIGHT, "width": WIDTH},
        reader="pillow",
        settings=RunSettings(),
        weights={"name": "street", "path": "nowhere.safetensors", "sha256": "0" * 64},
        device="cpu",
        machine=machine(torch.device("cpu")),
        versions={"tttv": "0"},
        started="2026-11-26T07:00:00+00:00",
        command=["tttv", "segment", "my images", "--compare"],
        classes=[{"name": kind.name, "color": "#" + bytes(kind.color).hex()} for kind in CAMVID],
        status="done",
        frames=FRAMES,
        first_loss=0.3,
        last_loss=0.21,
        adapted={"scene": 1, "interval": 3},
        times_prediction=1.5,
        warnings=["frames do not look like what the weights know"],
        seconds={"total": 4.0},
    )


def _metrics() -> dict[str, Any]:
    scores = {
        "fixed": [50.0 + number for number in range(FRAMES)],
        "adapted": [60.0 + number for number in range(FRAMES)],
    }
    scores["adapted"][WORST], scores["adapted"][BEST] = 20.0, 90.0
    by_class = {kind.name: 50.0 if number < 9 else None for number, kind in enumerate(CAMVID)}
    methods = {
        method: {
            "pooled": 50.0 + gain,
            "paper": 50.0,
            "by_class": by_class,
            "details": {},
            "frames_scored": FRAMES,
            "frame_scores": scores[name],
        }
        for method, name, gain in (("joint", "fixed", 0), ("online", "adapted", 4.25))
    }
    return {
        "score": "mIoU",
        "unit": "percent",
        "frames_without_label": 0,
        "scored_frames": list(range(FRAMES)),
        "methods": methods,
    }
