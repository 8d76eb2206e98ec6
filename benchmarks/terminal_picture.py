"""A picture of a terminal after a command, for the documents. It needs tmux and Chromium.

python benchmarks/terminal_picture.py docs/terminal.png "tttv segment drive.mp4"
"""

from __future__ import annotations

import argparse
import io
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

PIXELS = 14
"""Size of the letters of PAGE."""
ROOM = 200
"""Pixels that Chromium may take of the window's height for itself."""
PAGE = """<!DOCTYPE html><meta charset="utf-8"><style>{stylesheet}
body {{ margin: 0; background: {background}; color: {foreground}; }}
pre {{ margin: 16px; font: 14px/1.35 "DejaVu Sans Mono", monospace; }}</style>
<pre><code style="font-family: inherit">{code}</code></pre>"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("command")
    parser.add_argument("--columns", type=int, default=96)
    parser.add_argument("--after", type=float, help="seconds after which the screen is taken (default: at the end)")
    arguments = parser.parse_args()
    screen = screen_of(arguments.command, arguments.columns, arguments.after)
    draw(f"\x1b[1m$ {arguments.command}\x1b[0m\n{screen.strip()}", arguments.columns, arguments.picture)


def screen_of(command: str, columns: int, seconds: float | None) -> str:
    """What a terminal shows after so many seconds of the command, or at its end, with escape sequences for colors."""
    name = f"picture-{os.getpid()}"
    with tempfile.TemporaryDirectory() as folder:
        done = Path(folder) / "done"
        line = f"{command}; touch {shlex.quote(str(done))}; sleep 1000"
        subprocess.run(["tmux", "new-session", "-d", "-s", name, "-x", str(columns), "-y", "60", line], check=True)
        began = time.monotonic()
        while not done.exists() and (seconds is None or time.monotonic() - began < seconds):
            time.sleep(0.1)
        time.sleep(0.5)  # tmux draws what came last.
        taken = subprocess.run(
            ["tmux", "capture-pane", "-p", "-e", "-t", name], check=True, capture_output=True, text=True
        )
        subprocess.run(["tmux", "kill-session", "-t", name], check=True)
    return taken.stdout


def draw(screen: str, columns: int, picture: Path) -> None:
    """Draws a screen with escape sequences for colors as a PNG."""
    text = Text.from_ansi(screen)
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True)
    console.print(text)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "screen.html"
        page.write_text(console.export_html(theme=MONOKAI, code_format=PAGE), encoding="utf-8")
        width, height = round(columns * PIXELS * 0.603) + 40, round((len(text.split()) + 1) * PIXELS * 1.35) + 32
        chromium = shutil.which("chromium") or shutil.which("google-chrome") or "chromium"
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}"]
        size, target = f"--window-size={width},{height + ROOM}", f"--screenshot={picture.absolute()}"
        quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"]
        subprocess.run(
            [chromium, *flags, *quiet, "--no-first-run", size, target, page.as_uri()], check=True, capture_output=True
        )
    with Image.open(picture) as image:
        image.crop((0, 0, width, height)).save(picture, optimize=True)


if __name__ == "__main__":
    main()
